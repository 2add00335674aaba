"""Reading a definition: YAML or JSON into steps, each with its line, or an error that names the line.

Reference: https://cloud.google.com/workflows/docs/reference/syntax (2026-11).
"""

import re
from typing import Any

import yaml

from localcloud.workflows import expressions, limits
from localcloud.workflows.checker import Arguments, Checker
from localcloud.workflows.errors import SourceError
from localcloud.workflows.program import REQUIRED, Case, Expression, Retry, Step, Workflow
from localcloud.workflows.program import Program as Program

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def read(text: str, connectors: Arguments) -> Program:
    """Read and check a definition. `connectors` tells the arguments of a googleapis.* call, None if there is no such call.

    Raises:
        SourceError: a syntax error, an unknown step, call or function, a jump to nowhere, a limit passed, or a part
            of the language that is not supported here.
    """
    if len(text.encode()) > limits.SOURCE_BYTES:
        raise SourceError(f"source has {len(text.encode())} bytes, the limit is {limits.SOURCE_BYTES}")
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        raise SourceError(f"YAML: {problem.problem}", mark.line + 1 if mark else None) from None
    if root is None:
        raise SourceError("the definition is empty")
    workflows = _Reader().program(root)
    Checker(workflows, connectors).check()
    return Program(workflows)


class _Loader(yaml.SafeLoader):
    """YAML with the language's booleans: yes, no, on and off stay strings."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Reader:
    """Turns YAML nodes into steps."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        """Names of steps of the workflow that is read: they are unique in it, nested ones too."""

    def program(self, root: yaml.Node) -> dict[str, Workflow]:
        if isinstance(root, yaml.SequenceNode):
            return {"main": Workflow("main", {}, self.steps(root), 1)}
        blocks = self.mapping(root, "the definition")
        if "main" not in blocks:
            raise SourceError("the definition has no main workflow", _line(root))
        return {name: self.workflow(name, node) for name, node in blocks.items()}

    def workflow(self, name: str, node: yaml.Node) -> Workflow:
        if not _NAME.fullmatch(name):
            raise SourceError(f"workflow name {name!r} must be letters, digits, - or _", _line(node))
        self._seen = set()
        found = self.only(node, f"workflow {name}", {"params", "steps"})
        if "steps" not in found:
            raise SourceError(f"workflow {name} has no steps", _line(node))
        parameters: dict[str, Any] = {}
        for item in self.sequence(found["params"], "params") if "params" in found else []:
            if isinstance(item, yaml.MappingNode):
                for key, value in self.mapping(item, "params").items():
                    parameters[key] = self.value(value)
            else:
                parameters[self.text(item, "a parameter")] = REQUIRED
        if name == "main" and len(parameters) > 1:
            raise SourceError("main takes at most one parameter", _line(node))
        return Workflow(name, parameters, self.steps(found["steps"]), _line(node))

    def steps(self, node: yaml.Node) -> list[Step]:
        found, seen = [], self._seen
        for item in self.sequence(node, "steps"):
            named = self.mapping(item, "a step")
            if len(named) != 1:
                raise SourceError("a step is one name with its body", _line(item))
            name, body = next(iter(named.items()))
            if not _NAME.fullmatch(name):
                raise SourceError(f"step name {name!r} must be letters, digits, - or _", _line(item))
            if name in seen:
                raise SourceError(f"two steps are named {name}", _line(item))
            seen.add(name)
            found.append(self.step(name, body))
        if not found:
            raise SourceError("steps must not be empty", _line(node))
        return found

    def step(self, name: str, node: yaml.Node) -> Step:
        parts = self.mapping(node, f"step {name}")
        kinds = [kind for kind in _KINDS if kind in parts]
        if "parallel" in parts:
            raise SourceError("parallel steps are not supported by this local service", _line(node))
        if len(kinds) > 1:
            raise SourceError(f"step {name} has {' and '.join(kinds)}; a step is one of them", _line(node))
        kind = kinds[0] if kinds else "jump"
        if kind == "jump" and "next" not in parts:
            raise SourceError(f"step {name} does nothing: {', '.join(parts) or 'it is empty'}", _line(node))
        unknown = set(parts) - {kind, "next", *_BESIDE.get(kind, ())}
        if unknown:
            raise SourceError(f"step {name} has unknown field {sorted(unknown)[0]!r}", _line(node))
        jump = self.text(parts["next"], "next") if "next" in parts else None
        body = getattr(self, f"read_{kind}")(parts, name) if kind != "jump" else {}
        return Step(name, kind, _line(node), body, jump)

    def read_assign(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        items = self.sequence(parts["assign"], "assign")
        if len(items) > limits.ASSIGNMENTS:
            raise SourceError(
                f"step {name} has {len(items)} assignments, the limit is {limits.ASSIGNMENTS}", _line(parts["assign"])
            )
        targets = []
        for item in items:
            for key, value in self.mapping(item, "an assignment").items():
                target = self.expression(key, _line(item))
                if not _is_place(target.tree):
                    raise SourceError(f"cannot assign to {key!r}", _line(item))
                targets.append((target, self.value(value)))
        return {"assign": targets}

    def read_call(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        return {
            "call": self.text(parts["call"], "call"),
            "args": self.value(parts["args"]) if "args" in parts else {},
            "result": self.text(parts["result"], "result") if "result" in parts else None,
        }

    def read_switch(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        items = self.sequence(parts["switch"], "switch")
        if len(items) > limits.CONDITIONS:
            raise SourceError(
                f"step {name} has {len(items)} conditions, the limit is {limits.CONDITIONS}", _line(parts["switch"])
            )
        cases = []
        for item in items:
            inner = self.mapping(item, "a condition")
            if "condition" not in inner:
                raise SourceError("a branch of switch has no condition", _line(item))
            condition = self.value(inner.pop("condition"))
            cases.append(Case(condition, self.step_of(name, inner, item)))
        return {"switch": cases}

    def step_of(self, name: str, parts: dict[str, yaml.Node], node: yaml.Node) -> Step:
        """Read a body that stands without a name of its own."""
        if not parts:
            return Step(name, "steps", _line(node), {"steps": []})
        pairs = [
            (yaml.ScalarNode("tag:yaml.org,2002:str", key, node.start_mark), value) for key, value in parts.items()
        ]
        return self.step(name, yaml.MappingNode("tag:yaml.org,2002:map", pairs, node.start_mark))

    def read_for(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        found = self.only(parts["for"], "for", {"value", "index", "in", "range", "steps"})
        if "value" not in found or "steps" not in found or ("in" in found) == ("range" in found):
            raise SourceError("for needs value, steps and either in or range", _line(parts["for"]))
        if "index" in found and "range" in found:
            raise SourceError("for with range has no index", _line(parts["for"]))
        return {
            "value": self.text(found["value"], "value"),
            "index": self.text(found["index"], "index") if "index" in found else None,
            "in": self.value(found["in"]) if "in" in found else None,
            "range": [self.value(item) for item in self.sequence(found["range"], "range")]
            if "range" in found
            else None,
            "steps": self.steps(found["steps"]),
        }

    def read_try(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        if "retry" not in parts and "except" not in parts:
            raise SourceError("try needs retry or except", _line(parts["try"]))
        body: dict[str, Any] = {"try": self.step_of(name, self.mapping(parts["try"], "try"), parts["try"])}
        if "retry" in parts:
            body["retry"] = self.retry(parts["retry"])
        if "except" in parts:
            found = self.only(parts["except"], "except", {"as", "steps"})
            if "steps" not in found:
                raise SourceError("except has no steps", _line(parts["except"]))
            body["as"] = self.text(found["as"], "as") if "as" in found else None
            body["except"] = self.steps(found["steps"])
        return body

    def retry(self, node: yaml.Node) -> Retry:
        if isinstance(node, yaml.ScalarNode):
            name = self.reference(node)
            if name not in ("http.default_retry", "http.default_retry_non_idempotent"):
                raise SourceError(f"unknown retry policy {name!r}", _line(node))
            return Retry(name.replace("_retry", "_retry_predicate"), 5)
        found = self.only(node, "retry", {"predicate", "max_retries", "backoff"})
        backoff = (
            self.only(found["backoff"], "backoff", {"initial_delay", "max_delay", "multiplier"})
            if "backoff" in found
            else {}
        )
        return Retry(
            self.reference(found["predicate"]) if "predicate" in found else "retry.always",
            self.value(found["max_retries"]) if "max_retries" in found else 5,
            **{key: self.value(value) for key, value in backoff.items()},
        )

    def read_raise(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        return {"raise": self.value(parts["raise"])}

    def read_return(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        return {"return": self.value(parts["return"])}

    def read_steps(self, parts: dict[str, yaml.Node], name: str) -> dict[str, Any]:
        return {"steps": self.steps(parts["steps"])}

    def reference(self, node: yaml.Node) -> str:
        """Read the name of a function or subworkflow, written as `${name}` or as it is."""
        return self.text(node, "a name").strip().removeprefix("${").removesuffix("}").strip()

    def value(self, node: yaml.Node) -> Any:
        """Read a value; what stands in `${}` becomes an Expression."""
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return {key: self.value(item) for key, item in self.mapping(node, "a map").items()}
        plain = yaml.constructor.SafeConstructor().construct_object(node)
        if not isinstance(plain, str):
            if plain is not None and not isinstance(plain, bool | int | float):
                return str(node.value)  # dates are strings here
            return plain
        stripped = plain.strip()
        if stripped.startswith("${") and stripped.endswith("}"):
            return self.expression(stripped[2:-1], _line(node))
        if "${" in plain:
            raise SourceError(
                f"{plain!r}: an expression is the whole value; join strings with + inside ${{}}", _line(node)
            )
        return plain

    def expression(self, text: str, line: int) -> Expression:
        if len(text) > limits.EXPRESSION_CHARS:
            raise SourceError(f"expression of {len(text)} characters, the limit is {limits.EXPRESSION_CHARS}", line)
        try:
            return Expression(expressions.parse(text), text, line)
        except SourceError as problem:
            raise SourceError(str(problem), line) from None

    def mapping(self, node: yaml.Node, what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise SourceError(f"{what} must be a map", _line(node))
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value in found:
                raise SourceError(f"{what} has {key.value!r} twice", _line(key))
            found[str(key.value)] = value
        return found

    def only(self, node: yaml.Node, what: str, allowed: set[str]) -> dict[str, yaml.Node]:
        found = self.mapping(node, what)
        unknown = sorted(set(found) - allowed)
        if unknown:
            raise SourceError(f"{what} has unknown field {unknown[0]!r}", _line(found[unknown[0]]))
        return found

    def sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise SourceError(f"{what} must be a list", _line(node))
        return list(node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise SourceError(f"{what} must be a name", _line(node))
        return str(node.value)


_KINDS = ("assign", "call", "switch", "for", "try", "raise", "return", "steps")
_BESIDE = {"call": ("args", "result"), "try": ("retry", "except")}


def _is_place(tree: Any) -> bool:
    """Whether an expression names a variable or an element of one."""
    return tree.data == "variable" or (tree.data in ("member", "item") and _is_place(tree.children[0]))
