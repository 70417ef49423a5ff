"""YAML as plain data, without any of YAML's surprises.

Reads the parser's events and builds nothing else from them: no tags, anchors, aliases,
merges or second documents; bytes, depth and nodes are limited while the events come. Every
scalar stays the text that was written; what it means is decided by the field it is for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.reader import ReaderError

from hermes_ui.errors import PersonaError
from hermes_ui.personas.writing import Plain
from hermes_ui.personas.writing import write as dump

__all__ = ["Document", "Plain", "Problem", "dump", "json_value", "load", "read"]

MAX_BYTES = 1024 * 1024  # half of it may be a picture
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_PROBLEMS = 100
MAX_DIGITS = 300

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
JSON_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}

Path = tuple[str | int, ...]

MARKS = {
    "*": "a value that begins with * must stand in quotes or under |",
    "&": "a value that begins with & must stand in quotes or under |",
    "!": "a value that begins with ! must stand in quotes or under |",
    "%": "a value that begins with % must stand in quotes or under |",
    "@": "a value that begins with @ must stand in quotes or under |",
    "`": "a value that begins with ` must stand in quotes or under |",
    "{": "a value that begins with { must stand in quotes or under |",
    "[": "a value that begins with [ is a list; close it with ], or put the text in quotes",
    '"': 'text in quotes must end with the quote; write \\" for a quote inside it',
    "'": "text in quotes must end with the quote; write '' for a quote inside it",
}
CLUES = {  # in what PyYAML says
    "\\t": "a tab cannot indent; use spaces",
    "escape": "in double quotes a backslash is written \\\\",
    "mapping values are not allowed": "a colon stands in text without quotes, or the indentation "
    "is off; put the text in quotes or under |",
}
VALUE = re.compile(r"\s*(?:- +)*(?:[\w ]+: +)?(?:- +)*(\S)")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `where` names the field or the line; `line` counts from 1."""

    where: str
    why: str
    line: int | None = None
    field: str | None = None


@dataclass(slots=True)
class Document:
    """The data of one YAML text and the line (from 1) on which each value or its key stands."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)


REFUSED = object()  # a value that was told as a problem and is left out
KEY, NOWHERE = "?", "<<"  # steps of paths that lead to no value


class _Refused(Exception):
    """Reading cannot go on."""

    def __init__(self, line: int | None, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


def load(text: str, where: str) -> Document:
    """Read one mapping; every scalar in it is a `str`, and `Plain` where it had no quotes.

    Raises:
        PersonaError: the first thing that is wrong, with its line.
    """
    document, found = read(text)
    if found or document is None:
        place = where if found[0].line is None else f"{where}, {found[0].where}"
        raise PersonaError(place, found[0].why)
    return document


def read(text: str) -> tuple[Document | None, list[Problem]]:
    """The document, and what is wrong with it.

    A document comes back beside problems as long as the text could be read to its end;
    what was refused is not in it.
    """
    found: list[Problem] = []
    try:
        _check_characters(text)
        document = _Builder(text, found).document()
    except _Refused as refused:
        found.append(at_line(refused.line, refused.why))
        return None, found
    return document, found


def json_value(value: Any) -> Any:
    """`value` with unquoted numbers, true, false and null read as JSON means them.

    For fields that hold any JSON; `dump` quotes every text that this would change.
    """
    if isinstance(value, dict):
        return {key: json_value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [json_value(each) for each in value]
    if not isinstance(value, Plain):
        return value
    if value in JSON_WORDS:
        return JSON_WORDS[value]
    number = NUMBER.fullmatch(value)
    if number is None or len(value) > MAX_DIGITS:
        return str(value)
    return float(value) if number.group(1) or number.group(2) else int(value)


def at_line(line: int | None, why: str) -> Problem:
    """A problem of the text itself, not of a field."""
    return Problem("the text" if line is None else f"line {line}", why, line)


class _Builder:
    """Data from events; problems that leave the rest readable are collected."""

    def __init__(self, text: str, found: list[Problem]) -> None:
        self._found = found
        self._events = _events(text)
        self._nodes = 0
        self._lines: dict[Path, int] = {}

    def document(self) -> Document:
        event = next(self._events, None)
        if event is None:
            raise _Refused(None, "is empty")
        data = self._value(event, ())
        for _ in self._events:  # to the end, so that errors below the document are seen
            pass
        if not isinstance(data, dict):
            raise _Refused(_line(event), "must be lines of `field: value`, such as `name: Ava`")
        return Document(data, self._lines)

    def _value(self, event: yaml.Event, path: Path) -> Any:
        """The value that `event` opens; `REFUSED` where it cannot stay."""
        line = _line(event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused(line, f"has more than {MAX_NODES:,} values")
        if len(path) >= MAX_DEPTH:
            raise _Refused(line, f"is nested more than {MAX_DEPTH} levels deep")
        self._lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(line, MARKS["*"])
            return REFUSED
        if getattr(event, "anchor", None) is not None:
            self._refuse(line, MARKS["&"])
        if getattr(event, "tag", None) is not None:
            self._refuse(line, MARKS["!"])
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        assert isinstance(event, yaml.ScalarEvent)
        text = _joined(event.value)
        return text if event.style else Plain(text)

    def _list(self, path: Path) -> list[Any]:
        values: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            value = self._value(event, (*path, len(values)))
            if value is not REFUSED:
                values.append(value)
        return values

    def _mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._value(event, (*path, KEY))
            line = _line(event)
            at = self._place(key, line, path, values)
            value = self._value(next(self._events), at)
            if at[-1] is not NOWHERE and value is not REFUSED:
                values[str(key)] = value
        return values

    def _place(self, key: Any, line: int, path: Path, taken: dict[str, Any]) -> Path:
        """The path for the value of `key`; it ends in `NOWHERE` where the key is refused."""
        if not isinstance(key, str):
            self._refuse(line, MARKS["{"])
        elif isinstance(key, Plain) and key == "<<":
            self._refuse(line, "merging with << is not read; write the fields out")
        elif key in taken:
            first = self._lines[*path, str(key)]
            self._refuse(line, f"{str(key)!r} stands twice; the first is in line {first}")
        else:
            self._lines[*path, str(key)] = line
            return (*path, str(key))
        return (*path, NOWHERE)

    def _refuse(self, line: int, why: str) -> None:
        if len(self._found) < MAX_PROBLEMS:
            self._found.append(at_line(line, why))


def _events(text: str) -> Iterator[yaml.Event]:
    """The events between the start and the end of the one document."""
    documents = 0
    try:
        # The parser in Python is fast enough within the limits, and, unlike libyaml's, it
        # does not look further ahead than it has to.
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Refused(_line(event), "a second document begins here; keep one a file")
            elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event
    except ReaderError as error:
        raise _Refused(None, f"cannot be read: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        raise _explained(error, text) from None
    except (ValueError, OverflowError):  # \U0011ffff, %YAML 99999…
        raise _Refused(None, "holds an escape or a directive that YAML does not have") from None


def _explained(error: yaml.MarkedYAMLError, text: str) -> _Refused:
    """PyYAML's words as a line that says what to do."""
    mark = error.problem_mark or error.context_mark
    number = 1 if mark is None else mark.line + 1
    lines = text.splitlines()
    begun = error.context_mark.line + 1 if error.context_mark else number
    what = error.problem or "this is not YAML"
    for clue, why in CLUES.items():
        if clue in what:
            return _Refused(number, why)
    if "could not find expected ':'" in what:
        return _Refused(begun, "this line has no `field:`; is the text below | indented?")
    for at in (number, begun):
        start = VALUE.match(lines[at - 1]) if at <= len(lines) else None
        if start and start.group(1) in MARKS:
            return _Refused(at, MARKS[start.group(1)])
    if "<block end>" in what:
        return _Refused(number, "this line does not fit the lines above; check the indentation")
    context = f"{error.context}, " if error.context else ""
    return _Refused(number, f"this is not YAML: {context}{what}".replace("\n", " "))


def _check_characters(text: str) -> None:
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise _Refused(None, f"is larger than {MAX_BYTES // 1024} KiB")
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        raise _Refused(line, f"holds the control character U+{ord(bad.group()):04X}")


def _joined(text: str) -> str:
    """`text` with escaped UTF-16 halves, as JSON writes emoji, put together."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return 1 if mark is None else int(mark.line) + 1
