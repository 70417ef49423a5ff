"""Messages as HTML. Whatever people, personas and models wrote is escaped or rendered here."""

import hashlib
from collections.abc import Sequence
from html import escape

from hermes_ui.ui import icons, markdown, words
from hermes_ui.ui.gallery_cards import HUES, monogram
from storage.rows import MessageRow


def message(row: MessageRow, *, name: str, digest: str, siblings: tuple[int, Sequence[str]]) -> str:
    """One message as an `<article>`.

    Args:
        name: Who speaks: the persona's or the user's name.
        digest: The persona version whose picture is shown; "" for the user.
        siblings: The place of this swipe among its siblings' ids, from 0.
    """
    if row.role == "tool":
        return _tool_results(row, name)
    side = "user" if row.role == "user" else "persona"
    if row.tool_calls and not row.content.strip():
        side += " wordless"
    label = escape(words.MESSAGE_OF.format(name=name))
    return (
        f'<article class="message {side}" data-id="{row.id}" aria-label="{label}">'
        f"{avatar(name, digest)}"
        f'<div class="bubble"><header><bdi class="name">{escape(name)}</bdi>{_badge(row)}</header>'
        f'<div class="text" dir="auto">{_text(row)}</div>'
        f"{_actions(row, siblings)}</div></article>"
    )


def avatar(name: str, digest: str) -> str:
    """A round picture, which the page's script fills in, over the name's first letters."""
    hue = HUES[hashlib.sha256(name.encode()).digest()[0] % len(HUES)]
    picture = f' data-avatar="{escape(digest)}"' if digest else ""
    return (
        f'<span class="avatar" style="--hue:{hue}"{picture} aria-hidden="true">'
        f"{escape(monogram(name))}</span>"
    )


def live(name: str, digest: str) -> str:
    """The frame of a reply being written; the page's script puts the text into it."""
    label = escape(words.WRITING.format(name=name))
    return (
        f'<article class="message persona live" aria-label="{label}" aria-busy="true">'
        f'{avatar(name, digest)}<div class="bubble"><header><bdi class="name">{escape(name)}</bdi>'
        '<span class="note"></span></header><div class="activity"></div>'
        '<div class="text" dir="auto"></div></div></article>'
    )


def played(row: MessageRow, *, name: str, digest: str, text: str) -> str:
    """One message of a replay, as far as it was said."""
    if row.role == "tool":
        return _tool_results(row, name)
    side = "user" if row.role == "user" else "persona"
    return (
        f'<article class="message {side}">{avatar(name, digest)}'
        f'<div class="bubble"><header><bdi class="name">{escape(name)}</bdi></header>'
        f'<div class="text" dir="auto">{markdown.render(text)}</div></div></article>'
    )


def activity(lines: Sequence[str]) -> str:
    """What tools have answered so far, as chips."""
    return "".join(f'<p class="tool">{icons.TOOL}<code>{escape(line)}</code></p>' for line in lines)


def _text(row: MessageRow) -> str:
    if row.content.strip():
        return markdown.render(row.content)
    return "" if row.tool_calls else f'<p class="quiet">{words.EMPTY_REPLY}</p>'


def _tool_results(row: MessageRow, name: str) -> str:
    lines = [f"{result['name']} → {result['content']}" for result in row.tool_results]
    return f'<div class="tools" data-id="{row.id}">{activity(lines)}</div>'


def _badge(row: MessageRow) -> str:
    said = {
        "cancelled": words.STOPPED,
        "interrupted": words.INTERRUPTED,
        "length": words.CUT.format(count=row.completion_tokens)
        if row.completion_tokens
        else words.CUT_SOMEWHERE,
    }.get(row.finish_reason or "")
    if not said:
        return ""
    go_on = (
        f'<button type="button" class="link" data-action="resume">{words.CONTINUE}</button>'
        if row.finish_reason != "cancelled"
        else ""
    )
    return f'<span class="badge">{said}</span>{go_on}'


def _actions(row: MessageRow, siblings: tuple[int, Sequence[str]]) -> str:
    generated = row.finish_reason is not None
    buttons = [button("copy", words.COPY, icons.COPY), button("edit", words.EDIT, icons.EDIT)]
    if row.role == "assistant" and not row.tool_calls and row.parent_id is not None:
        buttons.append(button("regenerate", words.REGENERATE, icons.REGENERATE))
        buttons.append(button("resume", words.CONTINUE, icons.CONTINUE))
    buttons.append(button("delete", words.DELETE, icons.DELETE))
    if generated:
        buttons.append(button("seal", words.DETAILS, icons.INFO, 'aria-expanded="false"'))
    return (
        f'<div class="actions" role="group" aria-label="{words.ACTIONS}">'
        f'{swipes(*siblings)}{"".join(buttons)}</div><div class="seal" hidden></div>'
    )


def swipes(index: int, ids: Sequence[str]) -> str:
    """‹ 2/3 ›, or nothing where there is one version only."""
    if len(ids) < 2:
        return ""
    before = ids[index - 1] if index > 0 else ""
    after = ids[index + 1] if index + 1 < len(ids) else ""
    label = words.SWIPE_OF.format(index=index + 1, count=len(ids))
    return (
        f'<span class="swipes" role="group" aria-label="{label}">'
        f"{_swipe(before, words.PREVIOUS_SWIPE, icons.BACK)}"
        f"<span>{index + 1}/{len(ids)}</span>"
        f"{_swipe(after, words.NEXT_SWIPE, icons.FORWARD)}</span>"
    )


def _swipe(message_id: str, label: str, icon: str) -> str:
    return button("switch", label, icon, f'data-to="{message_id}"' if message_id else "disabled")


def button(action: str, label: str, icon: str, more: str = "") -> str:
    """A quiet icon button that the page's script listens to."""
    return (
        f'<button type="button" class="quiet-button" data-action="{action}" '
        f'aria-label="{label}" title="{label}" {more}>{icon}</button>'
    )
