"""A persona while it is being written: YAML text that may be wrong, changed field by field.

A change rewrites the lines of its own top-level field and nothing else, so comments,
order and fields that nobody here knows survive.
"""

import re
from dataclasses import dataclass
from typing import Any

from hermes_ui.errors import PersonaError
from hermes_ui.personas import yaml_io
from hermes_ui.personas.persona import Persona

WHERE = "persona"

KEY = re.compile(r"""(?:(?P<plain>[\w-]+)|'(?P<single>[^']+)'|"(?P<double>[^"\\]+)")\s*:(?:\s|$)""")


@dataclass(frozen=True, slots=True)
class Block:
    """The lines `start` to `end` (exclusive) that hold one top-level field."""

    key: str
    start: int
    end: int


def blocks(lines: list[str]) -> list[Block]:
    """The top-level fields of a block mapping, in order; comments between them belong to none."""
    starts = [
        (match.group("plain") or match.group("single") or match.group("double"), number)
        for number, line in enumerate(lines)
        if (match := KEY.match(line))
    ]
    ends = [number for _, number in starts[1:]] + [len(lines)] * bool(starts)
    found = []
    for (key, start), limit in zip(starts, ends, strict=True):
        end = limit
        while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
            end -= 1
        found.append(Block(key, start, end))
    return found


def with_field(
    text: str, fields: dict[str, Any], name: str, value: Any
) -> tuple[str, dict[str, Any]]:
    """`text`, which reads as `fields`, with one top-level field changed; None takes it away.

    Where the text's own lines cannot be kept (flow style), it is written anew.

    Returns:
        The new text and what it reads as.
    """
    wanted = {key: old for key, old in fields.items() if key != name}
    if value is not None:
        wanted = _in_order(fields, name, value)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    new = yaml_io.dump({name: value}).splitlines(keepends=True) if value is not None else []
    changed = "".join(_replaced(lines, name, new))
    try:
        said = read(changed)
    except PersonaError:
        said = None
    if said is None or yaml_io.json_value(said) != yaml_io.json_value(wanted):
        changed = yaml_io.dump(wanted)
        said = read(changed)
    return changed, said


def read(text: str) -> dict[str, Any]:
    """The text's fields as data; scalars that stood without quotes are `yaml_io.Plain`.

    Raises:
        PersonaError: it is not a YAML mapping; names the line.
    """
    data = yaml_io.load(text, WHERE).data
    if not isinstance(data, dict):
        raise PersonaError(f"{WHERE}, line 1", "must be fields such as `name: Ava`")
    return data


def _in_order(fields: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """`fields` with `name` set: in its old place, else where the model has it."""
    if name in fields:
        return {key: value if key == name else old for key, old in fields.items()}
    order = list(Persona.model_fields)
    before = set(order[: order.index(name)]) if name in order else set(fields)
    keys = list(fields)
    at = max((keys.index(key) + 1 for key in keys if key in before), default=0)
    items = list(fields.items())
    return dict([*items[:at], (name, value), *items[at:]])


def _replaced(lines: list[str], name: str, new: list[str]) -> list[str]:
    found = {block.key: block for block in blocks(lines)}
    if name in found:
        return lines[: found[name].start] + new + lines[found[name].end :]
    order = list(Persona.model_fields)
    before = order[: order.index(name)] if name in order else order
    at = max((found[key].end for key in before if key in found), default=None)
    if at is None:
        at = min((block.start for block in found.values()), default=len(lines))
    return lines[:at] + new + lines[at:]
