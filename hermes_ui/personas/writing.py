"""Plain values to YAML that a person likes to read and that every YAML reader reads alike.

Text of several lines becomes a literal block, long text a folded one; text that looks like
something else (no, 12:30, 007, ~) is quoted. The order of the keys is the order given.
"""

import json
import re
import textwrap
from typing import Any

FOLD_FROM = 96  # characters of a text without line breaks
FOLD_AT = 88
FLOW_UP_TO = 72
LONGEST_SIMPLE_KEY = 200

# Begins with a letter and holds nothing that YAML could take for its own.
PLAIN = re.compile(r"[^\W\d_](?:[^\x00-\x1f\x7f-\xa0:#\"'\\]|:(?=[^\s:])|(?<=\S)#|['\"])*")
WORD = re.compile(r"[^\W\d_][\w'.+/-]*(?: [\w'.+/-]+)*")
# YAML 1.1 readers turn these into something that is not text.
LOOKS_OTHER = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null|nan|inf)|[-+.0-9].*")
NO_BLOCK = re.compile(
    r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\ufeff\u2028\u2029]"
)
NO_FOLD = re.compile(NO_BLOCK.pattern + r"|[\t\n]")
NO_QUOTES = re.compile(NO_BLOCK.pattern + r"|['\t\n]")


class Plain(str):
    """A scalar that was written without quotes: only such text may mean a number or a yes."""

    __slots__ = ()


def write(fields: dict[str, Any]) -> str:
    """The YAML of a mapping of JSON values (tuples are lists), ending with a line break."""
    return (_mapping(fields, 0).removeprefix("\n") or "{}") + "\n"


def _mapping(fields: dict[str, Any], indent: int) -> str:
    lines = []
    for key, value in fields.items():
        name = _inline(key)
        start = f"{name}:" if len(name) <= LONGEST_SIMPLE_KEY else f"? {name}\n{' ' * indent}:"
        lines.append(f"\n{' ' * indent}{start}{_value(value, indent + 2)}")
    return "".join(lines)


def _value(value: Any, indent: int) -> str:
    """What follows `key:`; lines of its own are indented by `indent` spaces."""
    if isinstance(value, Plain) and "\n" not in value:
        return f" {value}" if value else ""
    if isinstance(value, str):
        return " " + _text(value, indent)
    if isinstance(value, dict) and value:
        return _mapping(value, indent)
    if isinstance(value, list | tuple) and value:
        return _flow(value) or _items(value, indent)
    return " " + _json(value)


def _items(values: list[Any] | tuple[Any, ...], indent: int) -> str:
    dash = f"\n{' ' * indent}-"
    lines = []
    for value in values:
        inner = _value(value, indent + 2)
        if inner.startswith("\n"):  # the first line of a mapping or list stands by its dash
            inner = " " + inner[1:].lstrip(" ")
        lines.append(dash + inner)
    return "".join(lines)


def _flow(values: list[Any] | tuple[Any, ...]) -> str:
    """A short list of words or numbers on one line, or nothing."""
    parts = []
    for value in values:
        if isinstance(value, dict | list | tuple):
            return ""
        if isinstance(value, str) and not (WORD.fullmatch(value) and _is_plain(value)):
            return ""
        parts.append(value if isinstance(value, str) else _json(value))
    line = f" [{', '.join(parts)}]"
    return line if len(line) <= FLOW_UP_TO else ""


def _text(text: str, indent: int) -> str:
    if "\n" in text and text.strip() and not NO_BLOCK.search(text):
        return _literal(text, indent)
    if len(text) > FOLD_FROM and text == text.strip() and not NO_FOLD.search(text):
        return _folded(text, indent)
    return _inline(text)


def _literal(text: str, indent: int) -> str:
    """A `|` block. Its header says how far it is indented where the text hides that."""
    body = text.rstrip("\n")
    ending = len(text) - len(body)
    chomp = {0: "-", 1: ""}.get(ending, "+")
    hint = "2" if text[0] in " \t\n" else ""
    header = f"|{hint}{chomp}"
    margin = " " * indent
    lines = [margin + line if line else "" for line in body.split("\n")]
    return "\n".join([header, *lines, *[""] * (ending - 1)])


def _folded(text: str, indent: int) -> str:
    """A `>-` block: one text without line breaks over several lines."""
    margin = " " * indent
    wrapped = textwrap.wrap(
        text,
        FOLD_AT,
        expand_tabs=False,
        replace_whitespace=False,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if " ".join(wrapped) != text or any(line[0] == " " for line in wrapped):
        return _inline(text)
    return "\n".join([">-", *(margin + line for line in wrapped)])


def _inline(text: str) -> str:
    if _is_plain(text):
        return text
    if NO_QUOTES.search(text):
        return _json(text)
    return f"'{text}'"


def _is_plain(text: str) -> bool:
    return bool(
        PLAIN.fullmatch(text)
        and not text.endswith((" ", ":"))
        and not LOOKS_OTHER.fullmatch(text)
        and not NO_BLOCK.search(text)
        and "\t" not in text
    )


def _json(value: Any) -> str:
    """JSON is YAML, but for a few characters that YAML wants escaped."""
    written = json.dumps(value, ensure_ascii=False)
    return NO_BLOCK.sub(lambda match: _escaped(match.group()), written)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
