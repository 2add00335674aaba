"""The language of Workflows against its reference: expressions, steps, errors, retries, limits, what is refused.

https://cloud.google.com/workflows/docs/reference/syntax and .../reference/stdlib/overview (2026-11).
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from localcloud.workflows import expressions, limits
from localcloud.workflows.errors import Frame, SourceError, WorkflowError
from localcloud.workflows.functions import library
from localcloud.workflows.machine import Machine
from localcloud.workflows.source import read

VARIABLES = {
    "n": 4,
    "d": 2.5,
    "s": "text",
    "yes": True,
    "nothing": None,
    "items": ["a", "b", 3],
    "map": {"k": 1, "in": {"deep": [10, {"x": "y"}]}, "odd key!": "odd"},
    "trueish": "t",
    "notable": "n",
}
LIBRARY = library({"SET": "value"}, lambda: 1_700_000_000.5, lambda: "an-id")


def value(text: str) -> Any:
    return expressions.evaluate(expressions.parse(text), VARIABLES, LIBRARY)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        # literals and names
        ("1", 1), ("1.5", 1.5), ("2e3", 2000.0), ('"a\\"b\\n"', 'a"b\n'), ("true", True), ("False", False), ("TRUE", True),
        ("null", None), ("trueish", "t"), ("notable", "n"), ("n", 4),
        # precedence: () . [] not - * / // % + - comparison and or
        ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("2 - 3 - 4", -5), ("-n + 1", -3), ("2 - -1", 3), ("-2 * 3", -6),
        ("8 / 2 / 2", 2.0), ("7 // 2 * 2", 6), ("7 % 4 + 1", 4), ("1 + 2 == 3", True), ("not yes == false", True),
        ("not true or true", True), ("true or false and false", True), ("(true or false) and false", False),
        ("not false AND true", True), ("NOT yes OR yes", True), ("1 < 2 and 2 < 3", True), ("not (n > 3)", False),
        ("not (s in map)", True),
        ('"k" in map and not ("z" in map)', True), ("-map.k + 2", 1), ("map.in.deep[0] + 1", 11),
        ('map.in.deep[1]["x"]', "y"), ('map["odd key!"]', "odd"), ("items[n - 3]", "b"), ("len(items) - 1", 2),
        # arithmetic and conversions
        ("4 / 2", 2.0), ("7 // 2", 3), ("7.5 // 2", 3.0), ("7 % 4", 3), ("1 + 1.5", 2.5), ("2 * d", 5.0),
        ('"a" + 1', "a1"), ('1.5 + "a"', "1.5a"), ('"a" + true', "atrue"), ('"}" + "${"', "}${"), ("s + s", "texttext"),
        # comparison
        ("1 == 1.0", True), ("1 != 2", True), ('1 == "1"', False), ("true == 1", False), ("null == null", True),
        ("nothing == false", False), ('"a" < "b"', True), ("n >= 4", True), ("items == items", True),
        ('"a" in items', True), ("3 in items", True), ("true in items", False), ('"k" in map', True), ('"k" in(map)', True),
        # helpers
        ("default(nothing, 5)", 5), ("default(n, 5)", 4), ("if(n > 3, 1, 1 / 0)", 1), ("if(nothing, 1, 2)", 2),
        ("int(2.7)", 2), ('int("12")', 12), ('double("1.5")', 1.5), ("string(1.5)", "1.5"), ("string(true)", "true"),
        ('len("é")', 1), ("len(map)", 3), ('keys(map)[0]', "k"), ("get_type(d)", "double"), ("get_type(map)", "map"),
        # library
        ("list.concat(items, 1)[3]", 1), ("list.prepend(items, 1)[0]", 1), ('map.get(map, "none")', None),
        ('map.get(map, "k")', 1), ('len(map.delete(map, "k"))', 2), ("map.merge(map, map).k", 1),
        ("math.abs(-3)", 3), ("math.max(1, 2)", 2), ("math.min(1, 2)", 1), ("math.floor(-1.5)", -2),
        ('text.split("a,b", ",")[1]', "b"), ('text.find_all("aXbX", "X")[1]', 3), ('text.to_upper("a")', "A"),
        ('text.replace_all("a-b", "-", "+")', "a+b"), ('text.substring("abcd", 1, 3)', "bc"), ('text.url_encode("a b/c")', "a%20b%2Fc"),
        ('text.match_regex("run-12", "-[0-9]+$")', True), ('text.find_all_regex("a1b22", "[0-9]+")[1].match', "22"),
        ('json.decode("{\\"a\\": [1, 2]}").a[1]', 2), ("json.encode_to_string(items)", '["a","b",3]'),
        ("json.encode_to_string(4 / 2)", "2"), ('text.decode(base64.decode("aGk="))', "hi"), ('base64.encode(text.encode("hi"))', "aGk="),
        ('sys.get_env("SET")', "value"), ('sys.get_env("UNSET", "other")', "other"), ("sys.now()", 1_700_000_000.5),
        ("time.format(0)", "1970-01-01T00:00:00.000000Z"), ('time.parse("1970-01-01T00:01:00Z")', 60.0), ("uuid.generate()", "an-id"),
    ],
)  # fmt: skip
def test_expression(text: str, result: Any) -> None:
    found = value(text)
    assert (found, type(found)) == (result, type(result))


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("1 / 0", "ZeroDivisionError"), ("1 // 0", "ZeroDivisionError"), ("1 % 0", "ZeroDivisionError"), ("items[3]", "IndexError"),
        ("items[-1]", "IndexError"), ('items["a"]', "TypeError"), ("map.none", "KeyError"), ("unknown", "KeyError"),
        ("nothing.x", "TypeError"), ("1 + null", "TypeError"), ("1 + true", "TypeError"), ('"a" - 1', "TypeError"), ("not n", "TypeError"),
        ("n and true", "TypeError"), ('1 < "a"', "TypeError"), ('"a" in s', "TypeError"), ("9223372036854775807 + 1", "ValueError"),
        ('int("x")', "ValueError"), ("int(true)", "TypeError"), ("len(1)", "TypeError"), ('sys.get_env("UNSET")', "KeyError"),
        ('json.decode("{")', "ValueError"), ('text.split("a", "")', "ValueError"), ("len()", "TypeError"), ("len(s, s)", "TypeError"),
        ('time.parse("today")', "ValueError"), ('text.match_regex("a", "(")', "ValueError"), ("string(map)", "TypeError"),
        ('text.substring("ab", 1, 5)', "IndexError"), ('time.format(1e30)', "ValueError"),
    ],
)  # fmt: skip
def test_error_of_an_expression_has_its_tag(text: str, tag: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        value(text)
    assert caught.value.tags == [tag]


@pytest.mark.parametrize("text", ["", "1 +", "a b", "1 = 2", "'a'", "a..b", "f(1", '["a"]', "a[1", "&& a"])
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="cannot be parsed"):
        expressions.parse(text)


class Host:
    """Answers of calls in order; sleeps take no time."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.calls, self.slept = list(answers), list[tuple[str, Any]](), list[float]()
        self.logged: list[tuple[Any, str]] = []
        self.frames: list[list[Frame]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def log(self, data: Any, severity: str) -> None:
        self.logged.append((data, severity))

    async def http(self, method: str, arguments: Mapping[str, Any]) -> Any:
        return await self.connector(f"http.{method}", arguments)

    async def connector(self, name: str, arguments: Mapping[str, Any]) -> Any:
        self.calls.append((name, dict(arguments)))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def entered(self, frames: list[Frame]) -> None:
        self.frames.append(list(frames))


def connectors(name: str) -> frozenset[str] | None:
    return frozenset({"name", "body"}) if name == "googleapis.batch.v1.projects.locations.jobs.get" else None


def run(text: str, argument: Any = None, host: Host | None = None) -> Any:
    return asyncio.run(Machine(read(text, connectors), host or Host(), LIBRARY).run(argument))


def http_error(code: int) -> WorkflowError:
    return WorkflowError({"code": code, "message": f"error code {code}", "tags": ["HttpError"]})


STEPS: list[tuple[str, Any]] = [
    ("- a: {assign: [x: 1, x: '${x + 1}']}\n- r: {return: '${x}'}", 2),
    ("- a: {assign: [m: {}, m.a.b: 1, 'm[\"c d\"]': 2, l: [1, 2], 'l[1]': 5]}\n- r: {return: ['${m.a.b}', '${m[\"c d\"]}', '${l[1]}']}", [1, 2, 5]),
    ("- a: {assign: [x: {k: 1}, y: '${x}', y.k: 2]}\n- r: {return: '${x.k}'}", 1),  # a variable is a value
    ("- a: {assign: [x: yes, y: 'true', z: true, d: 2020-01-01]}\n- r: {return: ['${x}', '${y}', '${z}', '${d}']}", ["yes", "true", True, "2020-01-01"]),
    ("- a: {return: '${1}', next: end}", 1),
    ("- a: {next: c}\n- b: {return: b}\n- c: {return: c}", "c"),
    ("- a: {assign: [x: 1], next: end}\n- b: {return: b}", None),
    ("- a:\n    switch:\n    - {condition: false, return: 1}\n    - {condition: '${1 < 2}', return: 2}\n    - {condition: true, return: 3}", 2),
    # the branch that matches ends the switch, with or without next
    ("- i: {assign: [x: []]}\n- a:\n    switch:\n    - {condition: true, assign: [x: '${list.concat(x, 1)}']}\n    - {condition: true, assign: [x: '${list.concat(x, 2)}']}\n- r: {return: '${x}'}", [1]),
    ("- a:\n    switch:\n    - {condition: false, next: c}\n    next: d\n- c: {return: c}\n- d: {return: d}", "d"),
    ("- a:\n    switch:\n    - condition: true\n      steps:\n      - in: {assign: [x: 1]}\n      next: c\n- b: {return: b}\n- c: {return: '${x}'}", 1),
    ("- i: {assign: [t: 0]}\n- f:\n    for: {value: v, range: [1, 4], steps: [s: {assign: [t: '${t + v}']}]}\n- r: {return: '${t}'}", 10),
    ("- i: {assign: [t: '']}\n- f:\n    for: {value: v, index: i, in: [a, b], steps: [s: {assign: [t: '${t + v + i}']}]}\n- r: {return: '${t}'}", "a0b1"),
    ("- i: {assign: [t: 0]}\n- f:\n    for:\n      value: v\n      in: [1, 2, 3, 4]\n      steps:\n      - c:\n          switch:\n          - {condition: '${v == 2}', next: continue}\n          - {condition: '${v == 4}', next: break}\n      - s: {assign: [t: '${t + v}']}\n- r: {return: '${t}'}", 4),
    ("- f:\n    for: {value: v, in: [1, 2], steps: [s: {return: '${v}'}]}\n- r: {return: after}", 1),
    ("- s: {steps: [a: {assign: [x: 1]}, b: {assign: [x: '${x + 1}']}]}\n- r: {return: '${x}'}", 2),
    ("main:\n  params: [args]\n  steps:\n  - c: {call: twice, args: {n: '${args.n}'}, result: r}\n  - r: {return: '${r}'}\ntwice:\n  params: [n, by: 2]\n  steps:\n  - r: {return: '${n * by}'}", 10),
    ("main:\n  params: [args]\n  steps:\n  - c: {call: other, result: r}\n  - r: {return: '${r}'}\nother:\n  steps:\n  - r: {assign: [x: 1]}", None),
    ("- t:\n    try: {raise: boom}\n    except: {as: e, steps: [r: {return: '${e}'}]}", "boom"),
    ("- t:\n    try: {raise: {code: 55, tags: [Mine]}}\n    except: {as: e, steps: [r: {return: '${\"Mine\" in e.tags and e.code == 55}'}]}", True),
    ("- t:\n    try: {steps: [a: {assign: [x: '${1 / 0}']}]}\n    except: {as: e, steps: [r: {return: '${e.tags[0]}'}]}", "ZeroDivisionError"),
    ("- t:\n    try: {assign: [x: 1]}\n    except: {as: e, steps: [no: {return: caught}]}\n- r: {return: '${x}'}", 1),
    ("- t:\n    try:\n      try: {raise: inner}\n      except: {as: e, steps: [r: {raise: '${e + \" again\"}'}]}\n    except: {as: o, steps: [r2: {return: '${o}'}]}", "inner again"),
    ("- l: {call: sys.log, args: {data: hello, severity: INFO}}\n- s: {call: sys.sleep, args: {seconds: 3}}\n- r: {return: done}", "done"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "result"), STEPS)
def test_steps(text: str, result: Any) -> None:
    assert run(text, {"n": 5}) == result


def test_loop_and_except_variables_end_with_their_block() -> None:
    with pytest.raises(WorkflowError, match="variable not found: v"):
        run("- f:\n    for: {value: v, in: [1], steps: [s: {assign: [w: '${v}']}]}\n- r: {return: '${v}'}")
    with pytest.raises(WorkflowError, match="variable not found: w"):
        run("- f:\n    for: {value: v, in: [1], steps: [s: {assign: [w: '${v}']}]}\n- r: {return: '${w}'}")


def test_call_hands_arguments_over_and_keeps_the_result() -> None:
    host = Host({"body": {"n": 7}, "code": 200})
    text = "- g: {call: http.get, args: {url: 'http://x/${1}'}, result: r}\n- r: {return: '${r.body.n}'}"
    with pytest.raises(SourceError, match="whole value"):
        run(text)
    text = "- g: {call: http.get, args: {url: '${\"http://x/\" + string(1)}'}, result: r}\n- r: {return: '${r.body.n}'}"
    assert run(text, host=host) == 7
    assert host.calls == [("http.get", {"url": "http://x/1"})]


@pytest.mark.parametrize(
    ("policy", "failures", "tries"),
    [
        ("${http.default_retry}", [http_error(503)] * 2, 3),
        ("${http.default_retry}", [http_error(503)] * 9, 6),
        ("${http.default_retry}", [http_error(404)], 1),
        ("${http.default_retry_non_idempotent}", [http_error(502)], 1),
        ("${http.default_retry_non_idempotent}", [WorkflowError({"tags": ["ConnectionError"]})], 1),
        ("${http.default_retry_non_idempotent}", [WorkflowError({"tags": ["ConnectionFailedError"]})], 2),
        (
            "{predicate: '${http.default_retry_predicate}', max_retries: 1}",
            [WorkflowError({"tags": ["TimeoutError"]})] * 3,
            2,
        ),
        ("{predicate: '${mine}', max_retries: 3}", [http_error(418), http_error(500)], 2),
        ("{max_retries: 2}", [http_error(400)] * 5, 3),
    ],
)
def test_retry_predicates_decide_how_often_a_step_is_tried(policy: str, failures: list[Exception], tries: int) -> None:
    text = (
        f"main:\n  steps:\n  - t:\n      try: {{call: http.get, args: {{url: 'http://x'}}, result: r}}\n      retry: {policy}\n"
        "      except: {as: e, steps: [x: {return: failed}]}\n  - r: {return: done}\n"
        "mine:\n  params: [e]\n  steps:\n  - r: {return: '${e.code == 418}'}"
    )
    host = Host(*failures)
    assert run(text, host=host) == ("done" if tries > len(failures) else "failed")
    assert len(host.calls) == tries


def test_backoff_grows_to_its_maximum() -> None:
    backoff = "{initial_delay: 1, max_delay: 5, multiplier: 2}"
    text = f"- t:\n    try: {{raise: no}}\n    retry: {{max_retries: 5, backoff: {backoff}}}\n    except: {{steps: [r: {{return: 1}}]}}"
    host = Host()
    run(text, host=host)
    assert host.slept == [1, 2, 4, 5, 5]


def test_an_error_knows_where_it_was_raised() -> None:
    text = "main:\n  steps:\n  - first: {assign: [x: 1]}\n  - outer: {call: sub}\nsub:\n  steps:\n  - inner:\n      raise: boom\n"
    with pytest.raises(WorkflowError) as caught:
        run(text)
    assert [(frame.routine, frame.step) for frame in caught.value.trace] == [("sub", "inner"), ("main", "outer")]
    assert [frame.line for frame in caught.value.trace] == [8, 4]


def test_limits_end_an_execution_that_passes_them() -> None:
    with pytest.raises(WorkflowError) as caught:
        run("main:\n  steps:\n  - c: {call: main}")
    assert caught.value.tags == ["RecursionError"]
    grow = "- i: {assign: [x: '${\"0123456789abcdef\"}']}\n- a: {assign: [x: '${x + x}'], next: a}"
    with pytest.raises(WorkflowError, match="exceeds the limit of 262144"):
        run(grow)
    many = "- i: {assign: [s: '${\"0123456789abcdef\"}', l: []]}\n- a: {assign: [s: '${s + s}', l: '${list.concat(l, s)}'], next: a}"
    with pytest.raises(WorkflowError, match="memory usage limit") as caught:
        run(many)
    assert caught.value.tags == ["ResourceLimitError"]


def test_step_limit_cannot_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STEPS_IN_WORKFLOW", 50)
    with pytest.raises(WorkflowError, match="step limit"):
        run("- t:\n    try: {steps: [a: {next: a}]}\n    except: {as: e, steps: [r: {return: caught}]}")


REFUSED = [
    ("", "empty"),
    ("- a: {return: 1}\n- a: {return: 2}", "two steps are named a (line 2)"),
    ("- a: {steps: [b: {return: 1}]}\n- b: {return: 2}", "two steps are named b (line 2)"),
    ("- a: {return: 1}\n- b: {return: '${1 +}'}", "line 2"),
    ("- a:\n    assign:\n    - x: ${nope(1)}", "unknown function nope (line 3)"),
    ("- a: {call: googleapis.compute.v1.instances.insert}", "no such subworkflow, function or connector"),
    ("- a: {call: googleapis.batch.v1.projects.locations.jobs.get, args: {nam: x}}", "no argument nam"),
    ("- a: {next: nowhere}", "next names no step: nowhere (line 1)"),
    ("- a: {next: break}", "names no step: break"),
    ("- a: {parallel: {branches: []}}", "parallel"),
    ("- a: {call: sys.log, return: 1}", "call and return"),
    ("- a: {call: http.get, argz: {}}", "unknown field 'argz'"),
    ("- a: {assign: [{'1x': 2}]}", "line 1"),
    ("- a: {assign: [{'f(1)': 2}]}", "cannot assign"),
    ("- a: {return: '${http.get(\"x\")}'}", "waits and cannot stand in an expression"),
    ("- a: {return: 'x ${y} z'}", "whole value"),
    ("- a: {try: {return: 1}}", "retry or except"),
    ("- a: {try: {return: 1}, retry: '${nope}'}", "unknown retry policy"),
    ("- a: {for: {value: v, in: [], range: [1, 2], steps: [b: {return: 1}]}}", "either in or range"),
    ("- a: {switch: [{return: 1}]}", "no condition"),
    ("- a: {}", "does nothing"),
    ("other: {steps: [a: {return: 1}]}", "no main"),
    ("main: {params: [a, b], steps: [a: {return: 1}]}", "at most one parameter"),
    ("main: {steps: [a: {call: sub, args: {y: 1}}]}\nsub: {params: [x], steps: [a: {return: 1}]}", "no parameter y"),
    ("main: {steps: [a: {call: sub}]}\nsub: {params: [x], steps: [a: {return: 1}]}", "needs parameter x"),
    ("- a: {return: [1, 2}", "YAML"),
    ("- a: {assign: [" + "x: 1, " * 51 + "]}", "51 assignments"),
    ("- a: {return: '${" + "1+" * 200 + "1}'}", "401 characters"),
    ("- a: {return: '" + "x" * 131_100 + "'}", "131"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_wrong_is_refused_when_it_is_deployed(text: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(text, connectors)
    assert words in str(caught.value)


def test_json_is_a_definition_too() -> None:
    assert run('{"main": {"params": ["a"], "steps": [{"r": {"return": "${a.x}"}}]}}', {"x": 3}) == 3
