"""What the parts of the store share: transactions, owner checks, rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.ids import new_id, now
from storage.models import Base, Conversation, Event, Message, Run
from storage.rows import ConversationRow, MessageRow, NewMessage, RunRow

Row = TypeVar("Row")


def as_row(kind: type[Row], mapping: RowMapping | dict[str, Any]) -> Row:
    """The columns of `mapping` that `kind` has, as its value."""
    return kind(**{each.name: mapping[each.name] for each in fields(kind)})  # type: ignore[arg-type]


class StoreBase:
    """Holds the database. One method of the store is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def location(self) -> str:
        """Where the database is, for people; never with a password."""
        return self._database.location

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._database.read() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._database.write() as connection:
                yield connection
        except IntegrityError as error:
            raise Conflict(str(error.orig).splitlines()[0]) from error


def clock(connection: Connection) -> datetime:
    """The time that all servers of a database agree on, whatever their own clocks say.

    SQLite has no clock of its own, and all its servers share a machine.
    """
    if connection.dialect.name != "postgresql":
        return now()
    said: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return said


def own(
    connection: Connection,
    table: type[Base],
    kind: type[Row],
    owner: str,
    row_id: str,
    *,
    lock: bool = False,
) -> Row:
    """The owner's row with this id.

    Raises:
        NotFound: there is none, or it is somebody else's.
    """
    columns = table.__table__.c
    query = select(table.__table__).where(columns.id == row_id, columns.owner == owner)
    found = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if found is None:
        raise NotFound(table.__name__.lower(), row_id)
    return as_row(kind, found)


def own_conversation(
    connection: Connection, owner: str, conversation_id: str, *, lock: bool = False
) -> ConversationRow:
    return own(connection, Conversation, ConversationRow, owner, conversation_id, lock=lock)


def own_message(connection: Connection, owner: str, message_id: str) -> MessageRow:
    return own(connection, Message, MessageRow, owner, message_id)


def own_run(connection: Connection, owner: str, run_id: str, *, lock: bool = False) -> RunRow:
    return own(connection, Run, RunRow, owner, run_id, lock=lock)


def refuse_while_writing(connection: Connection, conversation: ConversationRow) -> None:
    """What is moved beneath a running reply would leave it where nobody finds it.

    Raises:
        Conflict: a reply is being written in this conversation.
    """
    runs = Run.__table__.c
    query = select(runs.id).where(runs.conversation_id == conversation.id, runs.status == "running")
    if connection.execute(query).first() is not None:
        raise Conflict("a reply is still being written in this conversation")


def insert_message(
    connection: Connection,
    conversation: ConversationRow,
    parent_id: str | None,
    new: NewMessage,
    message_id: str | None = None,
) -> MessageRow:
    """Add a message under a parent of the same conversation."""
    depth = 0
    if parent_id is not None:
        parent = own_message(connection, conversation.owner, parent_id)
        if parent.conversation_id != conversation.id:
            raise NotFound("message", parent_id)
        depth = parent.depth + 1
    values = {
        "id": message_id or new_id(),
        "owner": conversation.owner,
        "conversation_id": conversation.id,
        "parent_id": parent_id,
        "depth": depth,
        "role": new.role,
        "content": new.content,
        "tool_calls": list(new.tool_calls),
        "tool_results": list(new.tool_results),
        "created_at": now(),
        "finish_reason": new.finish_reason,
        "model_id": new.model_id,
        "prompt_tokens": new.prompt_tokens,
        "completion_tokens": new.completion_tokens,
        "cached_tokens": new.cached_tokens,
        "prefix_chars": new.prefix_chars,
        "deleted_at": None,
    }
    connection.execute(insert(Message), values)
    return as_row(MessageRow, values)


def change_conversation(
    connection: Connection,
    conversation: ConversationRow,
    kind: str | None,
    **after: Any,
) -> None:
    """Set columns of a conversation; `kind` names the event that undo knows, None is no event.

    An event that was undone can be redone until a new one is there.

    `after` of an event may also hold `deleted_message`, which is not a column.
    """
    columns = {key: value for key, value in after.items() if key != "deleted_message"}
    connection.execute(
        update(Conversation)
        .where(Conversation.id == conversation.id)
        .values(**columns, updated_at=now())
    )
    if kind is None:
        return
    here = Event.conversation_id == conversation.id
    last = connection.scalar(
        select(Event.seq).where(here, ~Event.undone).order_by(Event.seq.desc()).limit(1)
    )
    # Those that were undone are the last ones, and found without reading all others.
    connection.execute(delete(Event).where(here, Event.seq > (last or 0)))
    before = {key: getattr(conversation, key, None) for key in after}
    if "deleted_message" in after:
        before["deleted_message"] = after["deleted_message"]
    connection.execute(
        insert(Event),
        {
            "id": new_id(),
            "owner": conversation.owner,
            "conversation_id": conversation.id,
            "seq": (last or 0) + 1,
            "kind": kind,
            "before": before,
            "after": after,
            "undone": False,
            "created_at": now(),
        },
    )
