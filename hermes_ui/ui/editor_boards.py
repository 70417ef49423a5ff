"""The editor's own markup: its head, its lists, its history. All text is escaped here.

A button names what it does in `data-act` and, where it needs one, its object in `data-key`;
`editor.js` turns a click into an event of the board.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from html import escape
from typing import Any

from hermes_ui.catalog import PersonaVersion
from hermes_ui.ui import persona_words as words
from hermes_ui.ui.gallery_cards import portrait

SHORT = 7  # characters of a hash that people read
ITEMS_SHOWN = 200  # of a list, around the open one
LONG_DATA = re.compile(r"(data:[\w/+.-]+;base64,)[A-Za-z0-9+/=]{40,}")


def button(label: str, act: str, **options: Any) -> str:
    """A button; `options`: key, event, kind (its class), name (its accessible name), off."""
    extra = f' data-key="{escape(str(options["key"]))}"' if "key" in options else ""
    extra += f' data-event="{options["event"]}"' if "event" in options else ""
    extra += f' class="pe-{options["kind"]}"' if "kind" in options else ""
    if "name" in options:
        extra += f' aria-label="{escape(options["name"])}" title="{escape(options["name"])}"'
    extra += " disabled" if options.get("off") else ""
    return f'<button type="button" data-act="{act}"{extra}>{label}</button>'


def head(
    *,
    name: str,
    avatar: str,
    state: str,
    kind: str,
    notice: str,
    actions: str,
    broken: str,
    goes: bool,
) -> str:
    """The bar on top. `kind` is "good", "open" or "bad"; `goes` starts the chat in the page."""
    told = f'<div class="pe-notice" role="status">{notice}</div>' if notice else ""
    back = button("←", "close", event="closed", kind="back", name=words.BACK)
    return (
        f'<div class="pe-head" data-broken="{escape(broken)}" data-goes="{goes or ""}">'
        f'<div class="pe-bar">{back}{portrait(name, avatar)}'
        f'<div class="pe-who"><h2><bdi>{escape(name or words.UNNAMED)}</bdi></h2>'
        f'<p class="pe-state is-{kind}" role="status">{escape(state)}</p></div>'
        f'<div class="pe-acts">{actions}</div></div>{told}'
        f'<div class="pe-switch" role="group" aria-label="{words.VIEW}">'
        f'<button type="button" data-side="form" aria-pressed="true">{words.FORM}</button>'
        f'<button type="button" data-side="yaml" aria-pressed="false">{words.YAML}</button></div>'
        "</div>"
    )


def notice(text: str, *buttons: str) -> str:
    """One line that tells what happened, with what can be done about it."""
    return f"<span>{escape(text)}</span>{''.join(buttons)}"


def waiting(why: str) -> str:
    """Why the form cannot follow the YAML, or nothing."""
    if not why:
        return ""
    return f'<p class="pe-waits" role="status"><strong>{words.WAITS}</strong> {escape(why)}</p>'


def yaml_lines(problems: Sequence[tuple[int | None, str]], text: str) -> str:
    """The problems by line; the line is quoted where the text has it."""
    lines = text.splitlines()
    rows = []
    for number, why in problems:
        said = lines[number - 1].strip() if number and number <= len(lines) else ""
        where = f"<strong>{words.LINE.format(line=number)}</strong> " if number else ""
        quoted = f"<code>{escape(said[:120])}</code>" if said else ""
        rows.append(f"<li>{where}{escape(why)}{quoted}</li>")
    return f'<ul class="pe-lines" role="status">{"".join(rows)}</ul>' if rows else ""


def picture(name: str, avatar: str) -> str:
    """The picture in the form, with its button to take it away."""
    drop = button(words.DROP_PICTURE, "drop") if avatar else ""
    return f'<div class="pe-picture">{portrait(name, avatar)}{drop}</div>'


def meter(parts: Mapping[str, int], context: int) -> str:
    """How many tokens each part of the persona takes of every prompt."""
    if not parts:
        return ""
    total = sum(parts.values())
    share = f"--of:{min(100.0, 100 * total / context):.2f}%"
    rows = "".join(f"<li>{escape(name)} <b>{count:,}</b></li>" for name, count in parts.items())
    return (
        f'<div class="pe-meter"><p>{words.TOKENS.format(total=total, context=context)}</p>'
        f'<span class="pe-gauge" style="{share}" aria-hidden="true"></span><ul>{rows}</ul></div>'
    )


def entries(items: Sequence[Any], at: int, bad: set[int], turn: int) -> str:
    """The lore entries as a list to choose from; `turn` differs after each act on it."""
    rows = [_entry_row(item, index, at, index in bad) for index, item in _shown(items, at)]
    return _list(words.ENTRIES, rows, len(items), turn, words.ADD_ENTRY, words.NO_ENTRIES)


def greetings(items: Sequence[Any], at: int, bad: set[int], turn: int) -> str:
    """The alternate greetings as a list to choose from."""
    rows = []
    for index, item in _shown(items, at):
        name = words.ALTERNATE_NUMBER.format(number=index + 1)
        line = " ".join(str(item).split())[:90] or words.EMPTY
        rows.append(_row(name, line, "", index, at, is_bad=index in bad))
    return _list(words.ALTERNATES, rows, len(items), turn, words.ADD_GREETING, words.NO_ALTERNATES)


def history(versions: Sequence[PersonaVersion], compared: str, diff: str) -> str:
    """Every version, newest first; under the compared one what differs from the current."""
    if not versions:
        return f'<p class="pe-none">{words.NO_HISTORY}</p>'
    rows = "".join(_version(each, diff if each.digest == compared else "") for each in versions)
    return f'<p class="pe-hint">{words.HISTORY_HINT}</p><ol class="pe-history">{rows}</ol>'


def unified(old: str, new: str, old_name: str, new_name: str) -> str:
    """What changed between two texts, as coloured lines."""
    lines = difflib.unified_diff(
        _folded(old).splitlines(),
        _folded(new).splitlines(),
        old_name,
        new_name,
        lineterm="",
    )
    rows = [_diff_line(line) for line in lines]
    if not rows:
        return f'<p class="pe-none">{words.NO_DIFFERENCE}</p>'
    return (
        f'<pre class="pe-diff" tabindex="0" aria-label="{words.DIFFERENCES}">{"".join(rows)}</pre>'
    )


def _shown(items: Sequence[Any], at: int) -> list[tuple[int, Any]]:
    first = max(0, min(at - ITEMS_SHOWN // 2, len(items) - ITEMS_SHOWN))
    return list(enumerate(items))[first : first + ITEMS_SHOWN]


def _list(title: str, rows: Sequence[str], count: int, turn: int, add: str, none: str) -> str:
    note = words.SOME_SHOWN.format(shown=len(rows), count=count) if len(rows) < count else ""
    body = (
        f'<ol class="pe-items">{"".join(rows)}</ol>' if rows else f'<p class="pe-none">{none}</p>'
    )
    return (
        f'<div class="pe-list" data-turn="{turn}"><div class="pe-list-head"><h4>{title}'
        f' <span class="pe-count">{count}</span></h4>{button(add, "add", kind="add")}</div>'
        f'{body}<p class="pe-hint">{note}</p></div>'
    )


def _entry_row(item: Any, index: int, at: int, is_bad: bool) -> str:
    fields = item if isinstance(item, dict) else {}
    keys = fields.get("keys")
    said = ", ".join(map(str, keys)) if isinstance(keys, list) and keys else ""
    name = str(fields.get("name") or said or words.ENTRY_NUMBER.format(number=index + 1))
    line = " ".join(str(fields.get("content") or "").split())[:90] or words.EMPTY
    is_on = str(fields.get("enabled", True)).lower() != "false"
    toggle = (
        f'<button type="button" role="switch" class="pe-toggle" data-act="toggle" '
        f'data-key="{index}" aria-checked="{str(is_on).lower()}" '
        f'aria-label="{escape(words.USE_ENTRY.format(name=name))}"></button>'
    )
    return _row(name, line, toggle, index, at, is_bad=is_bad, is_on=is_on)


def _row(
    name: str,
    line: str,
    extra: str,
    index: int,
    at: int,
    *,
    is_bad: bool,
    is_on: bool = True,
) -> str:
    marks = (" is-open" if index == at else "") + (" is-bad" if is_bad else "")
    marks += "" if is_on else " is-off"
    current = ' aria-current="true"' if index == at else ""
    up = button(
        "↑", "up", key=index, kind="icon", name=words.MOVE_UP.format(name=name), off=not index
    )
    remove = button("×", "remove", key=index, kind="icon", name=words.REMOVE.format(name=name))
    return (
        f'<li class="pe-item{marks}"><button type="button" class="pe-pick" data-act="open" '
        f'data-key="{index}"{current}><b>{escape(name[:80])}</b><span>{escape(line)}</span></button>'
        f"{extra}{up}{remove}</li>"
    )


def _version(version: PersonaVersion, diff: str) -> str:
    short = version.digest[:SHORT]
    if version.created_at is None:
        when = words.BUILT_IN
    else:
        moment = version.created_at.replace(tzinfo=version.created_at.tzinfo or UTC)
        when = f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M} UTC</time>'
    if version.current:
        acts = f'<span class="pe-badge">{words.CURRENT}</span>'
    else:
        name = words.COMPARE_NAME.format(version=short)
        acts = button(words.COMPARE, "compare", key=version.digest, name=name)
        name = words.REVERT_NAME.format(version=short)
        acts += button(words.REVERT, "revert", key=version.digest, event="stored", name=name)
    return (
        f'<li><div class="pe-version"><span>{when}</span><code>{short}</code>'
        f'<span class="pe-gap"></span>{acts}</div>{diff}</li>'
    )


def _diff_line(line: str) -> str:
    kinds = {"+++": "file", "---": "file", "@@ ": "place", "+": "new", "-": "old"}
    kind = kinds.get(line[:3]) or kinds.get(line[:1]) or "same"
    return f'<span class="is-{kind}">{escape(line)}\n</span>'


def _folded(text: str) -> str:
    return LONG_DATA.sub(r"\1…", text)
