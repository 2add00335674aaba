"""Names that an API demands and Pulumi does not make: derived from the stack, so that two stacks never meet in one."""

import hashlib
import re


def derived_id(stack: str, role: str, length: int = 30) -> str:
    """`lh-STACK-ROLE` in lower-case letters, digits and dashes, `length` characters at most.

    What had to be changed or cut is replaced by a digest of the whole, so that two stacks differ in it.
    """
    plain = f"lh-{stack}-{role}"
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= length:
        return name
    digest = hashlib.sha256(plain.encode()).hexdigest()[:5]
    room = length - len(f"lh--{role}-{digest}")
    cut = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")[:room].strip("-")
    return f"lh-{cut}-{role}-{digest}"


def label_value(text: str) -> str:
    """`text` as the value of a label: lower-case letters, digits, `_` and `-`, 63 at most.

    https://cloud.google.com/run/docs/configuring/jobs/labels (2026-08)
    """
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:63]
