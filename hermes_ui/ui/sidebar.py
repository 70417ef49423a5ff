"""The list of conversations: found by title, grouped by day, deleted and restored."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import escape

from hermes_ui.chat import ChatService
from hermes_ui.ui import icons, render, words
from hermes_ui.ui.bridge import Action, Answer, Fields
from storage.rows import ConversationRow

PAGE_CONVERSATIONS = 40
MOST_CONVERSATIONS = 1000


def actions(chat: ChatService) -> dict[str, Action]:
    """What the script may ask for, by name."""

    def conversations(owner: str, fields: Fields) -> Answer:
        query, deleted = fields.text("query"), fields.text("list") == "deleted"
        limit = min(fields.number("limit") or PAGE_CONVERSATIONS, MOST_CONVERSATIONS)
        rows = chat.store.conversations(owner, query=query, limit=limit + 1, deleted=deleted)
        offset = timedelta(minutes=fields.number("offset") or 0)
        names = {row.id: _persona_name(chat, owner, row) for row in rows}
        return {
            "html": listing(rows[:limit], names, now=datetime.now(UTC), offset=offset)
            if rows
            else nothing(query=query, deleted=deleted),
            "more": len(rows) > limit,
            "limit": limit,
            "page": PAGE_CONVERSATIONS,
            "more_label": words.SHOW_MORE,
        }

    def rename(owner: str, fields: Fields) -> Answer:
        named = chat.rename(owner, fields.text("conversation"), fields.text("title"))
        return {"title": named.title}

    def remove(owner: str, fields: Fields) -> Answer:
        title = chat.store.conversation(owner, fields.text("conversation")).title
        chat.store.delete_conversation(owner, fields.text("conversation"))
        return {"notice": words.DELETED_CHAT.format(title=title or words.UNTITLED)}

    def restore(owner: str, fields: Fields) -> Answer:
        chat.store.restore_conversation(owner, fields.text("conversation"))
        title = chat.store.conversation(owner, fields.text("conversation")).title
        return {"notice": words.RESTORED.format(title=title or words.UNTITLED)}

    return {
        "conversations": conversations,
        "rename": rename,
        "remove": remove,
        "restore": restore,
    }


def listing(
    rows: Sequence[ConversationRow],
    persona_names: dict[str, str],
    *,
    now: datetime,
    offset: timedelta,
) -> str:
    """The rows under their days' headings. `offset` leads from UTC to the reader's clock."""
    parts: list[str] = []
    heading = ""
    for row in rows:
        group = "" if row.deleted_at else _group(row.updated_at, now, offset)
        if group != heading:
            parts.append(f"{'</ul>' if parts else ''}<h3>{group}</h3><ul>")
        elif not parts:
            parts.append("<ul>")
        heading = group
        parts.append(_row(row, persona_names.get(row.id, ""), now))
    return "".join([*parts, "</ul>"])


def nothing(*, query: str, deleted: bool) -> str:
    """What an empty list says."""
    if query:
        return f'<p class="quiet">{words.NOTHING_FOUND}</p>'
    return f'<p class="quiet">{words.NOTHING_DELETED if deleted else words.NO_CONVERSATIONS}</p>'


def ago(then: datetime, now: datetime) -> str:
    """A short relative time; a date for what is older than a week."""
    seconds = (now - then).total_seconds()
    if seconds < 60:
        return words.NOW
    if seconds < 3600:
        return words.MINUTES.format(int(seconds // 60))
    if seconds < 86400:
        return words.HOURS.format(int(seconds // 3600))
    if seconds < 7 * 86400:
        return then.strftime("%a")
    return then.strftime("%-d %b" if then.year == now.year else "%b %Y")


def _group(then: datetime, now: datetime, offset: timedelta) -> str:
    days = ((now + offset).date() - (then + offset).date()).days
    for limit, name in (
        (0, words.TODAY),
        (1, words.YESTERDAY),
        (7, words.THIS_WEEK),
        (30, words.THIS_MONTH),
    ):
        if days <= limit:
            return name
    return words.EARLIER


def _row(row: ConversationRow, persona_name: str, now: datetime) -> str:
    title = escape(row.title or words.UNTITLED)
    side = (
        f'<button type="button" class="link" data-action="restore">{words.RESTORE}</button>'
        if row.deleted_at
        else render.button(
            "row-menu",
            escape(words.OPTIONS_OF.format(title=row.title)),
            icons.MORE,
            'aria-haspopup="menu"',
        )
    )
    open_or_not = "disabled" if row.deleted_at else ""
    return (
        f'<li class="row" data-conversation="{row.id}">'
        f'<button type="button" class="open" data-action="open" {open_or_not}>'
        f"{render.avatar(persona_name, row.persona_digest)}"
        f'<bdi class="title" dir="auto">{title}</bdi>'
        f'<time datetime="{row.updated_at.isoformat()}">{ago(row.updated_at, now)}</time>'
        f"</button>{side}</li>"
    )


def _persona_name(chat: ChatService, owner: str, row: ConversationRow) -> str:
    return chat.persona_of(owner, row).display_name
