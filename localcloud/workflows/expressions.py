"""Evaluation of `${…}`."""

import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from localcloud.workflows.errors import SourceError, error

Scope = Mapping[str, Any]
Functions = Mapping[str, Callable[..., Any]]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = Path(__file__).with_name("expressions.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="earley", ambiguity="resolve", maybe_placeholders=False)


@lru_cache(maxsize=4096)
def parse(text: str) -> Tree[Token]:
    """Parse one expression without its `${}`. Raises SourceError saying where it stops making sense."""
    try:
        return _parser().parse(text)
    except UnexpectedInput as problem:
        at = getattr(problem, "column", "?")
        raise SourceError(f"expression {text!r} cannot be parsed near character {at}") from None


def evaluate(tree: Any, scope: Scope, functions: Functions) -> Any:
    """Evaluate a parsed expression. Raises errors.WorkflowError."""
    return _RULES[tree.data](tree.children, scope, functions) if isinstance(tree, Tree) else tree


def names(tree: Any) -> set[str]:
    """Return the functions that a parsed expression calls."""
    if not isinstance(tree, Tree):
        return set()
    found = set().union(*(names(child) for child in tree.children)) if tree.children else set()
    if tree.data == "call":
        found.add(".".join(str(part) for part in tree.children[0].children))
    return found


def kind(value: Any) -> str:
    """Name of the type of `value`, as errors call it."""
    if value is None:
        return "null"
    kinds: list[tuple[type, str]] = [
        (bool, "boolean"), (int, "integer"), (float, "double"), (str, "string"), (bytes, "bytes"), (list, "list"),
        (dict, "map"),
    ]  # fmt: skip
    return next((name for type_, name in kinds if isinstance(value, type_)), type(value).__name__)


def truth(value: Any, where: str) -> bool:
    """Return a boolean; the language converts nothing to one."""
    if not isinstance(value, bool):
        raise error("TypeError", f"{where} must be a boolean, got {kind(value)}")
    return value


def text(value: Any) -> str:
    """Return what `+` makes of a number or boolean beside a string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, int | str):
        return str(value)
    raise error("TypeError", f"cannot use {kind(value)} as a string")


def _number(value: Any, operator: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise error("TypeError", f"unsupported operand type for {operator}: {kind(value)}")
    return value


def _bounded(value: int | float) -> int | float:
    if isinstance(value, int) and not INT_MIN <= value <= INT_MAX:
        raise error("ValueError", f"integer overflow: {value} does not fit 64 bits")
    return value


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        return text(left) + text(right)
    return _bounded(_number(left, "+") + _number(right, "+"))


def _divide(left: Any, right: Any, operator: str) -> Any:
    first, second = _number(left, operator), _number(right, operator)
    if second == 0:
        raise error("ZeroDivisionError", "division by zero")
    if operator == "/":
        return first / second
    if operator == "//":
        result = first // second
        return _bounded(result) if isinstance(result, int) else math.floor(result) * 1.0
    return first % second


def _arithmetic(left: Any, operator: str, right: Any) -> Any:
    match operator:
        case "+":
            return _add(left, right)
        case "-":
            return _bounded(_number(left, "-") - _number(right, "-"))
        case "*":
            return _bounded(_number(left, "*") * _number(right, "*"))
    return _divide(left, right, operator)


def equal(left: Any, right: Any) -> bool:
    """`==` of the language: numbers by value, everything else by type and value."""
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if isinstance(left, bool) != isinstance(right, bool) or (not numbers and type(left) is not type(right)):
        return False
    return bool(left == right)


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator in ("==", "!="):
        return equal(left, right) == (operator == "==")
    if operator == "in":
        if isinstance(right, list):
            return any(equal(left, item) for item in right)
        if isinstance(right, dict):
            return isinstance(left, str) and left in right
        raise error("TypeError", f"in: must look in a list or map, got {kind(right)}")
    both_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (left, right))
    if not both_numbers and not (isinstance(left, str) and isinstance(right, str)):
        raise error("TypeError", f"unsupported operand types for {operator}: {kind(left)} and {kind(right)}")
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])


def _chain(apply: Callable[[Any, str, Any], Any]) -> Callable[..., Any]:
    def rule(children: list[Any], scope: Scope, functions: Functions) -> Any:
        result = evaluate(children[0], scope, functions)
        for operator, child in zip(children[1::2], children[2::2], strict=True):
            result = apply(result, str(operator), evaluate(child, scope, functions))
        return result

    return rule


def _logic(word: str, stop: bool) -> Callable[..., Any]:
    def rule(children: list[Any], scope: Scope, functions: Functions) -> Any:
        for child in children:
            if truth(evaluate(child, scope, functions), f"operand of {word}") is stop:
                return stop
        return not stop

    return rule


def _member(children: list[Any], scope: Scope, functions: Functions) -> Any:
    return get(evaluate(children[0], scope, functions), str(children[1]))


def _item(children: list[Any], scope: Scope, functions: Functions) -> Any:
    return get(evaluate(children[0], scope, functions), evaluate(children[1], scope, functions))


def get(container: Any, place: Any) -> Any:
    """Return one element of a map or list. Raises KeyError, IndexError or TypeError of the language."""
    if isinstance(container, dict):
        if not isinstance(place, str):
            raise error("TypeError", f"map key must be a string, got {kind(place)}")
        if place not in container:
            raise error("KeyError", f"key not found: {place}")
        return container[place]
    if isinstance(container, list):
        if isinstance(place, bool) or not isinstance(place, int):
            raise error("TypeError", f"list index must be an integer, got {kind(place)}")
        if not 0 <= place < len(container):
            raise error("IndexError", f"index out of range: {place} in a list of {len(container)}")
        return container[place]
    raise error("TypeError", f"cannot access {place!r} of {kind(container)}")


def _variable(children: list[Any], scope: Scope, functions: Functions) -> Any:
    name = str(children[0])
    if name not in scope:
        raise error("KeyError", f"variable not found: {name}")
    return scope[name]


def _call(children: list[Any], scope: Scope, functions: Functions) -> Any:
    name = ".".join(str(part) for part in children[0].children)
    if name == "if":  # the two results are evaluated only when they are taken
        return _if(children[1:], scope, functions)
    arguments = [evaluate(child, scope, functions) for child in children[1:]]
    return called(name, functions[name], arguments)


def called(name: str, function: Callable[..., Any], arguments: list[Any]) -> Any:
    """Call a function of the library; what it does not take is an error of the language."""
    try:
        return function(*arguments)
    except TypeError as problem:
        raise error("TypeError", f"{name}: {problem}") from problem
    except (ValueError, OverflowError, OSError, LookupError) as problem:
        raise error("ValueError", f"{name}: {problem}") from problem


def _if(children: list[Any], scope: Scope, functions: Functions) -> Any:
    if len(children) != 3:
        raise error("TypeError", f"if takes 3 arguments, got {len(children)}")
    condition = evaluate(children[0], scope, functions)
    chosen = condition is not None and truth(condition, "condition of if")
    return evaluate(children[1 if chosen else 2], scope, functions)


def _literal(children: list[Any], scope: Scope, functions: Functions) -> Any:
    digits = str(children[0])
    return _bounded(int(digits)) if digits.isdecimal() else float(digits)


def _quoted(children: list[Any], scope: Scope, functions: Functions) -> str:
    raw = str(children[0])
    try:
        return str(json.loads(raw, strict=False))
    except json.JSONDecodeError as problem:
        raise error("ValueError", f"string {raw} has an unknown escape") from problem


_RULES: dict[str, Callable[..., Any]] = {
    "disjunction": _logic("or", True),
    "conjunction": _logic("and", False),
    "comparison": _chain(_compare),
    "sum": _chain(_arithmetic),
    "product": _chain(_arithmetic),
    "minus": lambda c, s, f: _bounded(-_number(evaluate(c[0], s, f), "-")),
    "invert": lambda c, s, f: not truth(evaluate(c[0], s, f), "operand of not"),
    "member": _member,
    "item": _item,
    "call": _call,
    "variable": _variable,
    "number": _literal,
    "string": _quoted,
    "true": lambda c, s, f: True,
    "false": lambda c, s, f: False,
    "null": lambda c, s, f: None,
}
