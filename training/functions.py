"""Functions that a persona may call in training: invented ones, and the app's own three.

An invented function gets one of several names, descriptions and parameter names, so that
what to call has to be read in the prompt. Which names go together is split like all else.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hermes_ui.messages import Message, ToolCall, ToolResult
from hermes_ui.prompt.tools import rendered, system_text
from hermes_ui.toolbox import TOOLBOX, Tool
from training.dialogue import Talk, Turn
from training.grammar import load, pick
from training.speech import say
from training.typing_habits import typed
from training.values import CITIES, drawn
from training.world import Inventor, in_split

CALL_WEIGHT = 3.0  # in the loss: a call leaves no choice of words, unlike most that is said
FAILED_SHARE = 0.04  # of the calls of invented functions
STRANGE_SHARE = 0.35  # of the invented ones have a name that only the prompt can teach
COMPOUND_SHARE = 0.3  # of the lookups are of a property like "lamp price"
NARROW_SHARE = 0.5  # of the alike ones share words with each other
BEFORE_LISTS = ("things", "materials", "colours", "animals")  # for compounds
NEAR_SHARE = 0.5  # of what is refused sounds like a function on offer
OWN_SHARE = 0.28  # of the functions on offer, but for the alike ones, are the app's own
ODD_SHARE = 0.15  # of the parameters have a name that says little; in training only


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of one function, and what comes of it."""

    asked: str
    arguments: Mapping[str, Any]
    result: Mapping[str, Any]
    answers: Sequence[str]  # templates over `known`
    known: Mapping[str, str]
    told: tuple[str, ...]  # one of these has to be in the answer


@dataclass(frozen=True, slots=True)
class Domain:
    """What lookups of one sort of thing may ask for: `whats`, also behind one of `befores`."""

    rules: Mapping[str, Any]
    whats: Sequence[str]
    befores: Sequence[str]


@dataclass(frozen=True, slots=True)
class Function:
    """A tool, and a way to invent requests for it. `kind` tells what it is good for."""

    kind: str
    tool: Tool
    request: Callable[[Inventor], Request]
    domain: Domain | None = None  # of a lookup


def draw_functions(inventor: Inventor, count: int, *, alike: bool = False) -> list[Function]:
    """`count` functions that no request could mean two of.

    Those that are `alike`, of which there are at least two, look up properties of one domain,
    so that only the properties tell them apart; half of the time by one word of two.
    """
    domain = _domain(inventor, narrow=inventor.rng.random() < NARROW_SHARE) if alike else None
    chosen: dict[str, Function] = {}
    while len(chosen) < (max(count, 2) if alike else count):
        function = _draw(inventor, domain)
        names = {other.tool.name for other in chosen.values()}
        if function.kind not in chosen and function.tool.name not in names:
            chosen[function.kind] = function
    return list(chosen.values())


def offer(talk: Talk, functions: Sequence[Function], *, alone: bool = False) -> None:
    """Add `functions` to the system turn of `talk`, or make them all of it."""
    told = system_text([function.tool for function in functions])
    system = talk.turns[0]
    system.text = told if alone else f"{system.text}\n\n{told}"
    if any(function.kind == "clock" for function in functions):
        talk.barred.add("time")


def call(talk: Talk, function: Function) -> Request:
    """A request that `function` fits: the call, its result and the answer."""
    rng = talk.rng
    request = function.request(talk.inventor)
    name, content = function.tool.name, request.result
    known, answers, told = dict(request.known), request.answers, request.told
    if not name_is_own(name) and rng.random() < FAILED_SHARE:
        error = rng.choice(load("functions")["errors"])
        content, known, answers = {"error": error}, {"error": error}, load("functions")["failed"]
        told = (error,)
    answer = pick(list(answers), known, rng)
    assert answer, name
    talk.turns += [
        Turn("user", typed(request.asked, talk.inventor, {}, slips=False)),
        Turn("assistant", call_text(name, request.arguments), learned=CALL_WEIGHT),
        Turn("tool", result_text(name, content)),
    ]
    said = say(answer[:1].upper() + answer[1:], talk.world, talk.words(), rng, tail=False)
    talk.turns.append(Turn("assistant", said, learned=1.0))
    return Request(request.asked, request.arguments, content, answers, known, told)


def refuse(talk: Talk, functions: Sequence[Function]) -> None:
    """A request that none of `functions` fits."""
    other = _unoffered(talk.inventor, functions)
    talk.turns.append(Turn("user", typed(other.request(talk.inventor).asked, talk.inventor, {})))
    reply = talk.rng.choice(load("functions")["refused"])
    said = say(reply, talk.world, talk.words(), talk.rng, tail=False)
    talk.turns.append(Turn("assistant", said, learned=1.0))


def _unoffered(inventor: Inventor, functions: Sequence[Function]) -> Function:
    """A function of another kind than `functions`; at times one that takes the same argument."""
    barred = {*OWN, *(function.kind for function in functions)}
    lookups = [function for function in functions if function.domain]
    near = inventor.rng.choice(lookups) if lookups and inventor.rng.random() < NEAR_SHARE else None
    while True:
        other = _draw(inventor, near and near.domain)
        if other.kind not in barred and (near is None or _takes(other) == _takes(near)):
            return other


def _takes(function: Function) -> list[str]:
    return list(function.tool.parameters["properties"])


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """The assistant's turn that calls a function, as the app writes it."""
    written = json.dumps(arguments, ensure_ascii=False)
    return rendered(Message("assistant", "", tool_calls=(ToolCall("call", name, written),)))


def result_text(name: str, result: Mapping[str, Any]) -> str:
    """The tool's turn that answers a call."""
    content = json.dumps(result, ensure_ascii=False)
    return rendered(Message("tool", "", tool_results=(ToolResult("call", name, content),)))


def name_is_own(name: str) -> bool:
    """Whether it is one of the app's own tools."""
    return name in TOOLBOX


def _domain(inventor: Inventor, *, narrow: bool = False) -> Domain:
    """Any domain; a narrow one has few words, so that its properties share some."""
    rng = inventor.rng
    rules = load("functions")["lookups"][rng.choice(list(load("functions")["lookups"]))]
    whats = rules["what"].strip().split(", ")
    befores = [inventor.word(rng.choice(BEFORE_LISTS)) for _ in range(3)]
    return Domain(rules, rng.sample(whats, 3) if narrow else whats, befores if narrow else ())


def _draw(inventor: Inventor, domain: Domain | None = None) -> Function:
    """Any function, or a lookup of `domain`."""
    roll = 0.5 if domain else inventor.rng.random()
    if roll < OWN_SHARE:
        return OWN[inventor.rng.choice(list(OWN))]
    while True:
        function = _lookup(inventor, domain) if roll < 0.62 else _action(inventor)
        tool = function.tool
        if in_split(f"{tool.name}({', '.join(tool.parameters['properties'])})", inventor.split):
            return function


def _lookup(inventor: Inventor, domain: Domain | None = None) -> Function:
    """A function that gives one property of something, of `domain` or any."""
    rng, rules = inventor.rng, load("functions")
    domain = domain or _domain(inventor)
    about = domain.rules
    what = inventor.of_split(lambda: _property(inventor, domain))
    parameter = rng.choice(about["parameter"])
    known = {"what": what, "parameter": parameter.replace("_", " ")}
    name = str(pick(rules["look_names"], known, rng)).replace(" ", "_")
    described = str(pick(rules["look_abouts"], known, rng))
    shown = described[:1].upper() + described[1:]
    (parameter,) = _at_times_odd((parameter,), inventor)
    schema = _schema({parameter: ("string", rng.choice(about["about"]))})
    found_kind = rng.choice(rules["founds"])
    key = rng.choice((what.replace(" ", "_"), "result", "value"))

    def request(asker: Inventor) -> Request:
        of, found = drawn(about["value"], asker), drawn(found_kind, asker)
        words = {"what": what, "of": str(of), "found": str(found)}
        asked = str(pick(rules["look_asks"], words, asker.rng))
        return Request(
            asked, {parameter: of}, {key: found}, rules["look_answers"], words, (str(found),)
        )

    return Function(what, Tool(name, shown, schema), request, domain)


def _at_times_odd(names: Sequence[str], inventor: Inventor) -> list[str]:
    """Names of parameters, some of them such as no program would choose."""
    if inventor.split != "train":
        return list(names)
    odd = load("functions")["odd_parameters"]
    odd = inventor.rng.sample([name for name in odd if name not in names], len(names))
    return [
        other if inventor.rng.random() < ODD_SHARE else name
        for name, other in zip(names, odd, strict=True)
    ]


def _property(inventor: Inventor, domain: Domain) -> str:
    """What is looked up: a word of `domain`, alone or after another, or an invented one."""
    rng = inventor.rng
    roll, word = rng.random(), rng.choice(domain.whats)
    if roll < STRANGE_SHARE:
        return inventor.invented().lower()
    if domain.befores or roll < STRANGE_SHARE + COMPOUND_SHARE:
        befores = domain.befores or [inventor.word(rng.choice(BEFORE_LISTS))]
        return f"{rng.choice(befores)} {word}"
    return word


def _action(inventor: Inventor) -> Function:
    """A function that does something."""
    rng = inventor.rng
    kind = rng.choice(list(load("functions")["actions"]))
    rules = load("functions")["actions"][kind]
    names = [rng.choice(about["names"]) for about in rules["parameters"].values()]
    named = dict(zip(rules["parameters"], _at_times_odd(names, inventor), strict=True))
    schema = _schema({
        named[key]: (about["type"], rng.choice(about["about"]))
        for key, about in rules["parameters"].items()
    })  # fmt: skip
    name = rng.choice(rules["names"])
    if rng.random() < STRANGE_SHARE:
        other = rng.choice((inventor.word("things"), inventor.invented().lower()))
        name = rng.choice((f"{name}_{other}", f"{other}_{name}"))
    tool = Tool(name, rng.choice(rules["about"]), schema)

    def request(asker: Inventor) -> Request:
        values = {key: drawn(about["value"], asker) for key, about in rules["parameters"].items()}
        result = {key: drawn(value, asker) for key, value in rules["says"].items()}
        words = {key: str(value) for key, value in {**values, **result}.items()}
        words["onoff"] = "on" if values.get("is_on") else "off"
        asked = str(pick(rules["asks"], words, asker.rng))
        arguments = {named[key]: value for key, value in values.items()}
        return Request(
            asked, arguments, result, rules["answers"], words, tuple(map(str, result.values()))
        )

    return Function(kind, tool, request)


def _schema(parameters: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            name: {"type": kind, "description": about} for name, (kind, about) in parameters.items()
        },
        "required": list(parameters),
    }


def _dice(inventor: Inventor) -> Request:
    rules, notation, spoken = load("functions")["dice"], *_notation(inventor.rng)
    result = run_own("roll_dice", {"notation": notation}, inventor.rng)
    known = {"notation": notation, "spoken": spoken, "total": str(result["total"])}
    asked = str(pick(rules["asks"], known, inventor.rng))
    return Request(
        asked, {"notation": notation}, result, rules["answers"], known, (known["total"],)
    )


_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_SIDES = {"four": 4, "six": 6, "eight": 8, "ten": 10, "twelve": 12, "twenty": 20}


def _notation(rng: random.Random) -> tuple[str, str]:
    """Dice as d20, 2d6 or 2d6+1, and the same as people say it."""
    word, count = rng.choice(list(_COUNTS.items()))
    size, sides = rng.choice(list(_SIDES.items()))
    if rng.random() < 0.4:
        word, count = "a", 1
    notation = f"{count if count > 1 else rng.choice(('', '1'))}d{sides}"
    if rng.random() < 0.2:
        notation += f"{rng.choice('+-')}{rng.randint(1, 9)}"
        return notation, notation
    dice = "die" if count == 1 else "dice"
    if count == 1:
        spoken = rng.choice((f"{word} d{sides}", f"{word} {size}-sided {dice}"))
        return f"1d{sides}" if word == "one" else f"d{sides}", spoken
    return notation, rng.choice((f"{word} d{sides}", f"{word} {size}-sided {dice}"))


def _clock(inventor: Inventor) -> Request:
    rng, rules = inventor.rng, load("functions")["clock"]
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(1_000_000))
    kind = rng.choice(("", "", "date_", "zone_"))
    city, zone = rng.choice(list(CITIES.items()))
    arguments = {"timezone": zone} if kind == "zone_" else {}
    result = run_own("current_time", arguments, rng, now)
    known = {**result, "short": result["time"][:5], "city": city}
    asked = str(pick(rules[f"{kind}asks"], known, rng))
    answers = rules["date_answers"] if kind == "date_" else rules["answers"]
    told = (result["date"],) if kind == "date_" else (known["short"],)
    return Request(asked, arguments, result, answers, known, told)


def _sum(inventor: Inventor) -> Request:
    rng, rules = inventor.rng, load("functions")["sum"]
    while True:
        expression, said = _expression(rng)
        result = run_own("calculate", {"expression": expression}, rng)
        if len(str(result["result"])) <= 8:
            break
    known = {"said": said, "expression": expression, "result": str(result["result"])}
    asked = str(pick(rules["asks"], known, rng))
    arguments = {"expression": expression}
    return Request(asked, arguments, result, rules["answers"], known, (known["result"],))


_OPERATORS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


def _expression(rng: random.Random) -> tuple[str, str]:
    """A sum as the calculator reads it, and as people type it."""
    left, right = rng.randint(2, 999), rng.randint(2, 99)
    sign, word = rng.choice(list(_OPERATORS.items()))
    roll = rng.random()
    if roll < 0.45:
        return f"{left} {sign} {right}", f"{left} {word} {right}"
    if roll < 0.8:
        return f"{left} {sign} {right}", f"{left} {sign} {right}"
    if roll < 0.9:
        return f"sqrt({left})", f"the square root of {left}"
    whole = f"({left} {rng.choice('+-')} {right}) * {rng.randint(2, 9)}"
    return whole, whole


def run_own(
    name: str, arguments: Mapping[str, Any], rng: random.Random, now: datetime | None = None
) -> dict[str, Any]:
    """The real tool's result."""
    called = ToolCall("call", name, json.dumps(arguments))
    result = TOOLBOX.run(called, rng=rng, now=now or datetime(2026, 1, 1, tzinfo=UTC))
    content: dict[str, Any] = json.loads(result.content)
    return content


OWN = {
    "dice": Function("dice", TOOLBOX["roll_dice"], _dice),
    "clock": Function("clock", TOOLBOX["current_time"], _clock),
    "sum": Function("sum", TOOLBOX["calculate"], _sum),
}
