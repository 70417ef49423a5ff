"""YAML as plain data, within limits that hold while it is parsed.

Scalars stay text: the model that reads them says where a number or a yes is meant. No
tags, merges, duplicate keys or several documents; sizes, depth and aliases are bounded,
so that a small file cannot become a large value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from hermes_ui.errors import PersonaError

MAX_BYTES = 256 * 1024 + 700_000  # text, and an avatar as a data URL
MAX_NODES = 50_000
MAX_DEPTH = 32

Path = tuple[str | int, ...]


class Plain(str):
    """A scalar that was written without quotes: only such text may mean a number or a yes."""

    __slots__ = ()


@dataclass(slots=True)
class Document:
    """The data of one YAML text and the line (from 1) on which each value begins."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)


def load(text: str, where: str) -> Document:
    """Read one document of mappings, sequences and text.

    Raises:
        PersonaError: it is not YAML, or it uses what is refused; names the line.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PersonaError(where, f"has more than {MAX_BYTES:,} bytes")
    try:
        return _Reader(text, where).document()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PersonaError(f"{where}, line {line}", str(error.problem or error.context)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PersonaError(
            f"{where}, line {line}",
            f"the character U+{ord(text[error.position]):04X} is not allowed",
        ) from None


class _Reader:
    """Builds the data from parser events, one by one, counting as it goes."""

    def __init__(self, text: str, where: str) -> None:
        self._events: Iterator[events.Event] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._where = where
        self._nodes = 0
        self._document = Document()

    def document(self) -> Document:
        next(self._events)  # the stream's start
        first = next(self._events)
        if isinstance(first, events.StreamEndEvent):
            raise PersonaError(self._where, "is empty")
        self._document.data = self._value(next(self._events), (), 0)
        next(self._events)  # the document's end
        rest = next(self._events)
        if not isinstance(rest, events.StreamEndEvent):
            raise self._refusal(rest, "only one document is allowed")
        return self._document

    def _value(self, event: events.Event, path: Path, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._refusal(event, f"more than {MAX_NODES:,} values")
        if depth > MAX_DEPTH:
            raise self._refusal(event, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, events.AliasEvent) or getattr(event, "anchor", None):
            raise self._refusal(
                event, "anchors and aliases (& and *) are not allowed; write it out"
            )
        if tag := getattr(event, "tag", None):
            raise self._refusal(event, f"the tag {tag} is not allowed")
        self._document.lines[path] = _line(event)
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, events.SequenceStartEvent):
            return self._sequence(path, depth)
        assert isinstance(event, events.ScalarEvent)
        return Plain(event.value) if event.implicit[0] else str(event.value)

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        said: dict[str, Any] = {}
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            key = self._value(event, path, depth + 1)
            if not isinstance(key, str):
                raise self._refusal(event, "a key must be text")
            if key == "<<":
                raise self._refusal(event, "merges (<<) are not allowed; write it out")
            if key in said:
                raise self._refusal(event, f"{str(key)!r} stands here twice")
            value = next(self._events)
            said[str(key)] = self._value(value, (*path, str(key)), depth + 1)
            self._document.lines[(*path, str(key))] = _line(event)
        return said

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        said: list[Any] = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            said.append(self._value(event, (*path, len(said)), depth + 1))
        return said

    def _refusal(self, event: events.Event, why: str) -> PersonaError:
        return PersonaError(f"{self._where}, line {_line(event)}", why)


NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,300})(\.[0-9]+([eE][-+][0-9]{1,3})?)?")
WORDS = {"true": True, "false": False, "null": None}


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
    if value in WORDS:
        return WORDS[value]
    if match := NUMBER.fullmatch(value):
        return float(value) if match[2] else int(value)
    return str(value)


def _line(event: events.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Dumper(yaml.SafeDumper):
    """Long and multi-line text as literal blocks, where YAML can hold it exactly so."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    lines = text.split("\n")
    is_exact = not re.search(r"[^\S\n ]|\u0085|\u2028|\u2029|\ufeff", text) and not any(
        line.endswith(" ") for line in lines
    )
    style = "|" if len(lines) > 1 and is_exact else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _plain(dumper: yaml.SafeDumper, text: Plain) -> yaml.ScalarNode:
    tag = dumper.resolve(yaml.ScalarNode, str(text), (True, False))  # type: ignore[no-untyped-call]
    return dumper.represent_scalar(tag, str(text))


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Plain, _plain)


def dump(data: Any) -> str:
    """`data` as YAML that `load` reads back as it is; keys keep their order, `Plain` stays so."""
    return yaml.dump(
        data,
        Dumper=_Dumper,
        allow_unicode=True,
        sort_keys=False,
        width=88,
        default_flow_style=False,
    )
