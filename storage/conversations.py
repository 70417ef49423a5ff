"""Conversations: their names, settings, and the moves that can be undone."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from storage.base import (
    StoreBase,
    as_row,
    change_conversation,
    insert_message,
    own_conversation,
    own_message,
    refuse_while_writing,
)
from storage.ids import new_id, now
from storage.messages import is_above, newest_beneath, swipes
from storage.models import Conversation, Event, Message
from storage.rows import ConversationRow, EventRow, MessageRow, NewMessage
from storage.search import title_matches


class Conversations(StoreBase):
    """What the sidebar needs, and undo."""

    def create_conversation(
        self,
        owner: str,
        *,
        title: str,
        persona_slug: str,
        persona_digest: str,
        settings: dict[str, Any],
        greetings: Sequence[str] = (),
        first: int = 0,
    ) -> ConversationRow:
        """A conversation whose first message is one of `greetings`, the others its swipes."""
        moment = now()
        row = ConversationRow(
            new_id(),
            owner,
            title,
            persona_slug,
            persona_digest,
            None,
            settings,
            moment,
            moment,
            None,
        )
        with self._writing() as connection:
            connection.execute(insert(Conversation), _values(row))
            roots = [
                insert_message(connection, row, None, NewMessage("assistant", text)).id
                for text in greetings
            ]
            if roots:
                leaf = roots[first if 0 <= first < len(roots) else 0]
                change_conversation(connection, row, None, leaf_id=leaf)
            return own_conversation(connection, owner, row.id)

    def conversation(self, owner: str, conversation_id: str) -> ConversationRow:
        """One conversation, deleted or not."""
        with self._reading() as connection:
            return own_conversation(connection, owner, conversation_id)

    def conversations(
        self,
        owner: str,
        *,
        query: str = "",
        limit: int = 50,
        before: str | None = None,
        deleted: bool = False,
    ) -> list[ConversationRow]:
        """Conversations, the latest active first.

        Args:
            query: Words that the title must hold, in any case.
            before: The id of the last one of the page before.
            deleted: Those that were deleted instead.
        """
        table = Conversation.__table__
        where: list[ColumnElement[bool]] = [
            table.c.owner == owner,
            table.c.deleted_at.is_not(None) if deleted else table.c.deleted_at.is_(None),
        ]
        with self._reading() as connection:
            if before is not None:
                edge = own_conversation(connection, owner, before)
                older = (table.c.updated_at < edge.updated_at) | (
                    (table.c.updated_at == edge.updated_at) & (table.c.id < edge.id)
                )
                where.append(older)
            newest = (
                select(table).where(*where).order_by(table.c.updated_at.desc(), table.c.id.desc())
            )
            rows = connection.execute(newest if query else newest.limit(limit)).mappings()
            matching = (row for row in rows if title_matches(row["title"], query))
            return [as_row(ConversationRow, row) for row in islice(matching, limit)]

    def rename(self, owner: str, conversation_id: str, title: str) -> ConversationRow:
        """Give it a title of the user's own; can be undone."""
        return self._change(owner, conversation_id, "rename", title=title)

    def title_untitled(
        self, owner: str, conversation_id: str, *, placeholder: str, title: str
    ) -> None:
        """Replace the title that a new conversation got by itself; any other one stays."""
        with self._writing() as connection:
            conversation = own_conversation(connection, owner, conversation_id, lock=True)
            if conversation.title == placeholder:
                change_conversation(connection, conversation, None, title=title)

    def update_settings(
        self, owner: str, conversation_id: str, settings: dict[str, Any]
    ) -> ConversationRow:
        """Replace the settings; can be undone."""
        return self._change(owner, conversation_id, "settings", settings=settings)

    def pin_persona(
        self, owner: str, conversation_id: str, slug: str, digest: str
    ) -> ConversationRow:
        """Speak with another persona version from now on; can be undone."""
        return self._change(
            owner, conversation_id, "persona", persona_slug=slug, persona_digest=digest
        )

    def delete_conversation(self, owner: str, conversation_id: str) -> None:
        """Hide it; `restore_conversation` brings it back whole."""
        with self._writing() as connection:
            conversation = own_conversation(connection, owner, conversation_id)
            connection.execute(
                update(Conversation)
                .where(Conversation.id == conversation.id)
                .values(deleted_at=now())
            )

    def restore_conversation(self, owner: str, conversation_id: str) -> None:
        """Show a deleted conversation again."""
        with self._writing() as connection:
            conversation = own_conversation(connection, owner, conversation_id)
            connection.execute(
                update(Conversation)
                .where(Conversation.id == conversation.id)
                .values(deleted_at=None)
            )

    def move_leaf(self, owner: str, conversation_id: str, leaf_id: str | None) -> ConversationRow:
        """Show the branch that ends at `leaf_id`; can be undone."""
        if leaf_id is not None:
            with self._reading() as connection:
                own_message(connection, owner, leaf_id)
        return self._change(owner, conversation_id, "leaf", leaf_id=leaf_id)

    def delete_message(self, owner: str, message_id: str) -> ConversationRow:
        """Hide a message and all that follows it, and show the swipe before it; can be undone.

        Without swipes the branch ends at its parent; one that is not shown hides unseen.

        Raises:
            Conflict: a reply is being written in this conversation.
        """
        with self._writing() as connection:
            message = own_message(connection, owner, message_id)
            conversation = own_conversation(connection, owner, message.conversation_id, lock=True)
            refuse_while_writing(connection, conversation)
            leaf = conversation.leaf_id
            if is_above(connection, message, leaf):
                leaf = _shown_instead(connection, message)
            _hide(connection, message_id, hidden=True)
            change_conversation(
                connection, conversation, "delete", leaf_id=leaf, deleted_message=message_id
            )
            return own_conversation(connection, owner, conversation.id)

    def undo(self, owner: str, conversation_id: str) -> EventRow | None:
        """Take the last move back; None when there is none.

        Raises:
            Conflict: a reply is being written in this conversation.
        """
        table = Event.__table__
        newest = select(table).where(~table.c.undone).order_by(table.c.seq.desc())
        return self._step(owner, conversation_id, newest, undone=True)

    def redo(self, owner: str, conversation_id: str) -> EventRow | None:
        """Make the move again that was taken back last; None when a new move came since.

        Raises:
            Conflict: a reply is being written in this conversation.
        """
        table = Event.__table__
        done = (
            select(func.coalesce(func.max(table.c.seq), 0))
            .where(table.c.conversation_id == conversation_id, ~table.c.undone)
            .scalar_subquery()
        )
        oldest = select(table).where(table.c.undone, table.c.seq > done).order_by(table.c.seq)
        return self._step(owner, conversation_id, oldest, undone=False)

    def _step(
        self, owner: str, conversation_id: str, query: Any, *, undone: bool
    ) -> EventRow | None:
        table = Event.__table__
        with self._writing() as connection:
            conversation = own_conversation(connection, owner, conversation_id, lock=True)
            refuse_while_writing(connection, conversation)
            found = (
                connection.execute(query.where(table.c.conversation_id == conversation.id).limit(1))
                .mappings()
                .first()
            )
            if found is None:
                return None
            event = as_row(EventRow, found)
            state = dict(event.before if undone else event.after)
            hidden = state.pop("deleted_message", None)
            if hidden is not None:
                _hide(connection, hidden, hidden=not undone)
            change_conversation(connection, conversation, None, **state)
            connection.execute(update(Event).where(Event.id == event.id).values(undone=undone))
            return event

    def _change(self, owner: str, conversation_id: str, kind: str, **after: Any) -> ConversationRow:
        with self._writing() as connection:
            conversation = own_conversation(connection, owner, conversation_id, lock=True)
            if any(getattr(conversation, key) != value for key, value in after.items()):
                change_conversation(connection, conversation, kind, **after)
            return own_conversation(connection, owner, conversation_id)


def _shown_instead(connection: Connection, message: MessageRow) -> str | None:
    """Where the branch ends that is shown once a message of it is hidden."""
    alike = [each for each in swipes(connection, message) if each.role == message.role]
    others = [each for each in alike if each.id != message.id]
    if not others:
        return message.parent_id
    before = [each for each in others if each.id < message.id]
    return newest_beneath(connection, before[-1] if before else others[0])


def _hide(connection: Any, message_id: str, *, hidden: bool) -> None:
    connection.execute(
        update(Message).where(Message.id == message_id).values(deleted_at=now() if hidden else None)
    )


def _values(row: ConversationRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ConversationRow.__slots__}
