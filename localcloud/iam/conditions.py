"""IAM conditions: the part of CEL that policies use, compiled to a function of the request.

Comparisons of resource.name, resource.type, resource.service and request.time; startsWith, endsWith, in a list; &&, ||, !, parentheses.
https://cloud.google.com/iam/docs/conditions-attribute-reference (2026-11). Anything else is refused, not ignored.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, VisitError

from localcloud.clock import parse_rfc3339
from localcloud.errors import invalid


@dataclass(frozen=True)
class Attributes:
    """What a condition may ask about. Empty: not known for this resource (a comparison with it is false)."""

    name: str = ""
    type: str = ""
    service: str = ""
    time: float = 0.0


Test = Callable[[Attributes], bool]
Value = Callable[[Attributes], Any]

GRAMMAR = r"""
?start: or_
?or_: and_ ("||" and_)*
?and_: not_ ("&&" not_)*
?not_: "!" not_ -> negate
     | comparison
     | "(" or_ ")"
     | BOOL -> constant
comparison: value OP value -> compare
          | value "." METHOD "(" STRING ")" -> call
          | value "in" "[" STRING ("," STRING)* "]" -> among
?value: ATTRIBUTE -> attribute
      | STRING -> string
      | "timestamp" "(" STRING ")" -> timestamp
BOOL: "true" | "false"
METHOD: "startsWith" | "endsWith"
ATTRIBUTE: /(resource\.(name|type|service)|request\.time)(?![a-zA-Z_])/
OP: "==" | "!=" | "<=" | ">=" | "<" | ">"
STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/
%ignore /\s+/
"""
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


class _TypeMismatch(ValueError):
    pass


@v_args(inline=True)
class _Compile(Transformer[Token, Any]):
    def or_(self, *tests: Test) -> Test:
        return lambda given: any(test(given) for test in tests)

    def and_(self, *tests: Test) -> Test:
        return lambda given: all(test(given) for test in tests)

    def negate(self, test: Test) -> Test:
        return lambda given: not test(given)

    def constant(self, word: Token) -> Test:
        return lambda given: word == "true"

    def attribute(self, token: Token) -> tuple[str, Value]:
        owner, _, field = token.partition(".")
        if owner == "request":
            return "time", lambda given: given.time
        return "string", lambda given: getattr(given, field)

    def string(self, token: Token) -> tuple[str, Value]:
        text = _unquote(token)
        return "string", lambda given: text

    def timestamp(self, token: Token) -> tuple[str, Value]:
        try:
            moment = parse_rfc3339(_unquote(token))
        except ValueError:
            raise _TypeMismatch(f"timestamp({token}) is not an RFC 3339 time") from None
        return "time", lambda given: moment

    def compare(self, left: tuple[str, Value], op: Token, right: tuple[str, Value]) -> Test:
        if left[0] != right[0]:
            raise _TypeMismatch(f"found no matching overload for '{op}' applied to ({left[0]}, {right[0]})")
        if left[0] == "string" and op not in ("==", "!="):
            raise _TypeMismatch(f"'{op}' of strings is not supported")
        function, one, two = COMPARE[op], left[1], right[1]
        return lambda given: function(one(given), two(given))

    def among(self, value: tuple[str, Value], *choices: Token) -> Test:
        if value[0] != "string":
            raise _TypeMismatch("'in' needs a string")
        allowed, get = {_unquote(choice) for choice in choices}, value[1]
        return lambda given: get(given) in allowed

    def call(self, value: tuple[str, Value], method: Token, argument: Token) -> Test:
        if value[0] != "string":
            raise _TypeMismatch(f"{method} needs a string")
        text, get = _unquote(argument), value[1]
        if method == "startsWith":
            return lambda given: bool(get(given).startswith(text))
        return lambda given: bool(get(given).endswith(text))


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])


_PARSER = Lark(GRAMMAR, parser="lalr")


@lru_cache(maxsize=4096)
def compile_condition(expression: str) -> Test:
    """Raises ApiError 400 for an expression outside the supported part."""
    try:
        test: Test = _Compile().transform(_PARSER.parse(expression))
    except UnexpectedInput as error:
        where = f"{error.line}:{error.column}"
        raise invalid(
            f"Error in policy: condition expression compilation failed. Error details: {where}: not supported: {expression}",
            "policy.bindings.condition.expression",
        ) from None
    except VisitError as error:
        if not isinstance(error.orig_exc, _TypeMismatch):
            raise
        raise invalid(
            f"Error in policy: condition expression compilation failed. Error details: {error.orig_exc}",
            "policy.bindings.condition.expression",
        ) from None
    return test
