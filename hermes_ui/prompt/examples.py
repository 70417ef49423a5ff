"""Example dialogue of a card as turns.

Blocks begin with `<START>`; a line `Name: text` begins a message, which goes on until the
next one. Names are read before macros are expanded, so no user's name can break a block up.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hermes_ui.messages import Role

_START = re.compile(r"<START>", re.IGNORECASE)
_USER = frozenset({"{{user}}", "<user>", "you", "user"})
_CHAR = frozenset({"{{char}}", "<bot>", "<char>"})


@dataclass(frozen=True, slots=True)
class ExampleBlock:
    """One conversation: `turns`, or `text` where it cannot be read as turns. Not expanded."""

    turns: tuple[tuple[Role, str], ...] = ()
    text: str = ""


def example_blocks(examples: str, char_names: Sequence[str], user: str) -> list[ExampleBlock]:
    """The blocks of a card's example dialogue, in order."""
    speakers: dict[str, Role] = {user.casefold(): "user"}
    speakers |= dict.fromkeys(_USER, "user")
    speakers |= dict.fromkeys((*_CHAR, *(name.casefold() for name in char_names)), "assistant")
    texts = (text.strip() for text in _START.split(examples.replace("\r\n", "\n")))
    blocks = (_block(text, speakers) for text in texts if text)
    return [block for block in blocks if block.turns or block.text]


def _block(text: str, speakers: dict[str, Role]) -> ExampleBlock:
    said: list[tuple[Role, list[str]]] = []
    for line in text.split("\n"):
        label, colon, spoken = line.partition(":")
        role = speakers.get(label.strip().casefold()) if colon else None
        if role:
            said.append((role, [spoken.strip()]))
        elif said:
            said[-1][1].append(line)
        else:
            return ExampleBlock(text=text)
    turns = ((role, "\n".join(lines).strip()) for role, lines in said)
    return ExampleBlock(tuple((role, text) for role, text in turns if text))
