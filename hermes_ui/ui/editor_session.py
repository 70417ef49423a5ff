"""One persona being edited: the form and the YAML as two views of one text.

Every event of the page brings all that the page shows and the number of the answer it
last got. What differs from that answer is what the user did; what merely is old is not.
So edits survive slow networks, answers out of order and a restarted server.
"""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hermes_ui.errors import PersonaError
from hermes_ui.personas import draft
from hermes_ui.personas.persona import Problem
from hermes_ui.personas.yaml_io import json_value
from hermes_ui.ui import editor_fields
from hermes_ui.ui import persona_words as words
from hermes_ui.ui.editor_fields import ENTRY, GREETING, Field, Path

ANSWERS_KEPT = 40
ALTERNATE = Field(GREETING, (), "text", words.ALTERNATE, words.ALTERNATE_HELP, "")
ENTRY_FIELDS = editor_fields.entry_fields()
FIELDS: dict[str, Field] = {
    **editor_fields.persona_fields(),
    **editor_fields.lorebook_fields(),
    **editor_fields.sampling_fields(),
    **ENTRY_FIELDS,
    GREETING: ALTERNATE,
}
LISTS: dict[str, Path] = {ENTRY: ("lorebook", "entries"), GREETING: ("alternate_greetings",)}


def path_of(problem: Problem) -> Path:
    """The problem's dotted field as steps."""
    steps = (problem.field or "").split(".") if problem.field else []
    return tuple(int(step) if step.isdecimal() else step for step in steps)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page showed after one answer."""

    text: str
    values: Mapping[str, Any]
    at: Mapping[str, int]


class Session:
    """The state of one open editor. `lock` guards it: a browser may send events side by side."""

    def __init__(self, slug: str, saved: str, text: str) -> None:
        self.lock = threading.RLock()
        self.slug = slug
        self.saved = saved  # the text of the current version; "" while there is none
        self.text = text
        self.removed = False
        self.touched = False
        self.notice = ""
        self.number = 0
        self.at = {ENTRY: 0, GREETING: 0}
        self.fields: dict[str, Any] = {}
        self.broken: PersonaError | None = None
        self.unread: dict[str, str] = {}  # control → why its content means nothing yet
        self._before: list[str] = []  # texts to go back to
        self._waiting: dict[str, tuple[Path, Any]] = {}  # edits made while the text is broken
        self._answers: OrderedDict[int, Answer] = OrderedDict()
        self._shown: dict[str, Any] = {}
        self._shown_text = ""
        self._load(text)

    @property
    def dirty(self) -> bool:
        """Whether something here is not in the current version."""
        return self.text.strip() != self.saved.strip() or bool(self.unread)

    @property
    def can_undo(self) -> bool:
        """Whether there is a text to go back to."""
        return bool(self._before)

    def items(self, which: str) -> list[Any]:
        """The lore entries or the alternate greetings, as the text has them."""
        found = _get(self.fields, LISTS[which])
        return list(found) if isinstance(found, list) else []

    @property
    def mark(self) -> str:
        """What the page hands back with every event: the answer's number and what is open."""
        return "/".join(map(str, (self.number, self.at[ENTRY], self.at[GREETING])))

    def merge(self, mark: str, text: str, values: Mapping[str, Any]) -> bool:
        """Take over what the user did since the answer of `mark`; True if another came since."""
        number, entry, greeting = (int(each) if each.isdecimal() else 0 for each in _three(mark))
        is_late = number != self.number
        answer = self._answers.get(number)
        if answer is None:  # the server was restarted under an open page
            self.at = {ENTRY: entry, GREETING: greeting}
            self._load(text)
            answer = Answer(text, self._all_shown(), dict(self.at))
        if text.strip() != answer.text.strip():  # Gradio strips what its code box shows
            self.touched = True
            self._load(text)
        for name, value in values.items():
            if value != answer.values.get(name):
                self._edit(FIELDS[name], self._path(name, answer.at), value)
        self._shown, self._shown_text = dict(values), text
        return is_late

    def answer(self) -> tuple[str | None, dict[str, Any]]:
        """The text, if the page shows another, and the controls that must change."""
        text = None if self.text.strip() == self._shown_text.strip() else self.text
        changed = {} if self.broken else self._stale()
        self._shown |= changed
        self._shown_text = self.text
        self.number += 1
        self._answers[self.number] = Answer(self.text, dict(self._shown), dict(self.at))
        while len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return text, changed

    def write(self, text: str) -> None:
        """Put another text in place of this one."""
        self.unread.clear()
        self._waiting.clear()
        self._load(text)

    def lay_aside(self) -> bool:
        """Keep what is not saved for `undo`; whether there is such a thing."""
        if self.dirty:
            self._before.append(self.text)
        return self.dirty

    def set(self, path: Path, value: Any) -> None:
        """Change one value of the persona; nothing happens while the text is broken."""
        if not self.broken:
            self._store(path, value)

    def take_page(self, other: "Session") -> None:
        """Go on in the page that `other` was shown in."""
        self.number = other.number
        self._shown, self._shown_text = dict(other._shown), other._shown_text
        self.touched = True

    def act(self, which: str, action: str, index: int) -> None:
        """Add, remove, move, open or switch one lore entry or alternate greeting."""
        items = self.items(which)
        if self.broken or (action != "add" and not 0 <= index < len(items)):
            return
        actions: dict[str, Callable[[list[Any], int], int]] = {
            "add": _add_entry if which == ENTRY else _add_greeting,
            "remove": _remove,
            "up": _up,
            "down": _down,
            "toggle": _toggle,
        }
        if action in actions:
            before = self.text
            self.at[which] = actions[action](items, index)
            self._store(LISTS[which], items or None)
            if action == "remove":
                self._before.append(before)
        else:
            self.at[which] = index
        for name in [name for name in self.unread if name.startswith(which)]:
            del self.unread[name]

    def undo(self) -> None:
        """Take back the last removal, or bring back what was laid aside."""
        if self._before:
            self.write(self._before.pop())

    def errors(self, problems: list[Problem]) -> dict[str, str]:
        """What is wrong with the controls, by the control's name."""
        errors: dict[str, str] = {}
        for problem in problems:
            name = self.control_of(path_of(problem))
            if name:
                errors.setdefault(name, problem.why)
        return errors | self.unread

    def control_of(self, path: Path) -> str:
        """The control that shows the value at `path` now, or nothing."""
        for which, head in LISTS.items():
            if path[: len(head)] == head and len(path) > len(head):
                if path[len(head)] != self.at[which]:
                    return ""
                rest = path[len(head) + 1 :]
                name = which if which == GREETING else f"{ENTRY}.{rest[0] if rest else ''}"
                return name if name in FIELDS else ""
        for name in (".".join(map(str, path[:2])), str(path[0]) if path else ""):
            if name in FIELDS:
                return name
        return ""

    def _load(self, text: str) -> None:
        self.text = text
        before = self.fields
        try:
            self.fields = draft.read(text)
        except PersonaError as error:
            self.broken = error
            return
        self.broken = None
        for name in list(self.unread):
            top = FIELDS[name].path[0] if FIELDS[name].path else name
            if self.fields.get(str(top)) != before.get(str(top)):
                del self.unread[name]
        waiting, self._waiting = self._waiting, {}
        for name, (path, value) in waiting.items():
            self._edit(FIELDS[name], path, value)
        for which in LISTS:
            self.at[which] = max(0, min(self.at[which], len(self.items(which)) - 1))

    def _path(self, name: str, at: Mapping[str, int]) -> Path:
        if name == GREETING:
            return (*LISTS[GREETING], at[GREETING])
        if name in ENTRY_FIELDS:
            return (*LISTS[ENTRY], at[ENTRY], *FIELDS[name].path)
        return FIELDS[name].path

    def _edit(self, field: Field, path: Path, shown: Any) -> None:
        self.touched = True
        if self.broken:
            self._waiting[field.name] = (path, shown)
            return
        try:
            value = field.read(shown)
        except ValueError as error:
            self.unread[field.name] = str(error)
            return
        self.unread.pop(field.name, None)
        if field.name == GREETING:
            value = value or ""
        self._store(path, value)

    def _store(self, path: Path, value: Any) -> None:
        self.touched = True
        fields = copy.deepcopy(self.fields)
        if not _put(fields, path, value):
            return
        top = str(path[0])
        value = fields.get(top)
        if value in ({}, []):
            value = None
        self.text, self.fields = draft.with_field(self.text, self.fields, top, value)

    def _stale(self) -> dict[str, Any]:
        """The controls that say something else than the text, with what they should say."""
        changed = {}
        for name, field in FIELDS.items():
            if name in self.unread:
                continue
            stored = _get(self.fields, self._path(name, self.at))
            if name in self._shown and field.holds(self._shown[name], stored):
                continue
            try:
                changed[name] = field.show(stored)
            except ValueError:  # the control stays as it is; the problem is told beside it
                if name not in self._shown:
                    changed[name] = field.show(None)
        return changed

    def _all_shown(self) -> dict[str, Any]:
        self._shown = {}
        return self._stale()


def _three(mark: str) -> list[str]:
    return [*mark.split("/"), "", "", ""][:3]


def _get(fields: Any, path: Path) -> Any:
    for step in path:
        is_in = isinstance(fields, dict) and step in fields
        if not is_in and not (isinstance(fields, list) and step in range(len(fields))):
            return None
        fields = fields[step]
    return fields


def _put(fields: Any, path: Path, value: Any) -> bool:
    """Write `value` at `path`, in place; None takes it away. False where there is no such place."""
    *way, last = path
    for step in way:
        if isinstance(fields, dict):
            if not isinstance(fields.get(step), dict | list):
                fields[step] = {}
            fields = fields[step]
        elif isinstance(fields, list) and isinstance(step, int) and step < len(fields):
            fields = fields[step]
        else:
            return False
    if isinstance(fields, dict):
        if value is None:
            fields.pop(last, None)
        else:
            fields[last] = value
        return True
    if isinstance(fields, list) and isinstance(last, int) and last < len(fields):
        fields[last] = value
        return True
    return False


def _add_entry(items: list[Any], _: int) -> int:
    items.append({"keys": [words.NEW_KEY], "content": ""})
    return len(items) - 1


def _add_greeting(items: list[Any], _: int) -> int:
    items.append("")
    return len(items) - 1


def _remove(items: list[Any], index: int) -> int:
    del items[index]
    return max(0, index - 1) if index == len(items) else index


def _up(items: list[Any], index: int) -> int:
    other = max(0, index - 1)
    items[index], items[other] = items[other], items[index]
    return other


def _down(items: list[Any], index: int) -> int:
    other = min(len(items) - 1, index + 1)
    items[index], items[other] = items[other], items[index]
    return other


def _toggle(items: list[Any], index: int) -> int:
    entry = items[index]
    if isinstance(entry, dict):
        was_on = json_value(entry.get("enabled", True)) is not False
        rest = {key: value for key, value in entry.items() if key != "enabled"}
        items[index] = rest | {"enabled": False} if was_on else rest
    return index
