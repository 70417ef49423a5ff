"""The whole tree with its seals, as JSON that can be imported again without loss."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from storage.errors import BadExport
from storage.rows import UNSTORABLE, ConversationRow, MessageRow, SealRow
from storage.store import Store

SCHEMA = "hermes-ui/conversation@1"
MAX_CHARACTERS = 200_000_000
Row = TypeVar("Row")


def export_json(store: Store, owner: str, conversation_id: str, assistant: str) -> str:
    """Every message, hidden ones too, with seals, settings and the persona's text."""
    conversation = store.conversation(owner, conversation_id)
    # Seals first: a reply that ends meanwhile may lack its seal, but no seal lacks its message.
    seals = [_plain(row) for row in store.seals(owner, conversation_id)]
    document = {
        "schema": SCHEMA,
        "persona": _persona(store, owner, conversation),
        "assistant": assistant,
        "conversation": _plain(conversation),
        "messages": [_plain(row) for row in store.tree(owner, conversation_id)],
        "seals": seals,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def import_json(store: Store, owner: str, text: str) -> ConversationRow:
    """Store an exported conversation again, under new ids.

    Raises:
        BadExport: the file is not such an export; nothing is stored.
    """
    document = _document(text)
    try:
        conversation = _row(ConversationRow, owner, document["conversation"])
        messages = [_row(MessageRow, owner, each) for each in document["messages"]]
        seals = [_row(SealRow, owner, each) for each in document["seals"]]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadExport(f"the file has a wrong {where}: {first['msg']}") from None
    except (KeyError, TypeError) as error:
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
    for said in _strings(document):
        if found := UNSTORABLE.search(said):
            raise BadExport(f"U+{ord(found.group()):04X} in the file cannot be kept")
    return document


def _strings(value: Any) -> Iterator[str]:
    """All strings in what JSON can say, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value:
            yield from _strings(each)
        if isinstance(value, dict):
            for each in value.values():
                yield from _strings(each)


def _row(kind: type[Row], owner: str, said: dict[str, Any]) -> Row:
    """A row of the file as its value, every field of its own type."""
    return TypeAdapter(kind).validate_python({**said, "owner": owner})
