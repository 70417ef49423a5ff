"""{{char}}, {{user}}, {{random:a,b}} and their kin, in one pass over the text.

A macro's result is data: it is never looked at again, so no name and no drawn text can
become a macro. Dice come from a seed, and every draw is recorded; the same macro written
in the same place gives the same result whatever else changes in the text around it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

MAX_NESTING = 16  # macros inside macros; deeper ones stay as they are
MAX_GROWTH = 1_000_000  # characters that macros may add to one text
MAX_DRAWS = 1_000  # in one context
MAX_DICE = 100
MAX_SIDES = 1_000_000

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


@dataclass(frozen=True, slots=True)
class Draw:
    """What the dice gave for one macro, which is kept as it was written."""

    macro: str
    result: str


@dataclass(frozen=True, slots=True)
class MacroContext:
    """What macros can say. Texts that are None leave their macros as they are.

    `draws` collects in order of appearance and is the one thing that `expand` changes.
    """

    char: str
    user: str
    seed: int
    now: datetime
    place: str = ""  # which text is expanded: the same macro draws anew in another place
    description: str | None = None
    personality: str | None = None
    scenario: str | None = None
    original: str | None = None
    hidden_keys: bool = False  # show {{hidden_key:x}}, for a text that is scanned for keys
    draws: list[Draw] = field(default_factory=list)

    def at(self, place: str, **texts: str | bool | None) -> "MacroContext":
        """The same context for another text; draws go to the same list."""
        return replace(self, place=place, **texts)  # type: ignore[arg-type]


@dataclass(slots=True)
class _Part:
    """A stretch of text: as written, or the result of a macro."""

    text: str
    written: bool
    trims: bool = False  # takes the line breaks around it away


@dataclass(slots=True)
class _Macro:
    """A macro that is open: where it began and what has been read of it."""

    start: int
    parts: list[_Part]


# `{{{{{char}}` is two braces and a macro, so the last two of a run open it.
_MARK = re.compile(r"\{\{(?!\{)|\}\}|<(?:bot|user|char|group|charifnotgroup)>", re.IGNORECASE)
_NAME = re.compile(r"\s*(?://|([a-z_]+)\s*(?:::?|(?=\s)|$))", re.IGNORECASE)
_ITEM = re.compile(r"\\,|,")
_DICE = re.compile(r"([0-9]{0,3})d([0-9]{1,7})(?: ?([+-]) ?([0-9]{1,6}))?")


def expand(text: str, context: MacroContext) -> str:
    """`text` with its macros replaced; unknown and malformed ones stay as they are.

    Takes time proportional to the text. Appends to `context.draws`.
    """
    if "{{" not in text and "<" not in text:
        return text
    return _Expansion(text, context).run()


class _Expansion:
    """One pass over one text."""

    def __init__(self, text: str, context: MacroContext) -> None:
        self._text = text
        self._context = context
        self._seen: Counter[str] = Counter()
        self._growth_left = MAX_GROWTH

    def run(self) -> str:
        text, done = self._text, 0
        root: list[_Part] = []
        open_macros: list[_Macro] = []
        parts = root
        for mark in _MARK.finditer(text):
            if mark.start() > done:
                parts.append(_Part(text[done : mark.start()], written=True))
            done = mark.end()
            token = mark.group()
            if token == "{{" and len(open_macros) < MAX_NESTING:
                parts = []
                open_macros.append(_Macro(mark.start(), parts))
            elif token == "}}" and open_macros:
                closed = open_macros.pop()
                parts = open_macros[-1].parts if open_macros else root
                parts.extend(self._close(closed, mark.end()))
            elif token.startswith("<"):
                parts.append(self._named(token[1:-1].lower(), token))
            else:
                parts.append(_Part(token, written=True))
        parts.append(_Part(text[done:], written=True))
        while open_macros:
            unfinished = open_macros.pop()
            outer = open_macros[-1].parts if open_macros else root
            outer.extend([_Part("{{", written=True), *unfinished.parts])
        return _joined(root)

    def _close(self, macro: _Macro, end: int) -> list[_Part]:
        """What stands in place of a macro that has just been closed."""
        kept = [_Part("{{", written=True), *macro.parts, _Part("}}", written=True)]
        head = macro.parts[0].text if macro.parts and macro.parts[0].written else ""
        name = _NAME.match(head)
        if name is None:
            return kept
        argument = [_Part(head[name.end() :], written=True), *macro.parts[1:]]
        word = (name[1] or "//").lower()
        result = self._result(word, argument, self._text[macro.start : end])
        if result is None or len(result) > self._growth_left:
            return kept
        self._growth_left -= len(result)
        return [_Part(result, written=False, trims=word == "trim")]

    def _named(self, name: str, token: str) -> _Part:
        """`<USER>` and the other old spellings."""
        value = self._context.user if name == "user" else self._context.char
        if len(value) > self._growth_left:
            return _Part(token, written=True)
        self._growth_left -= len(value)
        return _Part(value, written=False)

    def _result(self, name: str, argument: list[_Part], written: str) -> str | None:
        """The result of one macro, or None where there is no such macro."""
        if name in _SILENT:
            return ""
        if name in _DRAWN:
            return self._drawn(name, argument, written)
        text = _joined(argument)
        if name == "reverse":
            return text[::-1]
        if name == "hidden_key":
            return text if self._context.hidden_keys else ""
        if text.strip() or name not in _VALUES:
            return None
        return _VALUES[name](self._context)

    def _drawn(self, name: str, argument: list[_Part], written: str) -> str | None:
        if len(self._context.draws) >= MAX_DRAWS:
            return None
        nth = self._seen[written]
        self._seen[written] += 1
        key = f"{self._context.seed}/{self._context.place}/{nth}/{written}"
        if name == "roll":
            result = _roll(_joined(argument), key)
        else:
            items = _items(argument)
            result = items[next(_numbers(key)) % len(items)] if any(items) else None
        if result is not None:
            self._context.draws.append(Draw(written, result))
        return result


def _joined(parts: list[_Part]) -> str:
    """The text of `parts`, after {{trim}} has taken the line breaks beside it."""
    if not any(part.trims for part in parts):
        return "".join(part.text for part in parts)
    texts: list[str] = []
    trimming = False
    for part in parts:
        text = part.text.lstrip("\r\n") if trimming else part.text
        trimming = part.trims or (trimming and not text)
        if part.trims:
            _strip_end(texts)
        elif text:
            texts.append(text)
    return "".join(texts)


def _strip_end(texts: list[str]) -> None:
    while texts:
        last = texts.pop().rstrip("\r\n")
        if last:
            texts.append(last)
            return


def _items(argument: list[_Part]) -> list[str]:
    """The items of `a,b` (`\\,` is a comma) or `a::b`; results of inner macros are whole."""
    double = any(part.written and "::" in part.text for part in argument)
    items = [""]
    for part in argument:
        if not part.written:
            items[-1] += part.text
            continue
        pieces = part.text.split("::") if double else list(_comma_separated(part.text))
        items[-1] += pieces[0]
        items.extend(pieces[1:])
    return [item.strip() for item in items]


def _comma_separated(text: str) -> Iterator[str]:
    item: list[str] = []
    done = 0
    for comma in _ITEM.finditer(text):
        item.append(text[done : comma.start()])
        done = comma.end()
        if comma.group() == ",":
            yield "".join(item)
            item = []
        else:
            item.append(",")
    yield "".join([*item, text[done:]])


def _roll(dice: str, key: str) -> str | None:
    """The sum of `6`, `d6`, `2d6` or `2d6+1`; None where that is no roll."""
    dice = dice.strip().lower()
    found = _DICE.fullmatch(dice if "d" in dice else f"d{dice}")
    if found is None:
        return None
    count, sides = int(found[1] or 1), int(found[2])
    if not (1 <= count <= MAX_DICE and 1 <= sides <= MAX_SIDES):
        return None
    numbers = _numbers(key)
    total = sum(next(numbers) % sides + 1 for _ in range(count))
    bonus = int(found[4] or 0)
    return str(total - bonus if found[3] == "-" else total + bonus)


def _numbers(key: str) -> Iterator[int]:
    """Endless 64-bit numbers that depend on `key` alone, on every machine and version."""
    block = 0
    while True:
        digest = hashlib.sha256(f"{block}/{key}".encode("utf-8", "surrogatepass")).digest()
        for start in range(0, 32, 8):
            yield int.from_bytes(digest[start : start + 8])
        block += 1


def _clock(now: datetime) -> str:
    return f"{now.hour % 12 or 12}:{now.minute:02} {'AM' if now.hour < 12 else 'PM'}"


_SILENT = frozenset({"//", "comment", "noop"})
_DRAWN = frozenset({"random", "pick", "roll"})
_VALUES: dict[str, Callable[[MacroContext], str | None]] = {
    "char": lambda context: context.char,
    "bot": lambda context: context.char,
    "group": lambda context: context.char,
    "charifnotgroup": lambda context: context.char,
    "user": lambda context: context.user,
    "description": lambda context: context.description,
    "personality": lambda context: context.personality,
    "scenario": lambda context: context.scenario,
    "original": lambda context: context.original,
    "newline": lambda _: "\n",
    "trim": lambda _: "",
    "time": lambda context: _clock(context.now),
    "date": lambda context: (
        f"{MONTHS[context.now.month - 1]} {context.now.day}, {context.now.year}"
    ),
    "weekday": lambda context: DAYS[context.now.weekday()],
    "isotime": lambda context: f"{context.now:%H:%M}",
    "isodate": lambda context: f"{context.now:%Y-%m-%d}",
}
