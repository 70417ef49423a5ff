"""What the editor does with a session: open, save, revert, delete, and what the page shows then."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hermes_ui.chat import ChatService
from hermes_ui.errors import EngineNotReady, HermesError
from hermes_ui.personas import persona as personas
from hermes_ui.personas.library import clean_avatar
from hermes_ui.personas.persona import Persona, Problem
from hermes_ui.ui import editor_boards as boards
from hermes_ui.ui import persona_words as words
from hermes_ui.ui.editor_fields import ENTRY, GREETING
from hermes_ui.ui.editor_session import FIELDS, LISTS, Session, path_of

BLANK = "name: ''\ndescription: ''\ngreeting: ''\n"
PICTURE = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]{200,}")
FOLDED = re.compile(r"picture-[0-9a-f]{12}")
METERED = (
    "system_prompt",
    "description",
    "personality",
    "scenario",
    "examples",
    "post_history_instructions",
)
PROBLEMS_SHOWN = 8


@dataclass(slots=True)
class Shown:
    """What must change in the page; None and absent names stay as they are."""

    text: str | None = None
    saved: str | None = None
    picture: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)  # "" takes an error away
    boards: dict[str, str] = field(default_factory=dict)
    parts: dict[str, bool] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """One persona on the desk: the session and what goes with it in this tab."""

    session: Session
    digest: str = ""  # of the current version; "" while there is none
    origin: str = ""
    pictures: dict[str, str] = field(default_factory=dict)  # what stands for a data URL → it
    compared: str = ""
    turn: int = 0  # acts on lists so far
    said: tuple[str, ...] = ()  # the notice: a text and the acts offered with it
    goes: bool = False  # the chat starts once the page has this answer
    told: dict[str, Any] = field(default_factory=dict)  # what the page last got

    def fold(self, text: str) -> str:
        """`text` with a short name in place of each picture's data."""

        def shorten(match: re.Match[str]) -> str:
            name = f"picture-{hashlib.sha256(match.group().encode()).hexdigest()[:12]}"
            self.pictures[name] = match.group()
            return name

        return PICTURE.sub(shorten, text)

    def unfold(self, text: str) -> str:
        """The inverse of `fold`; names that nobody gave stay."""
        return FOLDED.sub(lambda match: self.pictures.get(match.group(), match.group()), text)


class Desk:
    """Opens personas, carries out what the user asks, and says what the page must show."""

    def __init__(self, chat: ChatService) -> None:
        self._chat = chat
        self._catalog = chat.catalog

    def open(self, owner: str, slug: str, stash: str) -> Work:
        """Lay the persona on the desk, with the browser's draft of it if there is one.

        Raises:
            UnknownPersona: it is gone.
        """
        if slug:
            entry = self._catalog.entry(owner, slug)
            work = Work(Session(slug, entry.text, entry.text), entry.digest, entry.origin)
        else:
            work = Work(Session("", "", BLANK))
        work.fold(work.session.text)
        self._restore_draft(work, stash)
        return work

    def merge(self, work: Work, mark: str | None, text: str, values: Mapping[str, Any]) -> bool:
        """Take over what the user did; True when the page has not seen the last answer."""
        return work.session.merge(mark or "", work.unfold(text), values)

    def act(self, owner: str, work: Work, board: str, act: str, key: str) -> None:
        """Carry out what a button asks for; unknown acts are ignored."""
        which = {"entries": ENTRY, "greetings": GREETING}.get(board)
        if which:
            work.said, work.turn = (), work.turn + 1
            work.session.act(which, act, int(key) if key.isdecimal() else 0)
            if act == "remove":
                work.said = (words.ITEM_REMOVED_NOTICE, "undo")
            return
        acts = {
            "save": self._save,
            "chat": self._save_and_go,
            "duplicate": self._duplicate,
            "remove": self._remove,
            "restore": self._restore,
            "revert": self._revert,
            "compare": self._compare,
            "undo": self._undo,
            "discard": self._discard,
            "drop": self._drop_picture,
        }
        if act in acts:
            work.said = () if act != "compare" else work.said
            acts[act](owner, work, key)

    def upload(self, work: Work, data: bytes) -> None:
        """Make a picture the avatar.

        Raises:
            PersonaError: it cannot be used as one.
        """
        work.said = ()
        url = "data:image/webp;base64," + base64.b64encode(clean_avatar(data)).decode()
        work.session.set(("avatar",), url)

    def show(self, owner: str, work: Work, *, anew: bool) -> Shown:
        """What the page must change; all of it when `anew`."""
        session = work.session
        if anew:
            work.told.clear()
        problems = personas.problems(session.text)
        text, values = session.answer()
        shown = Shown(text=None if text is None else work.fold(text), values=values)
        errors = session.errors(problems) if session.touched else {}
        told = {name: why[0].upper() + why[1:] for name, why in errors.items()}
        shown.errors = _changed(work, "error", dict.fromkeys(FIELDS, "") | told)
        shown.boards = _changed(work, "board", self._boards(owner, work, problems))
        shown.parts = _changed(work, "part", {name: bool(session.items(name)) for name in LISTS})
        memory = {"saved": work.fold(session.saved), "picture": self._draft_picture(work)}
        for name, value in _changed(work, "memory", memory).items():
            setattr(shown, name, value)
        work.goes = False
        return shown

    def _boards(self, owner: str, work: Work, problems: list[Problem]) -> dict[str, str]:
        session = work.session
        name = str(session.fields.get("name") or "")
        avatar = self._avatar(session)
        broken = str(session.broken) if session.broken else ""
        bad: dict[str, set[int]] = {which: set() for which in LISTS}
        for problem in problems:
            for which, head in LISTS.items():
                path = path_of(problem)
                if path[: len(head)] == head and len(path) > len(head):
                    bad[which].add(int(path[len(head)]))
        told = problems if session.touched else []
        return {
            "head": self._head(work, problems, name, avatar, broken),
            "waits": boards.waiting(broken),
            "lines": boards.yaml_lines(
                [(each.line, _told(each)) for each in told[:PROBLEMS_SHOWN]],
                work.fold(session.text),
            ),
            "picture": boards.picture(name, avatar),
            "meter": self._meter(session),
            "entries": boards.entries(
                session.items(ENTRY), session.at[ENTRY], bad[ENTRY], work.turn
            ),
            "greetings": boards.greetings(
                session.items(GREETING), session.at[GREETING], bad[GREETING], work.turn
            ),
            "history": self._history(owner, work),
        }

    def _head(
        self, work: Work, problems: list[Problem], name: str, avatar: str, broken: str
    ) -> str:
        session = work.session
        state, kind = _state(work, problems)
        can_save = session.dirty and not problems and not session.unread and not session.removed
        actions = ""
        if session.slug:
            actions += boards.button(words.DUPLICATE, "duplicate", off=bool(broken))
            actions += _removal(work)
        chat = words.SAVE_AND_CHAT if session.dirty else words.START
        ready = bool(session.slug) and not session.dirty and not session.removed
        actions += boards.button(
            chat,
            "chat",
            event="started" if ready else "stored",
            kind="chat",
            off=not ready and not can_save,
        )
        actions += boards.button(
            words.SAVE, "save", event="stored", kind="primary", off=not can_save
        )
        return boards.head(
            name=name,
            avatar=avatar,
            state=state,
            kind=kind,
            notice=_notice(work),
            actions=actions,
            broken=broken,
            goes=work.goes,
        )

    def _avatar(self, session: Session) -> str:
        url = str(session.fields.get("avatar") or "")
        if not url or url.startswith("data:"):
            return url
        if not personas.PICTURE_FILE.fullmatch(url):
            return ""  # not yet a name, while it is typed
        return self._catalog.avatar_url(Persona(name="x", avatar=url))

    def _meter(self, session: Session) -> str:
        try:
            engine = self._chat.host.engine(timeout_s=0)
        except (EngineNotReady, HermesError):
            return ""
        parts = {}
        for name in METERED:
            text = session.fields.get(name)
            if isinstance(text, str) and text.strip():
                parts[FIELDS[name].label] = engine.count_tokens((str(text),))
        return boards.meter(parts, engine.context_length)

    def _history(self, owner: str, work: Work) -> str:
        if not work.session.slug or work.session.removed:
            return boards.history([], "", "")
        versions = self._catalog.versions(owner, work.session.slug)
        diff = ""
        for each in versions:
            if each.digest == work.compared:
                old, new = each.digest[: boards.SHORT], work.digest[: boards.SHORT]
                diff = boards.unified(each.text, work.session.saved, old, new)
        return boards.history(versions, work.compared, diff)

    def _save(self, owner: str, work: Work, _: str) -> None:
        session = work.session
        before = work.digest, session.saved
        entry = self._catalog.save(owner, session.text, slug=session.slug or None)
        session.slug, session.saved, session.removed = entry.slug, entry.text, False
        work.digest, work.origin, work.compared = entry.digest, entry.origin, ""
        is_same = (entry.digest, entry.text) == before
        notice = words.SAME_NOTICE if is_same else words.SAVED_NOTICE
        work.said = (notice.format(version=entry.digest[: boards.SHORT]),)

    def _save_and_go(self, owner: str, work: Work, _: str) -> None:
        self._save(owner, work, "")
        work.goes = True

    def _duplicate(self, owner: str, work: Work, _: str) -> None:
        session = work.session
        name = str(session.fields.get("name") or "")
        copy = Session("", "", session.text)
        copy.set(("name",), words.COPY_OF.format(name=name)[:80])
        copy.take_page(session)
        work.session, work.digest, work.origin, work.compared = copy, "", "", ""

    def _remove(self, owner: str, work: Work, _: str) -> None:
        session = work.session
        name = str(session.fields.get("name") or session.slug)
        was_edited = work.origin == "edited"
        self._catalog.remove(owner, session.slug)
        if was_edited:
            undo = self._reload(owner, work)
            work.said = (words.ORIGINAL_NOTICE.format(name=name), "restore", *undo)
        else:
            session.removed = True
            work.said = (words.REMOVED_NOTICE.format(name=name), "restore")

    def _restore(self, owner: str, work: Work, _: str) -> None:
        self._catalog.restore(owner, work.session.slug)
        undo = self._reload(owner, work)
        name = str(work.session.fields.get("name") or "")
        work.said = (words.RESTORED_NOTICE.format(name=name), *undo)

    def _revert(self, owner: str, work: Work, key: str) -> None:
        self._catalog.revert(owner, work.session.slug, key)
        undo = self._reload(owner, work)
        work.said = (words.REVERTED_NOTICE.format(version=key[: boards.SHORT]), *undo)

    def _reload(self, owner: str, work: Work) -> tuple[str, ...]:
        """Show the current version again; what the notice must offer besides."""
        session = work.session
        undo = ("undo",) if session.lay_aside() else ()
        entry = self._catalog.entry(owner, session.slug)
        session.write(entry.text)
        session.saved, session.removed = entry.text, False
        work.digest, work.origin, work.compared = entry.digest, entry.origin, ""
        return undo

    def _compare(self, _: str, work: Work, key: str) -> None:
        work.compared = "" if work.compared == key else key

    def _undo(self, _owner: str, work: Work, _: str) -> None:
        work.session.undo()

    def _discard(self, _owner: str, work: Work, _: str) -> None:
        work.session.write(work.session.saved or BLANK)
        work.session.touched = False

    def _drop_picture(self, _owner: str, work: Work, _: str) -> None:
        work.session.set(("avatar",), None)

    def _restore_draft(self, work: Work, stash: str) -> None:
        try:
            draft = json.loads(stash) if stash else {}
            text, picture = str(draft.get("text", "")), str(draft.get("picture", ""))
        except (ValueError, AttributeError):  # the browser's storage holds something else
            return
        work.fold(picture)
        text = work.unfold(text)
        if text.strip() not in ("", work.session.text.strip(), BLANK.strip()):
            work.session.write(text)
            work.session.touched = True
            work.said = (words.DRAFT_NOTICE, "discard")

    def _draft_picture(self, work: Work) -> str:
        """The picture that a draft must bring along, because no saved version has it."""
        found = PICTURE.search(work.session.text)
        return found.group() if found and found.group() not in work.session.saved else ""


def _changed(work: Work, kind: str, now: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `now` that the page does not show yet; they count as shown from here on."""
    changed = {
        name: value for name, value in now.items() if work.told.get(f"{kind} {name}", "") != value
    }
    work.told |= {f"{kind} {name}": value for name, value in now.items()}
    return changed


def _told(problem: Problem) -> str:
    return f"{problem.field} {problem.why}" if problem.field else problem.why


def _state(work: Work, problems: list[Problem]) -> tuple[str, str]:
    """The line under the name, and how it looks."""
    session = work.session
    version = work.digest[: boards.SHORT]
    wrong = [_told(each) for each in problems]
    wrong += [f"{FIELDS[name].label}: {why}" for name, why in session.unread.items()]
    if session.removed:
        return words.REMOVED, "bad"
    if wrong and session.touched:
        return words.TO_MEND.format(count=len(wrong), first=wrong[0]), "bad"
    if not session.slug:
        return words.NOT_SAVED_YET, "open"
    if session.dirty:
        return words.UNSAVED, "open"
    said = words.AS_SHIPPED if work.origin == "built-in" else words.SAVED_AS
    return said.format(version=version), "good"


def _removal(work: Work) -> str:
    if work.session.removed:
        return boards.button(words.RESTORE, "restore", event="stored")
    label = {"yours": words.DELETE, "edited": words.TO_ORIGINAL}.get(work.origin, "")
    return boards.button(label, "remove", event="stored") if label else ""


def _notice(work: Work) -> str:
    if not work.said:
        return ""
    text, *acts = work.said
    labels = {"undo": words.UNDO, "restore": words.RESTORE, "discard": words.DISCARD}
    events = {"restore": {"event": "stored"}}
    return boards.notice(
        text, *(boards.button(labels[act], act, **events.get(act, {})) for act in acts)
    )
