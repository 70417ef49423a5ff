"""What flows between the rooms: plain, frozen values without identity or clocks.

Equal messages are equal; ids, parents and times live in `storage` rows.
"""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "cancelled", "interrupted"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model asks for. `arguments` is the text of a JSON object."""

    id: str
    name: str
    arguments: str = "{}"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered to the call `call_id`; `content` is JSON or plain text."""

    call_id: str
    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn's worth of text.

    An assistant message may carry `tool_calls`; a tool message carries the
    results of one round in `tool_results` and no content of its own.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()
