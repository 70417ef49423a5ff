"""A conversation on the page: the bounded window, what people do in it, and the live reply."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from hermes_ui.chat import ChatService
from hermes_ui.errors import HermesError
from hermes_ui.reply import Progress
from hermes_ui.ui import render, seal, words
from hermes_ui.ui.bridge import Action, Answer, Fields
from hermes_ui.ui.markdown import GrowingText
from hermes_ui.ui.owner import owner_of
from storage.errors import StorageError
from storage.rows import ConversationRow, MessageRow, Window

PAGE_MESSAGES = 50
MOST_MESSAGES = 150  # in the page at once; older ones are paged


def actions(chat: ChatService) -> dict[str, Action]:
    """What the script may ask for in a conversation, by name."""
    panel = ChatPanel(chat)
    return {
        "start": panel.start,
        "view": panel.view,
        "pulse": panel.pulse,
        "send": panel.send,
        "answer": panel.answer,
        "regenerate": panel.regenerate,
        "resume": panel.resume,
        "edit": panel.edit,
        "switch": panel.switch,
        "delete": panel.delete,
        "undo": panel.undo,
        "redo": panel.redo,
        "stop": panel.stop,
        "source": panel.source,
        "seal": panel.seal,
        "pin": panel.pin,
        "avatars": panel.avatars,
    }


class ChatPanel:
    """Actions on one conversation. Each answers with the window as it stands afterwards."""

    def __init__(self, chat: ChatService) -> None:
        self._chat = chat

    def start(self, owner: str, fields: Fields) -> Answer:
        conversation = self._chat.start(
            owner, fields.text("slug"), user=last_name(self._chat, owner)
        )
        return self._view(owner, conversation.id)

    def view(self, owner: str, fields: Fields) -> Answer:
        """The window up to the message `end`, or to the one that ends the page after `after`."""
        conversation_id, end = fields.text("conversation"), fields.text("end")
        if fields.text("after"):
            end = self._end_after(owner, conversation_id, fields.text("after"), PAGE_MESSAGES)
        return self._view(owner, conversation_id, end, fields.number("limit"))

    def pulse(self, owner: str, fields: Fields) -> Answer:
        """Whether another tab has changed the conversation; cheap enough for a timer."""
        window = self._chat.store.window(owner, fields.text("conversation"), limit=1)
        return {"version": version_of(window)}

    def send(self, owner: str, fields: Fields) -> Answer:
        """Send what was typed, exactly once.

        `leaf` is the message after which it was typed. A tab that is behind is told so,
        and when what it is behind is this very message (the answer to its first try was
        lost on the way), the message counts as sent.
        """
        conversation_id, text = fields.text("conversation"), fields.text("text")
        leaf = self._chat.store.conversation(owner, conversation_id).leaf_id
        if (leaf or "") != fields.text("leaf"):
            sent = self._is_after(owner, leaf, fields.text("leaf"), text)
            notice = {} if sent else {"stale": words.ELSEWHERE}
            return self._view(owner, conversation_id) | notice
        self._chat.send(owner, conversation_id, text)
        return self._view(owner, conversation_id)

    def answer(self, owner: str, fields: Fields) -> Answer:
        run = self._chat.answer(owner, fields.text("conversation"))
        return self._view(owner, run.conversation_id)

    def regenerate(self, owner: str, fields: Fields) -> Answer:
        run = self._chat.regenerate(owner, fields.text("message"))
        return self._view(owner, run.conversation_id)

    def resume(self, owner: str, fields: Fields) -> Answer:
        run = self._chat.resume(owner, fields.text("message"))
        return self._view(owner, run.conversation_id)

    def edit(self, owner: str, fields: Fields) -> Answer:
        self._chat.edit(owner, fields.text("message"), fields.text("text"))
        return self._view(owner, fields.text("conversation"))

    def switch(self, owner: str, fields: Fields) -> Answer:
        """Show another swipe, and as much of its branch that the swipe itself stays in sight."""
        conversation_id, message_id = fields.text("conversation"), fields.text("message")
        self._chat.switch(owner, message_id)
        answer = self._view(owner, conversation_id, "", fields.number("limit"))
        if all(item["id"] != message_id for item in answer["items"]):
            end = self._end_after(owner, conversation_id, message_id, PAGE_MESSAGES // 2)
            answer = self._view(owner, conversation_id, end, fields.number("limit"))
        return answer

    def delete(self, owner: str, fields: Fields) -> Answer:
        self._chat.delete(owner, fields.text("message"))
        return self._view(owner, fields.text("conversation"))

    def undo(self, owner: str, fields: Fields) -> Answer:
        event = self._chat.store.undo(owner, fields.text("conversation"))
        answer = self._view(owner, fields.text("conversation"))
        return answer | {"notice": "" if event else words.NOTHING_TO_UNDO}

    def redo(self, owner: str, fields: Fields) -> Answer:
        event = self._chat.store.redo(owner, fields.text("conversation"))
        answer = self._view(owner, fields.text("conversation"))
        return answer | {"notice": "" if event else words.NOTHING_TO_REDO}

    def stop(self, owner: str, fields: Fields) -> Answer:
        self._chat.runs.stop(owner, fields.text("run"))
        return {}

    def source(self, owner: str, fields: Fields) -> Answer:
        """A message's own text, to copy or to edit."""
        row = self._chat.store.message(owner, fields.text("message"))
        return {"text": row.content, "role": row.role}

    def seal(self, owner: str, fields: Fields) -> Answer:
        return {"html": seal.details(self._chat.store, owner, fields.text("message"))}

    def pin(self, owner: str, fields: Fields) -> Answer:
        self._chat.pin_latest(owner, fields.text("conversation"))
        return self.view(owner, fields)

    def avatars(self, owner: str, fields: Fields) -> Answer:
        """The pictures of persona versions, as data URLs; "" for those without one."""
        return {"avatars": {each: self._avatar(owner, each) for each in fields.texts("digests")}}

    def _avatar(self, owner: str, digest: str) -> str:
        try:
            url = self._chat.catalog.avatar_url(self._chat.catalog.version(owner, digest))
        except HermesError:  # a version that is gone has no picture; its letters stand in
            return ""
        return url if url.startswith("data:image/") and '"' not in url else ""

    def _is_after(self, owner: str, leaf: str | None, before: str, text: str) -> bool:
        """Whether the newest user message has this text and stands right after `before`."""
        for row in self._chat.store.ancestors(owner, leaf) if leaf else ():
            if row.role == "user":
                return row.content == text and (row.parent_id or "") == before
        return False

    def _end_after(self, owner: str, conversation_id: str, message_id: str, count: int) -> str:
        """The message `count` after this one, or the newest."""
        window = self._chat.store.window_after(owner, conversation_id, message_id, limit=count)
        return window.messages[-1].id if window.newer and window.messages else ""

    def _view(
        self, owner: str, conversation_id: str, end: str = "", limit: int | None = None
    ) -> Answer:
        most = max(1, min(limit or PAGE_MESSAGES, MOST_MESSAGES))
        window = self._chat.store.window(owner, conversation_id, end=end or None, limit=most)
        return window_view(self._chat, owner, window)


def window_view(chat: ChatService, owner: str, window: Window) -> Answer:
    """A window as the script draws it."""
    conversation = window.conversation
    names = speakers(chat, owner, conversation)
    items = [
        {"id": row.id, "html": _bubble(row, names, conversation, window)} for row in _shown(window)
    ]
    return {
        "conversation": conversation.id,
        "version": version_of(window),
        "leaf": conversation.leaf_id or "",
        "title": conversation.title or words.UNTITLED,
        "persona": names["assistant"],
        "avatar": render.avatar(names["assistant"], conversation.persona_digest),
        "live": render.live(names["assistant"], conversation.persona_digest),
        "outdated": _is_outdated(chat, owner, conversation),
        "hint": words.MESSAGE_TO.format(name=names["assistant"]),
        "empty": words.EMPTY_CHAT.format(name=names["assistant"]),
        "items": items,
        "earlier": _paging(words.EARLIER_MESSAGES, window.start_depth),
        "newer": _paging(words.NEWER_MESSAGES, _newer(window)),
        "end": window.messages[-1].id if window.newer else "",
        "run": window.run.id if window.run else "",
        "runs_here": _runs_here(window),
        "unanswered": not window.newer and not window.run and _waits(window),
        "limit": PAGE_MESSAGES,
        "most": MOST_MESSAGES,
    }


def speakers(chat: ChatService, owner: str, conversation: ConversationRow) -> dict[str, str]:
    """The name behind each role."""
    persona = chat.persona_of(owner, conversation)
    user = conversation.settings.get("user") or persona.user_name or words.YOU
    return {"user": user, "assistant": persona.display_name, "tool": persona.display_name}


def last_name(chat: ChatService, owner: str) -> str:
    """The name that the owner used in the newest conversation, so that it is given only once."""
    newest = chat.store.conversations(owner, limit=1)
    return str(newest[0].settings.get("user", "")) if newest else ""


def version_of(window: Window) -> str:
    """Changes whenever what a tab shows of the conversation has to change."""
    row = window.conversation
    run = window.run.id if window.run else ""
    return f"{row.updated_at.timestamp()}/{row.leaf_id}/{row.persona_digest}/{run}"


def _shown(window: Window) -> list[MessageRow]:
    """The window without what the reply being written replaces, and without its own tool calls."""
    rows = list(window.messages)
    if window.run and _runs_here(window):
        ids = [row.id for row in rows]
        if window.run.parent_id in ids:
            rows = rows[: ids.index(window.run.parent_id) + 1]
        while rows and (rows[-1].role == "tool" or rows[-1].tool_calls):
            rows.pop()
    return rows


def _runs_here(window: Window) -> bool:
    """Whether the reply being written belongs to the branch that is shown, at its end."""
    if window.run is None or window.newer:
        return False
    return window.run.parent_id in {None, *(row.id for row in window.messages)}


def _bubble(
    row: MessageRow, names: dict[str, str], conversation: ConversationRow, window: Window
) -> str:
    siblings = window.siblings.get(row.id)
    place = (siblings.index, siblings.ids) if siblings else (0, ())
    digest = "" if row.role == "user" else conversation.persona_digest
    return render.message(row, name=names.get(row.role, ""), digest=digest, siblings=place)


def _waits(window: Window) -> bool:
    """Whether the newest message has no reply: one failed, or was stopped before a word."""
    return bool(window.messages) and window.messages[-1].role != "assistant"


def _paging(label: str, count: int) -> str:
    return label.format(count=count) if count else ""


def _newer(window: Window) -> int:
    return window.total - 1 - window.messages[-1].depth if window.newer else 0


def _is_outdated(chat: ChatService, owner: str, conversation: ConversationRow) -> bool:
    try:
        current = chat.catalog.entry(owner, conversation.persona_slug)
    except HermesError:  # the persona was removed; its pinned version speaks on
        return False
    return current.digest != conversation.persona_digest


def follow(chat: ChatService) -> Any:
    """The handler that shows a run as it grows; leaving it does the run no harm."""

    def follow_run(event: gr.EventData, request: gr.Request) -> Iterator[Answer]:
        fields = Fields(event._data)
        run_id = fields.text("run")
        try:
            yield from followed(chat, owner_of(request), run_id)
        except (HermesError, StorageError) as error:
            yield {"run": run_id, "state": "failed", "error": str(error)}

    return follow_run


def followed(chat: ChatService, owner: str, run_id: str) -> Iterator[Answer]:
    """A run as the live bubble shows it; each value holds one reply and nothing else."""
    text = GrowingText()
    for progress in chat.runs.follow(owner, run_id):
        text.update(progress.text)
        yield {
            "run": run_id,
            "state": progress.state,
            "blocks": list(text.settled),
            "open": text.open,
            "note": _note(progress),
            "activity": render.activity(progress.tool_activity),
            "error": progress.error,
        }


def _note(progress: Progress) -> str:
    if progress.state != "waiting":
        return ""
    if progress.ahead:
        return words.AHEAD.format(count=progress.ahead)
    return progress.note or words.WAITING
