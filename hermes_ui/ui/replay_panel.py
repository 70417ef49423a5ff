"""A conversation played back on the page, and taken home as a file."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from hermes_ui.chat import ChatService
from hermes_ui.errors import HermesError
from hermes_ui.replay import play
from hermes_ui.ui import render, words
from hermes_ui.ui.bridge import Action, Answer, Fields
from hermes_ui.ui.chat_panel import speakers
from hermes_ui.ui.owner import owner_of
from storage import formats
from storage.errors import StorageError

PAGE_MESSAGES = 40  # shown before the replay turns the page, so that updates stay small
SPEEDS = {"1": 1.0, "2": 2.0, "4": 4.0, "instant": float("inf")}


def actions(chat: ChatService) -> dict[str, Action]:
    """What the script may ask for, by name."""

    def export(owner: str, fields: Fields) -> Answer:
        """The conversation as the text of a file."""
        conversation = chat.store.conversation(owner, fields.text("conversation"))
        name, to = speakers(chat, owner, conversation)["assistant"], fields.text("format")
        text = formats.export(chat.store, owner, conversation.id, to, assistant=name)
        return {"text": text, "name": f"{_file_stem(conversation.title)}.{formats.FORMATS[to][0]}"}

    return {"export": export}


def replay(chat: ChatService) -> Any:
    """The handler that plays a conversation as it was said; leaving it ends it."""

    def replay_conversation(event: gr.EventData, request: gr.Request) -> Iterator[Answer]:
        fields = Fields(event._data)
        token = fields.text("token")
        speed = SPEEDS.get(fields.text("speed"), 1.0)
        try:
            for scene in scenes(chat, owner_of(request), fields.text("conversation"), speed):
                yield {"token": token, **scene}
        except (HermesError, StorageError) as error:
            yield {"token": token, "page": [], "open": "", "over": True, "error": str(error)}

    return replay_conversation


def scenes(
    chat: ChatService, owner: str, conversation_id: str, speed: float
) -> Iterator[dict[str, Any]]:
    """The messages that are over, as far as they fit the page, and the one being said."""
    conversation = chat.store.conversation(owner, conversation_id)
    names = speakers(chat, owner, conversation)
    page: list[str] = []
    for moment in play(owner, chat.store, conversation_id, speed=speed):
        role = moment.message.role
        html = render.played(
            moment.message,
            name=names.get(role, ""),
            digest="" if role == "user" else conversation.persona_digest,
            text=moment.text,
        )
        if moment.done:
            page = [*page, html][-PAGE_MESSAGES:] if len(page) < PAGE_MESSAGES else [html]
        yield {"page": page, "open": "" if moment.done else html, "over": False, "error": ""}
    yield {"page": page, "open": "", "over": True, "error": ""}


def _file_stem(title: str) -> str:
    kept = "".join(each if each.isalnum() or each in " -_" else " " for each in title)
    return "-".join(kept.split())[:60] or words.PRODUCT.lower()
