"""The tables. Every row has an owner from the first day; nothing said is ever changed in place."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, DateTime, ForeignKey, Index, MetaData, String, Text, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """Times are aware and in UTC on both sides; SQLite keeps no zone by itself."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[Any] = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class Conversation(Base):
    """A name for a leaf of a tree of messages."""

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "owner", "deleted_at", "updated_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(Text)
    persona_slug: Mapped[str] = mapped_column(String(80))
    persona_digest: Mapped[str] = mapped_column(String(64))
    leaf_id: Mapped[str | None] = mapped_column(String(32))
    settings: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Message(Base):
    """Written once. `depth` counts from the root, 0."""

    __tablename__ = "messages"
    __table_args__ = (Index(None, "parent_id"), Index(None, "conversation_id", "depth"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("messages.id"))
    depth: Mapped[int]
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)
    tool_calls: Mapped[list[Any]]
    tool_results: Mapped[list[Any]]
    created_at: Mapped[datetime]
    finish_reason: Mapped[str | None] = mapped_column(String(16))
    model_id: Mapped[str | None] = mapped_column(Text)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    prefix_chars: Mapped[int]
    deleted_at: Mapped[datetime | None]


class Seal(Base):
    """What explains one generated message; `chunks` are [ms since the start, characters]."""

    __tablename__ = "seals"

    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    chunks: Mapped[list[Any]]


class Run(Base):
    """A reply in the making. `message_id` is the id that its message will have."""

    __tablename__ = "runs"
    __table_args__ = (
        Index(
            "uq_runs_running",
            "conversation_id",
            unique=True,
            sqlite_where=text("status = 'running'"),
            postgresql_where=text("status = 'running'"),
        ),
        Index(None, "status", "heartbeat_at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    parent_id: Mapped[str | None] = mapped_column(String(32))
    message_id: Mapped[str] = mapped_column(String(32))
    leaf_at_start: Mapped[str | None] = mapped_column(String(32))
    server_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    reasoning: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    chunks: Mapped[list[Any]]
    stop_requested: Mapped[bool]
    error: Mapped[str | None] = mapped_column(Text)
    request: Mapped[dict[str, Any]]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Event(Base):
    """One move in a conversation; undo and redo walk over them."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "conversation_id", "seq", unique=True),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    seq: Mapped[int]
    kind: Mapped[str] = mapped_column(String(32))
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    undone: Mapped[bool]
    created_at: Mapped[datetime]


class PersonaVersion(Base):
    """One version of a persona, by content hash; never changed, never deleted."""

    __tablename__ = "persona_versions"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    document: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]


class PersonaHead(Base):
    """Which version of a persona its owner sees now."""

    __tablename__ = "persona_heads"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    slug: Mapped[str] = mapped_column(String(80), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
