"""Workflows: the language of Google Cloud Workflows, as far as it is documented, without parallel steps.

`source` reads a definition, `checker` checks it, `machine` executes it, `expressions` evaluates `${…}`, `functions` is the
standard library; `executor` runs executions and takes them up again, `host` and `connectors` reach the outside for them.
What is not supported is refused when a workflow is deployed, never passed over in silence.
"""
