"""`@@name value` lines at the start of a lore entry, after Character Card V3.

A decorator that is unknown or makes no sense is ignored, and the `@@@name value` lines
below it are tried in its place. The first of two with the same name counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hermes_ui.messages import Role

MAX_NUMBER = 10_000


@dataclass(frozen=True, slots=True)
class Decorators:
    """What an entry asks for; None and empty: nothing."""

    activate: bool = False
    dont_activate: bool = False
    activate_only_after: int | None = None  # replies
    activate_only_every: int | None = None  # replies
    is_greeting: int | None = None
    scan_depth: int | None = None  # messages
    additional_keys: tuple[tuple[str, ...], ...] = ()  # one of each
    exclude_keys: tuple[str, ...] = ()
    depth: int | None = None  # messages from the end
    role: Role = "system"
    position: str = ""
    ignore_on_max_context: bool = False


def undecorated(content: str) -> tuple[Decorators, str]:
    """What the decorators of `content` ask for, and the text without them."""
    lines = content.lstrip("\r\n").splitlines(keepends=True)
    asked: dict[str, Any] = {}
    is_settled = True  # whether the last `@@` was understood, by itself or by a fallback
    used = 0
    for line in lines:
        stripped = line.strip()
        if not stripped.startswith("@@"):
            break
        used += 1
        is_fallback = stripped.startswith("@@@")
        if is_fallback and is_settled:
            continue
        is_settled = _note(stripped.lstrip("@"), asked)
    if not used:
        return Decorators(), content
    return Decorators(**asked), "".join(lines[used:]).strip("\r\n")


def _note(line: str, asked: dict[str, Any]) -> bool:
    """Put what `line` asks for into `asked`; False where it is not understood."""
    name, _, value = line.partition(" ")
    name = _ALIASES.get(name.lower(), name.lower())
    read = _READERS.get(name)
    if read is None:
        return False
    meant = read(value.strip())
    if meant is None:
        return False
    if name == "additional_keys":
        asked[name] = (*asked.get(name, ()), meant)
    else:
        asked.setdefault(name, meant)
    return True


def _number(value: str) -> int | None:
    sign = -1 if value.startswith("-") else 1
    digits = value.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 6):
        return None
    return sign * min(int(digits), MAX_NUMBER)


def _positive(value: str) -> int | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _not_negative(value: str) -> int | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _keys(value: str) -> tuple[str, ...] | None:
    return tuple(key.strip() for key in value.split(",") if key.strip()) or None


def _one_of(*words: str) -> Callable[[str], str | None]:
    return lambda value: value.lower() if value.lower() in words else None


def _flag(value: str) -> bool | None:
    return None if value.lower() == "false" else True


_ALIASES = {"constant": "activate"}
_READERS: dict[str, Callable[[str], object | None]] = {
    "activate": _flag,
    "dont_activate": _flag,
    "activate_only_after": _not_negative,
    "activate_only_every": _positive,
    "is_greeting": _not_negative,
    "scan_depth": _not_negative,
    "additional_keys": _keys,
    "exclude_keys": _keys,
    "depth": _number,
    "role": _one_of("system", "user", "assistant"),
    "position": _one_of("before_desc", "after_desc", "personality", "scenario"),
    "ignore_on_max_context": _flag,
}
