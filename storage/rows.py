"""What storage hands out and takes: frozen values, detached from any session."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL takes no NUL, UTF-8 no lone surrogate


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A name for a leaf."""

    id: str
    owner: str
    title: str
    persona_slug: str
    persona_digest: str
    leaf_id: str | None
    settings: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is about to be stored."""

    role: str
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_results: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = None
    model_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    prefix_chars: int = 0


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A stored message; `depth` counts from the root, 0."""

    id: str
    owner: str
    conversation_id: str
    parent_id: str | None
    depth: int
    role: str
    content: str
    tool_calls: list[dict[str, Any]]
    tool_results: list[dict[str, Any]]
    created_at: datetime
    finish_reason: str | None
    model_id: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    prefix_chars: int
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class SealRow:
    """What explains one generated message; `chunks` are [ms since the start, characters]."""

    message_id: str
    owner: str
    body: dict[str, Any]
    chunks: list[list[int]]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A reply in the making, or the record of one."""

    id: str
    owner: str
    conversation_id: str
    parent_id: str | None
    message_id: str
    leaf_at_start: str | None
    server_id: str
    status: str  # running, done, failed, interrupted
    text: str
    reasoning: str
    prefix: str
    chunks: list[list[int]]
    stop_requested: bool
    error: str | None
    request: dict[str, Any]
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One move in a conversation."""

    id: str
    owner: str
    conversation_id: str
    seq: int
    kind: str
    before: dict[str, Any]
    after: dict[str, Any]
    undone: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PersonaVersionRow:
    """One version of a persona."""

    owner: str
    slug: str
    digest: str
    document: str
    origin: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Siblings:
    """The swipes of a message, oldest first, and where it stands among them."""

    index: int
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a conversation's current branch, oldest message first.

    `total` counts the messages of the whole branch; `start_depth` is the depth of the
    first one here; `newer` says that the branch goes on after the last one here.
    """

    conversation: ConversationRow
    messages: tuple[MessageRow, ...]
    siblings: dict[str, Siblings] = field(default_factory=dict)
    total: int = 0
    start_depth: int = 0
    newer: bool = False
    run: RunRow | None = None
