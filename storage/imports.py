"""Whole trees that come in from files."""

from dataclasses import replace
from typing import Any

from sqlalchemy import insert

from storage.base import StoreBase, own_conversation
from storage.errors import BadExport
from storage.ids import new_id
from storage.models import Conversation, Message, Seal
from storage.rows import ConversationRow, MessageRow, SealRow


class Imports(StoreBase):
    """Adds what was exported elsewhere; never touches what is there."""

    def add_tree(
        self, conversation: ConversationRow, messages: list[MessageRow], seals: list[SealRow]
    ) -> ConversationRow:
        """Store a conversation and its tree under new ids, in one transaction.

        Args:
            messages: Parents before their children.

        Raises:
            BadExport: a message or a seal points to nothing; nothing is stored.
        """
        ids = {row.id: new_id() for row in messages}
        depths: dict[str | None, int] = {None: -1}
        for row in messages:
            if row.parent_id not in depths:
                raise BadExport(f"message {row.id!r} has no parent {row.parent_id!r}")
            depths[row.id] = depths[row.parent_id] + 1
        named = [row.message_id for row in seals]
        named += [conversation.leaf_id] if conversation.leaf_id else []
        for message_id in named:
            if message_id not in ids:
                raise BadExport(f"there is no message {message_id!r}")
        new = replace(
            conversation,
            id=new_id(),
            leaf_id=ids[conversation.leaf_id] if conversation.leaf_id else None,
        )
        rows = [
            replace(
                row,
                id=ids[row.id],
                conversation_id=new.id,
                parent_id=ids[row.parent_id] if row.parent_id else None,
                depth=depths[row.id],
            )
            for row in messages
        ]
        with self._writing() as connection:
            connection.execute(insert(Conversation), _values(new))
            for message in rows:
                connection.execute(insert(Message), _values(message))
            for seal in seals:
                sealed = replace(seal, message_id=ids[seal.message_id])
                connection.execute(insert(Seal), _values(sealed))
            return own_conversation(connection, new.owner, new.id)


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
