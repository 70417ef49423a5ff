"""Messages: the tree, and the windows and paths that are read from it."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Select, bindparam, literal, select

from storage.base import (
    StoreBase,
    as_row,
    change_conversation,
    insert_message,
    own_conversation,
    own_message,
)
from storage.errors import NotFound
from storage.models import Conversation, Message, Run, Seal
from storage.rows import ConversationRow, MessageRow, NewMessage, RunRow, SealRow, Siblings, Window

MESSAGES = Message.__table__
NO_LIMIT = 2**31 - 1


class Messages(StoreBase):
    """Every message is written once; a conversation's leaf says which branch is shown."""

    def append(
        self,
        owner: str,
        conversation_id: str,
        parent_id: str | None,
        new: NewMessage,
        *,
        move_leaf: bool = True,
    ) -> MessageRow:
        """Add a message under `parent_id`, or a root, and show it."""
        with self._writing() as connection:
            conversation = own_conversation(connection, owner, conversation_id, lock=True)
            message = insert_message(connection, conversation, parent_id, new)
            if move_leaf:
                change_conversation(connection, conversation, "leaf", leaf_id=message.id)
            return message

    def message(self, owner: str, message_id: str) -> MessageRow:
        """One message."""
        with self._reading() as connection:
            return own_message(connection, owner, message_id)

    def seal(self, owner: str, message_id: str) -> SealRow:
        """What explains a generated message; NotFound for one that nobody generated."""
        table = Seal.__table__
        query = select(table).where(table.c.message_id == message_id, table.c.owner == owner)
        with self._reading() as connection:
            found = connection.execute(query).mappings().first()
        if found is None:
            raise NotFound("seal", message_id)
        return as_row(SealRow, found)

    def siblings(self, owner: str, message_id: str, *, hidden: bool = False) -> list[MessageRow]:
        """The swipes of a message, itself among them, oldest first; `hidden`: deleted ones too."""
        with self._reading() as connection:
            message = own_message(connection, owner, message_id)
            return swipes(connection, message, hidden=hidden)

    def path(self, owner: str, leaf_id: str) -> list[MessageRow]:
        """Messages from the root down to `leaf_id`, oldest first, in one query."""
        return list(reversed(self._ancestors(owner, leaf_id, None)))

    def root(self, owner: str, leaf_id: str) -> MessageRow:
        """The message that the branch of `leaf_id` begins with; reads no other's text."""
        with self._reading() as connection:
            leaf = own_message(connection, owner, leaf_id)
            step = _lineage()
            given = {"leaf": leaf.id, "owner": owner, "steps": leaf.depth + 1}
            first = connection.scalar(select(step.c.id).where(step.c.depth == 0), given)
            return own_message(connection, owner, first or leaf.id)

    def ancestors(self, owner: str, leaf_id: str, page: int = 64) -> Iterator[MessageRow]:
        """Messages from `leaf_id` up to the root, newest first; reads `page` at a time."""
        next_id: str | None = leaf_id
        while next_id is not None:
            rows = self._ancestors(owner, next_id, page)
            yield from rows
            next_id = rows[-1].parent_id

    def window(
        self, owner: str, conversation_id: str, *, end: str | None = None, limit: int = 50
    ) -> Window:
        """The last `limit` messages of the branch, up to `end` or the leaf.

        Costs the same however long the conversation is: three queries.
        """
        with self._reading() as connection:
            conversation, run, leaf_depth = _head(connection, owner, conversation_id)
            last_id = end or conversation.leaf_id
            if last_id is None:
                return Window(conversation, (), run=run)
            rows = _climb(connection, owner, last_id, limit)
            if not rows or rows[0].conversation_id != conversation.id:
                raise NotFound("message", last_id)
            messages = tuple(reversed(rows))
            siblings = _siblings(connection, conversation.id, messages)
        return Window(
            conversation,
            messages,
            siblings,
            total=max(leaf_depth, messages[-1].depth) + 1,
            start_depth=messages[0].depth,
            newer=last_id != conversation.leaf_id,
            run=run,
        )

    def window_after(
        self, owner: str, conversation_id: str, message_id: str, *, limit: int = 50
    ) -> Window:
        """The window that follows `message_id` on the branch that is shown."""
        with self._reading() as connection:
            conversation, _, leaf_depth = _head(connection, owner, conversation_id)
            message = own_message(connection, owner, message_id)
            if conversation.leaf_id is None or message.conversation_id != conversation.id:
                raise NotFound("message", message_id)
            end = conversation.leaf_id
            wanted = min(message.depth + limit, leaf_depth)
            steps = leaf_depth - wanted + 1
            given = {"leaf": conversation.leaf_id, "owner": owner, "steps": steps}
            step = _lineage()
            end = connection.scalar(select(step.c.id).where(step.c.depth == wanted), given) or end
        return self.window(owner, conversation_id, end=end, limit=limit)

    def descend(self, owner: str, message_id: str) -> str:
        """The newest leaf beneath a message, or the message itself."""
        with self._reading() as connection:
            return newest_beneath(connection, own_message(connection, owner, message_id))

    def tree(self, owner: str, conversation_id: str) -> list[MessageRow]:
        """Every message of a conversation, hidden ones too, parents before children."""
        with self._reading() as connection:
            own_conversation(connection, owner, conversation_id)
            query = select(MESSAGES).where(MESSAGES.c.conversation_id == conversation_id)
            rows = connection.execute(query.order_by(MESSAGES.c.depth, MESSAGES.c.id)).mappings()
            return [as_row(MessageRow, row) for row in rows]

    def seals(self, owner: str, conversation_id: str) -> list[SealRow]:
        """The seals of all messages of a conversation."""
        table = Seal.__table__
        query = (
            select(table)
            .join(MESSAGES, MESSAGES.c.id == table.c.message_id)
            .where(MESSAGES.c.conversation_id == conversation_id, table.c.owner == owner)
        )
        with self._reading() as connection:
            return [as_row(SealRow, row) for row in connection.execute(query).mappings()]

    def _ancestors(self, owner: str, leaf_id: str, limit: int | None) -> list[MessageRow]:
        with self._reading() as connection:
            rows = _climb(connection, owner, leaf_id, limit)
        if not rows:
            raise NotFound("message", leaf_id)
        return rows


def swipes(
    connection: Connection, message: MessageRow, *, hidden: bool = False
) -> list[MessageRow]:
    """The messages that may be shown in the place of one, itself among them, oldest first."""
    query = select(MESSAGES).where(
        MESSAGES.c.conversation_id == message.conversation_id,
        MESSAGES.c.parent_id.is_not_distinct_from(message.parent_id),
    )
    if not hidden:
        query = query.where(MESSAGES.c.deleted_at.is_(None))
    rows = connection.execute(query.order_by(MESSAGES.c.id)).mappings()
    return [as_row(MessageRow, row) for row in rows]


def newest_beneath(connection: Connection, message: MessageRow) -> str:
    """The newest leaf beneath a message, or the message itself."""
    below = (
        select(MESSAGES.c.id, MESSAGES.c.parent_id)
        .where(MESSAGES.c.id == message.id)
        .cte("below", recursive=True)
    )
    child = MESSAGES.alias()
    below = below.union_all(
        select(child.c.id, child.c.parent_id)
        .join(below, child.c.parent_id == below.c.id)
        .where(child.c.deleted_at.is_(None))
    )
    # Ids sort by time, as far as clocks do: a reply may have a lower one than its question.
    is_parent = select(below.c.parent_id).where(below.c.parent_id.is_not(None))
    leaves = select(below.c.id).where(below.c.id.not_in(is_parent))
    newest: str | None = connection.scalar(leaves.order_by(below.c.id.desc()).limit(1))
    return newest or message.id


def is_above(connection: Connection, message: MessageRow, leaf_id: str | None) -> bool:
    """Whether a branch that ends at `leaf_id` runs through the message."""
    if leaf_id is None:
        return False
    leaf = own_message(connection, message.owner, leaf_id)
    step = _lineage()
    given = {"leaf": leaf_id, "owner": message.owner, "steps": leaf.depth - message.depth + 1}
    return connection.scalar(select(step.c.id).where(step.c.id == message.id), given) is not None


def _head(
    connection: Connection, owner: str, conversation_id: str
) -> tuple[ConversationRow, RunRow | None, int]:
    """The conversation, its running reply and its leaf's depth, in one query."""
    conversations, runs = Conversation.__table__, Run.__table__
    query = (
        select(
            conversations, MESSAGES.c.depth, *(each.label(f"run_{each.name}") for each in runs.c)
        )
        .outerjoin(MESSAGES, MESSAGES.c.id == conversations.c.leaf_id)
        .outerjoin(
            runs, (runs.c.conversation_id == conversations.c.id) & (runs.c.status == "running")
        )
        .where(conversations.c.id == conversation_id, conversations.c.owner == owner)
    )
    found = connection.execute(query).mappings().first()
    if found is None:
        raise NotFound("conversation", conversation_id)
    run = None
    if found["run_id"] is not None:
        run = as_row(RunRow, {each.name: found[f"run_{each.name}"] for each in runs.c})
    depth = found["depth"]
    return as_row(ConversationRow, found), run, -1 if depth is None else depth


@cache  # building it takes longer than running it
def _lineage() -> CTE:
    """Ids and depths of the message :leaf of :owner and its ancestors, at most :steps of them."""
    start = select(MESSAGES.c.id, MESSAGES.c.parent_id, MESSAGES.c.depth, literal(1).label("step"))
    start = start.where(MESSAGES.c.id == bindparam("leaf"), MESSAGES.c.owner == bindparam("owner"))
    lineage = start.cte("lineage", recursive=True)
    parent = MESSAGES.alias()
    up = select(parent.c.id, parent.c.parent_id, parent.c.depth, lineage.c.step + 1).join(
        lineage, parent.c.id == lineage.c.parent_id
    )
    return lineage.union_all(up.where(lineage.c.step < bindparam("steps")))


@cache
def _climbing() -> Select[Any]:
    lineage = _lineage()
    query = select(MESSAGES).join(lineage, MESSAGES.c.id == lineage.c.id)
    return query.order_by(MESSAGES.c.depth.desc())


def _climb(connection: Connection, owner: str, leaf_id: str, limit: int | None) -> list[MessageRow]:
    """`leaf_id` and its ancestors, newest first; empty when it is not the owner's."""
    given = {"leaf": leaf_id, "owner": owner, "steps": limit or NO_LIMIT}
    return [as_row(MessageRow, row) for row in connection.execute(_climbing(), given).mappings()]


def _siblings(
    connection: Connection, conversation_id: str, messages: tuple[MessageRow, ...]
) -> dict[str, Siblings]:
    """For each message its swipes, in one query."""
    parents = [message.parent_id for message in messages if message.parent_id is not None]
    is_beside: ColumnElement[bool] = MESSAGES.c.parent_id.in_(parents)
    if len(parents) < len(messages):
        is_root = MESSAGES.c.parent_id.is_(None) & (MESSAGES.c.depth == 0)
        is_beside = is_beside | is_root & (MESSAGES.c.conversation_id == conversation_id)
    query = select(MESSAGES.c.id, MESSAGES.c.parent_id).where(
        is_beside, MESSAGES.c.deleted_at.is_(None)
    )
    beside: dict[str | None, list[str]] = {}
    for message_id, parent_id in connection.execute(query.order_by(MESSAGES.c.id)):
        beside.setdefault(parent_id, []).append(message_id)
    return {
        message.id: Siblings(ids.index(message.id), tuple(ids))
        for message in messages
        if message.id in (ids := beside.get(message.parent_id, []))
    }
