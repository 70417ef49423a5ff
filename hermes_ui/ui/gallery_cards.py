"""The gallery's markup. Every word of a persona is escaped here and nowhere else.

The markup goes into `gr.HTML` as its value, never through its template: the template
language runs `${…}` as code.
"""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from html import escape

from hermes_ui.catalog import CatalogEntry
from hermes_ui.errors import PersonaError
from hermes_ui.personas.persona import Persona
from hermes_ui.ui import persona_words as words

TAGLINE_CHARS = 150
HUES = (8, 28, 152, 174, 196, 216, 238, 262, 288, 322, 344)
CHIPS_ON_CARD = 4
CHIPS_ON_TOP = 16
PICTURE = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+\Z")
SENTENCE = re.compile(r".+?[.!?…](?=\s|$)", re.DOTALL)
MACRO = re.compile(r"\{\{\s*(\w+)[^{}]*\}\}|<(user|char|bot)>", re.IGNORECASE)


def gallery(
    entries: Sequence[CatalogEntry], avatars: Sequence[str], broken: Sequence[PersonaError]
) -> str:
    """The whole gallery as HTML; `avatars` are data URLs or empty, one for each entry."""
    cards = "".join(_card(entry, avatar) for entry, avatar in zip(entries, avatars, strict=True))
    return (
        f'<div class="pg" data-close="{words.CLOSE}">{_tools(entries)}'
        f'<ul class="pg-grid" aria-label="{words.GRID}">{cards}{_new_card()}</ul>'
        f"{_nothing_found()}{_broken(broken)}</div>"
    )


def tagline(persona: Persona) -> str:
    """One line about the persona: its creator's notes, else its first sentence."""
    for source in (persona.creator_notes, persona.description):
        text = " ".join(_spoken(source, persona).split())
        if text:
            first = SENTENCE.match(text)
            line = first.group() if first else text
            return line if len(line) <= TAGLINE_CHARS else line[: TAGLINE_CHARS - 1].rstrip() + "…"
    return ""


def monogram(name: str) -> str:
    """One or two letters for a persona without a picture."""
    parts = [part for part in re.split(r"[\W_]+", name) if part]
    letters = [part[0].upper() for part in (parts[:1] + parts[1:][-1:])]
    return unicodedata.normalize("NFC", "".join(letters)) or "?"


def portrait(name: str, avatar: str) -> str:
    """The picture as HTML, or the monogram on a colour of its own."""
    if PICTURE.match(avatar):
        return f'<img class="pg-face" src="{avatar}" alt="" decoding="async">'
    hue = HUES[hashlib.sha256(name.encode()).digest()[0] % len(HUES)]
    return (
        f'<span class="pg-face pg-mono" style="--hue:{hue}" aria-hidden="true">'
        f"{escape(monogram(name))}</span>"
    )


def _spoken(text: str, persona: Persona) -> str:
    """`text` with its names filled in; other macros fall silent on a card."""

    def replace(match: re.Match[str]) -> str:
        word = (match.group(1) or match.group(2)).lower()
        return {"char": persona.display_name, "bot": persona.display_name, "user": "you"}.get(
            word, ""
        )

    return MACRO.sub(replace, text)


def _tools(entries: Sequence[CatalogEntry]) -> str:
    spelled: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for entry in entries:
        for tag in {each.casefold(): each for each in entry.persona.tags}.items():
            spelled.setdefault(*tag)
            counts[tag[0]] += 1
    chips = "".join(
        f'<button type="button" class="pg-chip" aria-pressed="false" data-tag="{escape(tag)}">'
        f"{escape(spelled[tag])}</button>"
        for tag, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:CHIPS_ON_TOP]
    )
    row = f'<div class="pg-tags" role="group" aria-label="{words.TAGS}">{chips}</div>'
    return (
        '<div class="pg-tools"><label class="pg-search">'
        f'<span class="pg-quiet">{words.SEARCH}</span>'
        '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="9" cy="9" r="5.5"/>'
        '<path d="m13.2 13.2 4 4"/></svg>'
        f'<input type="search" autocomplete="off" spellcheck="false" '
        f'placeholder="{words.SEARCH_HINT}"></label>{row if chips else ""}'
        '<p class="pg-quiet" role="status"></p></div>'
    )


def _card(entry: CatalogEntry, avatar: str) -> str:
    persona = entry.persona
    name = escape(persona.name)
    tags = [tag.casefold() for tag in persona.tags]
    line = tagline(persona)
    find = " ".join([persona.name, persona.nickname, entry.slug, line, *tags]).casefold()
    badge = {"yours": words.YOURS, "edited": words.EDITED}.get(entry.origin, "")
    mark = f'<span class="pg-badge">{badge}</span>' if badge else ""
    shown = escape(line) or f"<em>{words.NO_TAGLINE}</em>"
    chat = escape(words.CHAT_WITH.format(name=persona.name))
    return (
        f'<li class="pg-card" data-slug="{escape(entry.slug)}" data-find="{escape(find)}" '
        f'data-tags="{escape(json.dumps(tags))}">'
        f'<div class="pg-head">{portrait(persona.name, avatar)}<div class="pg-title">'
        f'<h3><button type="button" class="pg-open" data-act="chosen" aria-label="{chat}">'
        f'<bdi>{name}</bdi></button></h3><p class="pg-facts">{mark}{_facts(persona)}</p>'
        f"</div></div>"
        f'<p class="pg-line">{shown}</p>{_chips(persona.tags)}{_foot(persona)}'
        f'<div class="pg-said" hidden>{_greeting(persona)}</div></li>'
    )


def _facts(persona: Persona) -> str:
    facts = [words.greetings_of(1 + len(persona.alternate_greetings))] if persona.greeting else []
    entries = persona.lorebook.entries if persona.lorebook else ()
    if entries:
        facts.append(words.lore_of(len(entries)))
    return " · ".join(facts)


def _chips(tags: Sequence[str]) -> str:
    chips = [f"<li>{escape(tag)}</li>" for tag in tags[:CHIPS_ON_CARD]]
    if len(tags) > CHIPS_ON_CARD:
        rest = escape(", ".join(tags[CHIPS_ON_CARD:]))
        chips.append(f'<li title="{rest}">+{len(tags) - CHIPS_ON_CARD}</li>')
    return f'<ul class="pg-chips">{"".join(chips)}</ul>'


def _foot(persona: Persona) -> str:
    preview = escape(words.PREVIEW_NAME.format(name=persona.name))
    edit = escape(words.EDIT_NAME.format(name=persona.name))
    return (
        f'<div class="pg-foot"><span class="pg-go" aria-hidden="true">{words.CHAT}</span>'
        f'<button type="button" data-act="previewed" aria-label="{preview}">'
        f"{words.PREVIEW}</button>"
        f'<button type="button" data-act="edited" aria-label="{edit}">{words.EDIT}</button></div>'
    )


def _greeting(persona: Persona) -> str:
    text = _spoken(persona.greeting, persona).strip()
    said = escape(text) if text else f"<em>{words.NO_GREETING}</em>"
    return f"<h4>{words.GREETING}</h4><blockquote>{said}</blockquote>"


def _new_card() -> str:
    return (
        '<li class="pg-card pg-new"><button type="button" class="pg-open" data-act="created">'
        f'<span class="pg-plus" aria-hidden="true">+</span><strong>{words.NEW}</strong>'
        f"<span>{words.NEW_HINT}</span></button></li>"
    )


def _nothing_found() -> str:
    return (
        f'<div class="pg-none" hidden><strong>{words.NOTHING_FOUND}</strong>'
        f"<p>{words.NOTHING_FOUND_HINT}</p>"
        f'<button type="button" data-act="cleared">{words.CLEAR}</button></div>'
    )


def _broken(broken: Sequence[PersonaError]) -> str:
    if not broken:
        return ""
    title = words.BROKEN_ONE if len(broken) == 1 else words.BROKEN_MANY.format(count=len(broken))
    rows = "".join(
        f"<li><code>{escape(error.where)}</code> {escape(error.why)}</li>" for error in broken
    )
    return (
        f'<section class="pg-broken"><h3>{title}</h3><p>{words.BROKEN_HINT}</p>'
        f"<ul>{rows}</ul></section>"
    )
