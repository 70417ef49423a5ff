"""Regular expressions from strangers, searched in time proportional to the text.

The syntax that JavaScript and Python share, without what needs backtracking (references
to groups, looking ahead or behind). A pattern becomes an automaton whose states are worked
out while it reads, so no pattern can hang a reply; `Effort` bounds what all of them may cost.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NoReturn

MAX_PATTERN = 500  # characters
MAX_GROUPS = 20  # inside each other
MAX_STATES = 400
MAX_BUILDING = 10_000  # parts, repeated ones as often as they are repeated
MAX_REMEMBERED = 20_000  # steps

Kind = Literal["edge", "line", "word", "other"]
Test = Callable[[str], bool]


class BadPattern(ValueError):
    """The pattern cannot be used; the text says why, as a clause."""


@dataclass(slots=True)
class Effort:
    """Steps that all searches of one prompt may still take."""

    steps: int = 2_000_000

    def spend(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise BadPattern("the patterns take too long")


@dataclass(frozen=True, slots=True)
class _One:
    """Any one character that passes the test."""

    test: Test


@dataclass(frozen=True, slots=True)
class _Place:
    """A place between two characters."""

    test: Callable[[Kind, Kind], bool]


@dataclass(frozen=True, slots=True)
class _Row:
    """One after the other."""

    parts: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of these."""

    options: tuple["_Node", ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """At least `low` and at most `high` times; None: any number."""

    part: "_Node"
    low: int
    high: int | None


_Node = _One | _Place | _Row | _Choice | _Repeat


@dataclass(slots=True)
class _State:
    """A state of the automaton: where it goes without and with reading a character."""

    free: list[tuple[Callable[[Kind, Kind], bool] | None, int]] = field(default_factory=list)
    test: Test | None = None
    then: int = 0


class Pattern:
    """A pattern that is searched for; letters match in either case unless told otherwise.

    Raises:
        BadPattern: the pattern is broken, too large, or needs backtracking.
    """

    def __init__(self, source: str, flags: str = "i") -> None:
        if len(source) > MAX_PATTERN:
            raise BadPattern(f"it is longer than {MAX_PATTERN} characters")
        node = _Reader(source, flags).pattern()
        self._building = Effort(MAX_BUILDING)
        self._states: list[_State] = []
        self._end = self._state()
        self._start = self._built(node, self._end)
        self._steps: dict[tuple[frozenset[int], Kind, str], frozenset[int] | None] = {}

    def found_in(self, text: str, effort: Effort) -> bool:
        """Whether the pattern matches anywhere in `text`.

        Raises:
            BadPattern: `effort` is used up.
        """
        active = frozenset({self._start})
        before: Kind = "edge"
        for character in text:
            effort.spend(1)
            key = (active, before, character)
            if key not in self._steps:
                if len(self._steps) >= MAX_REMEMBERED:
                    self._steps.clear()
                self._steps[key] = self._step(active, before, character, effort)
            after = self._steps[key]
            if after is None:
                return True
            active = after
            before = _kind(character)
        return self._end in self._reached(active, before, "edge", effort)

    def _step(
        self, active: frozenset[int], before: Kind, character: str, effort: Effort
    ) -> frozenset[int] | None:
        """The states after `character`, or None where the end was reached before it."""
        reached = self._reached(active, before, _kind(character), effort)
        if self._end in reached:
            return None
        states = (self._states[number] for number in reached)
        after = {state.then for state in states if state.test and state.test(character)}
        return frozenset(after | {self._start})

    def _reached(
        self, active: frozenset[int], before: Kind, after: Kind, effort: Effort
    ) -> set[int]:
        reached = set(active)
        waiting = list(active)
        while waiting:
            free = self._states[waiting.pop()].free
            effort.spend(1 + len(free))
            for place, target in free:
                if target not in reached and (place is None or place(before, after)):
                    reached.add(target)
                    waiting.append(target)
        return reached

    def _state(self) -> int:
        if len(self._states) >= MAX_STATES:
            raise BadPattern("it is too large")
        self._states.append(_State())
        return len(self._states) - 1

    def _built(self, node: _Node, then: int) -> int:
        """The state from which `node` leads to `then`."""
        self._building.spend(1)
        match node:
            case _Row(parts):
                for part in reversed(parts):
                    then = self._built(part, then)
                return then
            case _Repeat(part, low, high):
                return self._repeated(part, low, high, then)
            case _One(test):
                start = self._state()
                self._states[start].test, self._states[start].then = test, then
            case _Place(place):
                start = self._state()
                self._states[start].free.append((place, then))
            case _Choice(options):
                start = self._state()
                for option in options:
                    self._states[start].free.append((None, self._built(option, then)))
        return start

    def _repeated(self, part: _Node, low: int, high: int | None, then: int) -> int:
        if high is None:
            loop = self._state()
            self._states[loop].free += [(None, then), (None, self._built(part, loop))]
            then = loop
        else:
            last = then
            for _ in range(high - low):
                start = self._state()
                self._states[start].free += [(None, last), (None, self._built(part, then))]
                then = start
        for _ in range(low):
            then = self._built(part, then)
        return then


def _kind(character: str) -> Kind:
    if character == "\n":
        return "line"
    return "word" if character.isalnum() or character == "_" else "other"


_SETS: dict[str, Test] = {
    "d": str.isdigit,
    "w": lambda character: _kind(character) == "word",
    "s": str.isspace,
}
_SPELLED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_BORDERS: dict[str, _Place] = {
    "b": _Place(lambda before, after: (before == "word") != (after == "word")),
    "B": _Place(lambda before, after: (before == "word") == (after == "word")),
    "A": _Place(lambda before, after: before == "edge"),
    "Z": _Place(lambda before, after: after == "edge"),
}
_LINE_BORDERS = {
    "^": _Place(lambda before, after: before in ("edge", "line")),
    "$": _Place(lambda before, after: after in ("edge", "line")),
}
_TEXT_BORDERS = {"^": _BORDERS["A"], "$": _BORDERS["Z"]}
_CODE = re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|u\{([0-9a-fA-F]{1,6})\}")
_GROUP = re.compile(r"\((?:\?(?::|P?<[A-Za-z_]\w{0,40}>)|(?!\?))")
_COUNT = re.compile(r"\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")


class _Reader:
    """Reads a pattern, one character after the other."""

    def __init__(self, source: str, flags: str) -> None:
        unknown = set(flags) - set("gimsuy")
        if unknown:
            raise BadPattern(f"there is no flag {min(unknown)!r}")
        self._source = source
        self._at = 0
        self._depth = 0
        self._ignore_case = "i" in flags
        self._dot_takes_all = "s" in flags
        self._borders = _LINE_BORDERS if "m" in flags else _TEXT_BORDERS

    def pattern(self) -> _Node:
        node = self._choice()
        if self._at < len(self._source):
            self._fail("a bracket is closed that was not open")
        return node

    def _fail(self, why: str) -> NoReturn:
        raise BadPattern(f"{why}, at character {self._at + 1}")

    def _next(self) -> str:
        return self._source[self._at : self._at + 1]

    def _skip(self, text: str) -> bool:
        found = self._source.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _choice(self) -> _Node:
        options = [self._row()]
        while self._skip("|"):
            options.append(self._row())
        return options[0] if len(options) == 1 else _Choice(tuple(options))

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self._next() and self._next() not in "|)":
            parts.append(self._repeated(self._part()))
        return _Row(tuple(parts))

    def _repeated(self, part: _Node) -> _Node:
        count = _COUNT.match(self._source, self._at)
        if self._skip("*"):
            low, high = 0, None
        elif self._skip("+"):
            low, high = 1, None
        elif self._skip("?"):
            low, high = 0, 1
        elif count:
            self._at = count.end()
            low = int(count[1])
            high = (int(count[3]) if count[3] else None) if count[2] else low
        else:
            return part
        self._skip("?")  # lazy or not: either matches
        if high is not None and high < low:
            self._fail("a count is the wrong way round")
        if self._skip("*") or self._skip("+") or self._skip("?") or isinstance(part, _Place):
            self._fail("there is nothing to repeat")
        return _Repeat(part, low, high)

    def _part(self) -> _Node:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._set()
        if character == "\\":
            return self._escape()
        if character in "*+?":
            self._fail("there is nothing to repeat")
        self._at += 1
        if character == ".":
            return _One((lambda _: True) if self._dot_takes_all else (lambda one: one != "\n"))
        return self._borders.get(character) or self._letter(character)

    def _group(self) -> _Node:
        found = _GROUP.match(self._source, self._at)
        if found is None:
            self._fail("looking ahead or behind and flags in brackets are not supported")
        self._depth += 1
        if self._depth > MAX_GROUPS:
            self._fail("there are too many brackets inside each other")
        self._at = found.end()
        node = self._choice()
        if not self._skip(")"):
            self._fail("a bracket is not closed")
        self._depth -= 1
        return node

    def _letter(self, character: str) -> _One:
        if not self._ignore_case:
            return _One(character.__eq__)
        folded = character.casefold()
        return _One(lambda one: one.casefold() == folded)

    def _escape(self) -> _Node:
        border = _BORDERS.get(self._source[self._at + 1 : self._at + 2])
        if border is not None:
            self._at += 2
            return border
        found = self._escaped()
        return self._letter(found) if isinstance(found, str) else _One(found)

    def _escaped(self) -> str | Test:
        """The character or the set that a backslash stands before."""
        self._at += 1
        code = _CODE.match(self._source, self._at)
        if code:
            self._at = code.end()
            number = int(code[1] or code[2] or code[3], 16)
            return chr(number) if number <= 0x10FFFF else "\ufffd"
        name = self._next()
        self._at += 1
        if name in _SPELLED:
            return _SPELLED[name]
        if name.lower() in _SETS:
            test = _SETS[name.lower()]
            return test if name.islower() else (lambda one: not test(one))
        if not name or name.isalnum():
            self._fail(f"\\{name} is not supported")
        return name

    def _set(self) -> _One:
        self._at += 1
        negative = self._skip("^")
        tests: list[Test] = []
        first = True
        while first or self._next() != "]":
            first = False
            low = self._set_item()
            if isinstance(low, str) and self._next() == "-" and self._after_dash() != "]":
                self._at += 1
                low = self._range(low, self._set_item())
            tests.append(low if callable(low) else low.__eq__)
        self._at += 1
        return _One(self._any_of(tests, negative))

    def _after_dash(self) -> str:
        return self._source[self._at + 1 : self._at + 2]

    def _set_item(self) -> str | Test:
        character = self._next()
        if not character:
            self._fail("a set is not closed")
        if character == "\\":
            return self._escaped()
        self._at += 1
        return character

    def _range(self, low: str, high: str | Test) -> Test:
        if not isinstance(high, str) or high < low:
            self._fail("a range is the wrong way round")
        return lambda one: low <= one <= high

    def _any_of(self, tests: list[Test], negative: bool) -> Test:
        ignore_case = self._ignore_case

        def test(one: str) -> bool:
            spellings = {one, one.lower(), one.upper()} if ignore_case else {one}
            return any(test(one) for test in tests for one in spellings) != negative

        return test
