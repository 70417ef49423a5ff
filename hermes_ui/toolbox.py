"""Functions that a persona may call: dice, a clock, a calculator.

A tool gets checked arguments and a `Moment`, and answers with JSON. Whatever the model
asks for, `Toolbox.run` gives a result: what cannot be done is an `{"error": …}` for the
model to read.
"""

import json
import math
import random
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hermes_ui.errors import ToolError
from hermes_ui.messages import ToolCall, ToolResult

MAX_ARGUMENTS = 10_000  # characters
MAX_DICE = 100
MAX_SIDES = 1_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """What a tool may know beside its arguments: the dice of this reply, and its time."""

    rng: random.Random
    now: datetime


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as the model sees it. `parameters` is a JSON schema of type object.

    `call` takes the arguments and answers with a JSON object; it raises `ToolError` for
    arguments that it cannot use. None: the function is somebody else's to run.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any], Moment], dict[str, Any]] | None = None


class Toolbox(Mapping[str, Tool]):
    """Tools by name. Safe to share between threads."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def chosen(self, names: Sequence[str]) -> tuple[Tool, ...]:
        """The tools of these names, in this order; names that are not here are left out."""
        return tuple(self._tools[name] for name in dict.fromkeys(names) if name in self._tools)

    def run(self, call: ToolCall, *, rng: random.Random, now: datetime) -> ToolResult:
        """The answer to `call`; the same dice, time and arguments give the same one."""
        try:
            answer = self._answer(call, Moment(rng, now))
        except ToolError as error:
            answer = {"error": str(error)}
        content = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace").decode()
        return ToolResult(call.id, call.name, content)

    def _answer(self, call: ToolCall, moment: Moment) -> dict[str, Any]:
        tool = self._tools.get(call.name)
        if tool is None or tool.call is None:
            raise ToolError(f"there is no tool of this name; there are: {', '.join(self._tools)}")
        arguments = _parsed(call.arguments or "{}")
        _check(arguments, tool.parameters)
        return tool.call(arguments, moment)


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > MAX_ARGUMENTS:
        raise ToolError(f"the arguments are longer than {MAX_ARGUMENTS} characters")
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        raise ToolError("the arguments are not JSON") from None
    if not isinstance(arguments, dict):
        raise ToolError("the arguments must be a JSON object")
    return arguments


_KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def _check(arguments: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Names and types against the schema; limits are each tool's own business."""
    known: Mapping[str, Any] = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in arguments:
            raise ToolError(f"the argument {name!r} is missing")
    for name, value in arguments.items():
        if name not in known:
            raise ToolError(f"there is no argument {name[:40]!r}; there are: {', '.join(known)}")
        kind = known[name].get("type", "")
        is_boolean = isinstance(value, bool)
        if kind in _KINDS and (
            not isinstance(value, _KINDS[kind]) or is_boolean != (kind == "boolean")
        ):
            raise ToolError(f"the argument {name!r} must be of type {kind}")


_DICE = re.compile(r"([0-9]{0,3})[dD]([0-9]{1,7})(?: ?([+-]) ?([0-9]{1,6}))?")


def _roll_dice(arguments: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
    notation = arguments["notation"].strip()
    found = _DICE.fullmatch(notation)
    if found is None:
        raise ToolError("the notation must look like d20, 2d6 or 2d6+1")
    count, sides, bonus = int(found[1] or 1), int(found[2]), int(found[4] or 0)
    if not (1 <= count <= MAX_DICE and 1 <= sides <= MAX_SIDES):
        raise ToolError(f"at most {MAX_DICE} dice of 1 to {MAX_SIDES} sides can be rolled")
    rolls = [moment.rng.randint(1, sides) for _ in range(count)]
    bonus = -bonus if found[3] == "-" else bonus
    return {"notation": notation, "rolls": rolls, "total": sum(rolls) + bonus}


_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,30}(?:/[A-Za-z0-9_+-]{1,30}){0,2}")


def _current_time(arguments: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
    now = moment.now
    zone = arguments.get("timezone", "")
    if zone:
        if not _ZONE.fullmatch(zone):
            raise ToolError("the timezone must be a name such as Europe/Berlin")
        try:
            now = now.astimezone(zoneinfo.ZoneInfo(zone))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise ToolError(f"there is no timezone {zone}") from None
    return {
        "date": f"{now:%Y-%m-%d}",
        "time": f"{now:%H:%M:%S}",
        "weekday": f"{now:%A}",
        "timezone": str(now.tzinfo or "local"),
    }


MAX_EXPRESSION = 300  # characters
MAX_BITS = 2048  # of a whole number
MAX_NESTING = 40

Number = int | float

_TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+)|([a-z]+)|(\*\*|//|.))")
_SPELLINGS = str.maketrans({"^": "**", "×": "*", "·": "*", "÷": "/", "−": "-"})
_CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: dict[str, Callable[[Number], Number]] = {
    "abs": abs,
    "sqrt": math.sqrt,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "ln": math.log,
    "log": math.log10,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}


def calculate(expression: str) -> Number:
    """The value of an arithmetic expression: + - * / // % ** ( ), a few functions, pi and e.

    Raises:
        ToolError: it is no expression, too long, or its value is too large or undefined.
    """
    if len(expression) > MAX_EXPRESSION:
        raise ToolError(f"the expression is longer than {MAX_EXPRESSION} characters")
    try:
        return _Sum(expression.lower().translate(_SPELLINGS)).value()
    except ZeroDivisionError:
        raise ToolError("division by zero") from None
    except OverflowError:
        raise ToolError("the result is too large") from None
    except ValueError:
        raise ToolError("the result is not a real number") from None


class _Sum:
    """A recursive descent over the tokens of one expression."""

    def __init__(self, expression: str) -> None:
        self._tokens = [found.group().strip() for found in _TOKEN.finditer(expression.strip())]
        self._depth = 0

    def value(self) -> Number:
        value = self._sum()
        if self._tokens:
            raise ToolError(f"cannot read the expression at {' '.join(self._tokens)[:20]!r}")
        return value

    def _take(self, *wanted: str) -> str:
        """The next token if it is one of `wanted`, else an empty text."""
        return self._tokens.pop(0) if self._tokens and self._tokens[0] in wanted else ""

    def _sum(self) -> Number:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ToolError("the expression is nested too deep")
        value = self._product()
        while sign := self._take("+", "-"):
            right = self._product()
            value = _bounded(value + right if sign == "+" else value - right)
        self._depth -= 1
        return value

    def _product(self) -> Number:
        value = self._signed()
        while sign := self._take("*", "/", "//", "%"):
            right = self._signed()
            match sign:
                case "*":
                    value = _bounded(value * right)
                case "/":
                    value = _bounded(value / right)
                case "//":
                    value = _bounded(value // right)
                case _:
                    value = _bounded(value % right)
        return value

    def _signed(self) -> Number:
        sign = 1
        while found := self._take("+", "-"):
            sign = -sign if found == "-" else sign
        return sign * self._power()

    def _power(self) -> Number:
        base = self._atom()
        if not self._take("**"):
            return base
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ToolError("the expression is nested too deep")
        exponent = self._signed()
        self._depth -= 1
        return _power(base, exponent)

    def _atom(self) -> Number:
        if not self._tokens:
            raise ToolError("the expression ends too early")
        token = self._tokens.pop(0)
        if token == "(" or (token in _FUNCTIONS and self._take("(")):
            value = self._sum()
            if not self._take(")"):
                raise ToolError("a bracket is not closed")
            return value if token == "(" else _bounded(_FUNCTIONS[token](value))
        if token in _CONSTANTS:
            return _CONSTANTS[token]
        if token[0].isascii() and (token[0].isdigit() or token[0] == "."):
            return _number(token)
        raise ToolError(f"cannot read the expression at {token[:20]!r}")


def _number(token: str) -> Number:
    return _bounded(int(token) if token.isdigit() else float(token))


def _power(base: Number, exponent: Number) -> Number:
    if (
        isinstance(base, int)
        and isinstance(exponent, int)
        and base.bit_length() * abs(exponent) > MAX_BITS
    ):
        raise OverflowError
    value: object = base**exponent
    if isinstance(value, complex):
        raise ValueError
    return _bounded(value)  # type: ignore[arg-type]  # int or float, as checked above


def _bounded(value: Number) -> Number:
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise OverflowError
        return value
    if math.isnan(value):
        raise ValueError
    if math.isinf(value):
        raise OverflowError
    return value


def _calculate(arguments: Mapping[str, Any], _: Moment) -> dict[str, Any]:
    return {"result": calculate(arguments["expression"])}


def _takes(required: bool, **properties: str) -> dict[str, Any]:
    """The schema of an object of strings, described in words."""
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text} for name, text in properties.items()
        },
        "required": list(properties) if required else [],
    }


BUILT_IN = (
    Tool(
        "roll_dice",
        "Roll dice and get each roll and the total.",
        _takes(True, notation="Dice notation such as d20, 2d6 or 2d6+1."),
        _roll_dice,
    ),
    Tool(
        "current_time",
        "Get the current date, time and weekday.",
        _takes(False, timezone="Time zone name such as Europe/Berlin; empty: the user's own."),
        _current_time,
    ),
    Tool(
        "calculate",
        "Work out an arithmetic expression.",
        _takes(True, expression="For example (3 + 4) * 2 ** 0.5, or sqrt(2) * pi."),
        _calculate,
    ),
)

TOOLBOX = Toolbox(BUILT_IN)
