"""Workflows: the language of Google Cloud Workflows, as far as it is documented, without parallel steps.

`source` reads and checks a definition, `machine` executes it, `expressions` evaluates `${…}`, `functions` is the
standard library. What is not supported is refused when a workflow is deployed, never passed over in silence.
"""
