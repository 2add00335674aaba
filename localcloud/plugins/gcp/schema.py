"""Reads the tables of fields in `tables/`: what each resource type takes and gives, and how it travels.

A line is `NAME TYPE FLAGS…`; indentation nests. Types: str, int, float, bool, map (of strings), list, set and obj (a block
that occurs once); `list/str` is a list of scalars. Flags:

- req, opt, comp: must be given, may be given, the server fills it; `opt comp` is either.
- replace: a change needs a new resource. secret: its value is marked secret in outputs.
- default=V: filled in when absent (`""` is the empty string). keep: sent even if zero. empty: an empty block is sent.
- api=PATH: where it is in the REST resource, if not under its own name; dotted from the enclosing block.
- local: never sent (the provider's own switch). param: part of the resource's address, not of its body.
- late: in the body of a create only.
- in=A|B: allowed values. match=REGEX. member: an IAM member. base64, json: syntax that is checked.
- same=RULE: values that differ but mean the same, see `sameness.py`. as=CODEC: how it is written in REST, see `codec.py`.
- key=NAME: elements of this set are the same thing if NAME is equal.

The flags req, opt, comp, replace and default are those of the provider's schema (google-beta of 2026-08-21).
"""

from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

INDENT: Final = 2


@dataclass(frozen=True, kw_only=True)
class Field:
    """One property of a resource, or of a block in it."""

    name: str
    type: str
    item: str = ""
    required: bool = False
    optional: bool = False
    computed: bool = False
    replace: bool = False
    secret: bool = False
    local: bool = False
    param: bool = False
    late: bool = False
    keep: bool = False
    empty: bool = False
    member: bool = False
    base64: bool = False
    json: bool = False
    default: Any = None
    api: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    match: str = ""
    same: str = ""
    codec: str = ""
    key: str = ""
    fields: dict[str, "Field"] = field(default_factory=dict)

    @property
    def input(self) -> bool:
        """Whether a program may give it."""
        return self.required or self.optional

    @property
    def block(self) -> bool:
        """Whether it holds blocks (one or many)."""
        return bool(self.fields)

    @property
    def tf_name(self) -> str:
        """Its name in the provider's own messages, such as `launch_stage`."""
        return snake(self.api[-1] if self.api and not self.param else self.name)


def snake(name: str) -> str:
    """`launchStage` -> `launch_stage`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


FLAGS: Final = {
    "req": "required",
    "opt": "optional",
    "comp": "computed",
    **{
        name: name
        for name in ("replace", "secret", "local", "param", "late", "keep", "empty", "member", "base64", "json")
    },
}


def parse(text: str, source: str = "table") -> dict[str, Field]:
    """The fields of one table. Raises ValueError naming the line that is wrong."""
    root: dict[str, Field] = {}
    levels: list[dict[str, Field]] = [root]
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        depth = (len(line) - len(line.lstrip())) // INDENT
        if depth >= len(levels):
            raise ValueError(f"{source}:{number}: indentation must be at most one level deeper, got {line!r}")
        name, kind, *flags = line.split()
        new = _field(name, kind, flags, f"{source}:{number}")
        levels[depth][name] = new
        levels[depth + 1 :] = [new.fields]
    return root


def _field(name: str, kind: str, flags: list[str], where: str) -> Field:
    base, _, item = kind.partition("/")
    values: dict[str, Any] = {}
    for flag in flags:
        key, equals, value = flag.partition("=")
        if not equals and key in FLAGS:
            values[FLAGS[key]] = True
        elif key == "default":
            values["default"] = _typed(base, "" if value == '""' else value)
        elif key == "in":
            values["allowed"] = tuple(value.split("|"))
        elif key == "api":
            values["api"] = tuple(value.split("."))
        elif key in ("match", "same", "key"):
            values[key] = value
        elif key == "as":
            values["codec"] = value
        else:
            raise ValueError(f"{where}: flag must be one of those in schema.py, got {flag!r}")
    values.setdefault("api", (name,))
    return Field(name=name, type=base, item=item, **values)


def _typed(base: str, text: str) -> Any:
    if base == "bool":
        return text == "true"
    return int(text) if base == "int" else text


@cache
def load(table: str) -> dict[str, Field]:
    """The fields of `tables/TABLE.txt`, read once."""
    file = resources.files(__package__).joinpath("tables", f"{table}.txt")
    return parse(file.read_text(encoding="utf-8"), f"{table}.txt")
