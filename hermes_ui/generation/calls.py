"""Reading `<tool_call>` blocks: where one ends, and which calls are in it.

The block is scanned, not cut at tags: braces, quotes and tags inside string arguments are
data. What Hermes writes is JSON, now and then a Python dict, a list, or either in a code
fence; all are taken where it is plain what is meant.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from hermes_ui.prompt.chatml import well_formed

OPEN_CALL, CLOSE_CALL = "<tool_call>", "</tool_call>"

MAX_CALL = 32_768  # characters of one block, tags included
MAX_PYTHON = 8_192  # characters that may be read as a Python dict …
MAX_BRACKETS = 200  # … with so many brackets: its parser is not made for strangers

_SOLID = re.compile(r"\S")
_TELLING = re.compile(r"""["'{}\[\]<]""")
_STRING_END = {quote: re.compile(rf"[{quote}\\]") for quote in "\"'"}
_FENCE = re.compile(r"```\w*\s*(.*?)\s*(?:```)?", re.DOTALL)
_SEPARATORS = re.compile(r"[\s,]*")


class CallScanner:
    """Finds the end of one block in a text that grows; never looks at a character twice.

    `content_end` is where the closing tag stands. `is_whole`: all brackets that were
    opened are closed. `is_closed`: the closing tag, or another opening one, was reached.
    """

    def __init__(self, start: int) -> None:
        self.start = start
        self.content_end = start
        self.is_whole = False
        self.is_closed = False
        self._at = start
        self._depth = 0
        self._quote = ""
        self._fenced = False

    def scan(self, text: str) -> int | None:
        """Where the block ends, well (`is_closed`) or as no block; None: unknown yet."""
        full = len(text) >= MAX_CALL
        text = text[:MAX_CALL] if len(text) > MAX_CALL else text
        end = None
        before = -1
        while end is None and self._at != before:
            before = self._at
            if self._quote:
                self._scan_string(text)
            elif self._depth:
                end = self._scan_value(text)
            else:
                end = self._scan_between(text)
        self.content_end = self._at
        return MAX_CALL if end is None and full else end

    def _scan_string(self, text: str) -> None:
        found = _STRING_END[self._quote].search(text, self._at)
        if found is None:
            self._at = len(text)
        elif found.group() == self._quote:
            self._quote = ""
            self._at = found.end()
        else:  # the backslash waits for the character that it escapes
            self._at = found.end() + 1 if found.end() < len(text) else found.start()

    def _scan_value(self, text: str) -> int | None:
        found = _TELLING.search(text, self._at)
        if found is None:
            self._at = len(text)
            return None
        self._at = found.start()
        character = found.group()
        if character == "<":
            return self._tag(text)
        if character in "\"'":
            self._quote = character
        else:
            self._depth += 1 if character in "{[" else -1
            self.is_whole = self._depth == 0
        self._at += 1
        return None

    def _scan_between(self, text: str) -> int | None:
        """Outside of all brackets: only blanks, commas, fences and tags may stand there."""
        found = _SOLID.search(text, self._at)
        if found is None:
            self._at = len(text)
            return None
        self._at = found.start()
        character = found.group()
        if character == "<":
            return self._tag(text)
        if character in "{[":
            self._depth = 1
            self.is_whole = False
        elif character == "`":
            self._fenced = True
        elif not (character == "," if self.is_whole else self._fenced and character.isalnum()):
            return self._at
        self._at += 1
        return None

    def _tag(self, text: str) -> int | None:
        rest = text[self._at : self._at + len(CLOSE_CALL)]
        if rest == CLOSE_CALL:
            self.is_closed = True
            return self._at + len(CLOSE_CALL)
        if rest.startswith(OPEN_CALL):
            self.is_closed = self.is_whole
            return self._at
        may_grow = CLOSE_CALL.startswith(rest) or OPEN_CALL.startswith(rest)
        return None if may_grow else self._at


def parse_calls(text: str) -> list[tuple[str, str]] | None:
    """Names and arguments (the text of a JSON object) of a block's content, or None.

    Raises nothing: what cannot be read as one or more calls is no call.
    """
    text = text.strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    try:
        values = list(_values(text))
        calls = [_call(value) for value in values]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return calls or None


def _values(text: str) -> Iterator[Any]:
    """The values of `text`: of a list its items, of several values all."""
    try:
        read = list(_json_values(text))
    except ValueError:
        brackets = sum(map(text.count, "([{"))
        if len(text) > MAX_PYTHON or brackets > MAX_BRACKETS:
            raise
        read = [ast.literal_eval(text)]
    for value in read:
        if isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _json_values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder(strict=False, parse_constant=_refuse)
    at = 0
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        yield value
        separators = _SEPARATORS.match(text, end)
        at = separators.end() if separators else end


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _call(value: Any) -> tuple[str, str]:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]  # as the OpenAI protocol writes it
    if not isinstance(value, dict):
        raise ValueError("a call is an object")
    name = value.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ValueError("a call has a name")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = json.loads(arguments, parse_constant=_refuse) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValueError("arguments are an object")
    written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    return well_formed(name.strip()), well_formed(written)
