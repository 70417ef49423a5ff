"""The whole tree with its seals, as JSON that can be imported again without loss."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from storage.errors import BadExport
from storage.rows import ConversationRow, MessageRow, SealRow
from storage.store import Store

SCHEMA = "hermes-ui/conversation@1"
MAX_CHARACTERS = 200_000_000


def export_json(store: Store, owner: str, conversation_id: str, assistant: str) -> str:
    """Every message, hidden ones too, with seals, settings and the persona's text."""
    conversation = store.conversation(owner, conversation_id)
    document = {
        "schema": SCHEMA,
        "persona": _persona(store, owner, conversation),
        "assistant": assistant,
        "conversation": _plain(conversation),
        "messages": [_plain(row) for row in store.tree(owner, conversation_id)],
        "seals": [_plain(row) for row in store.seals(owner, conversation_id)],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def import_json(store: Store, owner: str, text: str) -> ConversationRow:
    """Store an exported conversation again, under new ids.

    Raises:
        BadExport: the file is not such an export; nothing is stored.
    """
    document = _document(text)
    try:
        conversation = _conversation(owner, document["conversation"])
        messages = [_row(MessageRow, owner, each) for each in document["messages"]]
        seals = [_row(SealRow, owner, each) for each in document["seals"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadExport(f"the file is incomplete: {error}") from None
    persona = document.get("persona")
    if persona:
        store.save_persona_version(
            owner,
            conversation.persona_slug,
            conversation.persona_digest,
            str(persona),
            origin="import",
            head=False,
        )
    return store.add_tree(conversation, messages, seals)


def _persona(store: Store, owner: str, conversation: ConversationRow) -> str | None:
    versions = store.persona_versions(owner, conversation.persona_slug)
    for row in versions:
        if row.digest == conversation.persona_digest:
            return row.document
    return None


def _plain(row: Any) -> dict[str, Any]:
    said = asdict(row)
    del said["owner"]
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in said.items()
    }


def _document(text: str) -> dict[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise BadExport("the file is too large")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise BadExport("the file is not JSON") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise BadExport(f"the file is not a conversation of the schema {SCHEMA}")
    return document


def _conversation(owner: str, said: dict[str, Any]) -> ConversationRow:
    row: ConversationRow = _row(ConversationRow, owner, said)
    if not isinstance(row.settings, dict):
        raise TypeError("settings")
    return row


def _row(kind: Any, owner: str, said: dict[str, Any]) -> Any:
    values = {
        key: datetime.fromisoformat(value) if key.endswith("_at") and value else value
        for key, value in said.items()
    }
    return kind(**values, owner=owner)
