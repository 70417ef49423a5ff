"""The persona editor: a form and its YAML side by side, its versions, its drafts.

Every event brings all that the page shows, and gets back what must change (see
`editor_session`). A draft stays in the browser until it is saved or discarded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from hermes_ui.chat import ChatService
from hermes_ui.errors import HermesError
from hermes_ui.ui import editor_form
from hermes_ui.ui import persona_words as words
from hermes_ui.ui.editor_desk import Desk, Shown, Work
from hermes_ui.ui.editor_session import FIELDS
from hermes_ui.ui.owner import owner_of
from storage.errors import StorageError

STATIC = Path(__file__).parent / "static"
CSS = STATIC / "editor.css"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Raw values: a half-typed number is the form's business and not an error of the page.
RAW: dict[str, Any] = {**QUIET, "preprocess": False, "concurrency_limit": None}

# A browser may refuse its storage; what nothing was written to yet is null.
READ_DRAFT = """(slug) => {
  try { return [slug, localStorage.getItem('hermes.draft.' + (slug ?? '')) ?? '']; }
  catch { return [slug, '']; }
}"""
# What was new until now has its draft under no name.
KEEP_DRAFT = """(slug, text, saved, picture) => {
  const key = 'hermes.draft.' + (slug ?? '');
  const [shown, kept] = [text ?? '', saved ?? ''];
  try {
    if (shown.trim() !== kept.trim()) {
      localStorage.setItem(key, JSON.stringify({text: shown, picture: picture ?? ''}));
      return;
    }
    localStorage.removeItem(key);
    const unnamed = JSON.parse(localStorage.getItem('hermes.draft.') ?? '{}');
    if (unnamed.text?.trim() === shown.trim()) localStorage.removeItem('hermes.draft.');
  } catch (error) { console.warn('the draft is not kept:', error); }
}"""


@dataclass(frozen=True)
class Editor:
    """The editor's parts, for the page to place and to wire with `.then(...)`.

    `slug` is the persona being edited, "" while it is new. `changed` are the events
    after which the gallery must be read again; `closed` ends when the user wants to leave;
    `started` ends when the user wants to chat with `slug`, which is saved by then.
    """

    root: gr.Column
    slug: gr.Textbox
    text: gr.Code
    changed: tuple[Dependency, ...]
    closed: Dependency
    started: Dependency
    _open: Callable[[Dependency, gr.Textbox], Dependency]

    def open_after(self, event: Dependency, slug: gr.Textbox) -> Dependency:
        """Show the persona in `slug` ("" for a new one) when `event` has ended."""
        return self._open(event, slug)


@dataclass(slots=True)
class _Parts:
    """Every component that an event reads or writes."""

    form: editor_form.Form
    text: gr.Code
    work: gr.State
    slug: gr.Textbox
    number: gr.Textbox
    saved: gr.Textbox
    picture: gr.Textbox

    @property
    def inputs(self) -> list[Any]:
        return [self.work, self.slug, self.number, self.text, *self.form.controls.values()]

    @property
    def outputs(self) -> list[Any]:
        # The number is set last: an event in between then takes our values for the user's,
        # which they equal, and never old ones.
        return [
            *(self.work, self.slug, self.text, self.saved, self.picture),
            *self.form.boards.values(),
            *self.form.parts.values(),
            *self.form.controls.values(),
            self.number,
        ]


def build(chat: ChatService) -> Editor:
    """Place the editor in the Blocks under construction."""
    desk = Desk(chat)
    js = (STATIC / "editor.js").read_text(encoding="utf-8")
    with gr.Column(elem_classes="persona-editor") as root:
        memory = [gr.Textbox(visible=False) for _ in range(5)]
        head_form = editor_form.Form(js)
        head = head_form.board("head")
        with gr.Row(elem_classes="pe-body", equal_height=False):
            with gr.Column(elem_classes="pe-left", scale=3, min_width=300):
                waits = head_form.board("waits")
                with gr.Column(elem_classes="pe-form"):
                    form = editor_form.build(js)
            with gr.Column(elem_classes="pe-right", scale=2, min_width=300):
                text = gr.Code(
                    language="yaml",
                    label=words.YAML_LABEL,
                    lines=24,
                    max_lines=34,
                    wrap_lines=True,
                    interactive=True,
                    elem_id="pe-yaml",
                )
                lines = head_form.board("lines")
    form.boards |= {"head": head, "waits": waits, "lines": lines}
    slug, number, saved, picture, stash = memory
    parts = _Parts(form, text, gr.State(None), slug, number, saved, picture)
    return _wire(parts, desk, root, stash)


def _wire(parts: _Parts, desk: Desk, root: gr.Column, stash: gr.Textbox) -> Editor:
    form, head, history = parts.form, parts.form.boards["head"], parts.form.boards["history"]
    flow: dict[str, Any] = {"inputs": parts.inputs, "outputs": parts.outputs, **RAW}
    # Gradio tells `input` of a text box on key presses only, not when text is deleted or
    # pasted: the script listens in the page itself and tells it as `typed`.
    others = [each for each in form.controls.values() if not isinstance(each, gr.Textbox)]
    gr.on(
        [control.input for control in (parts.text, *others)],
        _typed(parts, desk),
        trigger_mode="always_last",
        **flow,
    )
    head.typed(_typed(parts, desk), trigger_mode="always_last", **flow)
    for board in form.boards:
        if board not in ("meter", "lines", "waits"):
            act = _acted(parts, desk, board)
            form.boards[board].acted(act, trigger_mode="multiple", **flow)
    stored = [
        head.stored(_acted(parts, desk, "head"), **flow),
        history.stored(_acted(parts, desk, "history"), **flow),
    ]
    assert form.upload is not None
    form.upload.upload(
        _uploaded(parts, desk),
        [form.upload, *parts.inputs],
        parts.outputs,
        **QUIET,
    )
    draft = {"inputs": [parts.slug, parts.text, parts.saved, parts.picture], "js": KEEP_DRAFT}
    parts.text.change(None, **draft, **QUIET)
    for event in stored:
        event.then(None, **draft, **QUIET)

    def open_after(event: Dependency, slug: gr.Textbox) -> Dependency:
        reading = event.then(None, slug, [parts.slug, stash], js=READ_DRAFT, **QUIET)
        return reading.then(_opened(parts, desk), [parts.slug, stash], parts.outputs, **RAW)

    return Editor(
        root=root,
        slug=parts.slug,
        text=parts.text,
        changed=tuple(stored),
        closed=head.closed(None, **QUIET),
        started=head.started(None, **QUIET),
        _open=open_after,
    )


def _typed(parts: _Parts, desk: Desk) -> Callable[..., dict[Any, Any]]:
    def typed(request: gr.Request, *given: Any) -> dict[Any, Any]:
        return _turn(parts, desk, given, owner_of(request), lambda _: None)

    return typed


def _acted(parts: _Parts, desk: Desk, board: str) -> Callable[..., dict[Any, Any]]:
    def acted(event: gr.EventData, request: gr.Request, *given: Any) -> dict[Any, Any]:
        owner = owner_of(request)
        act, key = str(event.act), str(event.key)
        return _turn(parts, desk, given, owner, lambda work: desk.act(owner, work, board, act, key))

    return acted


def _uploaded(parts: _Parts, desk: Desk) -> Callable[..., dict[Any, Any]]:
    def uploaded(request: gr.Request, data: bytes, *given: Any) -> dict[Any, Any]:
        return _turn(parts, desk, given, owner_of(request), lambda work: desk.upload(work, data))

    return uploaded


def _opened(parts: _Parts, desk: Desk) -> Callable[..., dict[Any, Any]]:
    def opened(slug: str | None, stash: str | None, request: gr.Request) -> dict[Any, Any]:
        owner = owner_of(request)
        try:
            work = desk.open(owner, slug or "", stash or "")
        except (HermesError, StorageError) as error:
            raise gr.Error(str(error)) from error
        return _told(parts, work, desk.show(owner, work, anew=True))

    return opened


def _turn(
    parts: _Parts,
    desk: Desk,
    given: tuple[Any, ...],
    owner: str,
    act: Callable[[Work], None],
) -> dict[Any, Any]:
    """Take over what the page shows, act, and tell the page what must change."""
    work, slug, number, text, *values = given
    try:
        if work is None:  # the server was restarted under an open page
            work = desk.open(owner, slug or "", "")
        with work.session.lock:
            shown = dict(zip(parts.form.controls, values, strict=True))
            is_late = desk.merge(work, number, text or "", shown)
            act(work)
            return _told(parts, work, desk.show(owner, work, anew=is_late))
    except (HermesError, StorageError) as error:
        raise gr.Error(str(error)) from error


def _told(parts: _Parts, work: Work, shown: Shown) -> dict[Any, Any]:
    answer: dict[Any, Any] = {
        parts.work: work,
        parts.slug: work.session.slug,
        parts.number: work.session.mark,
    }
    for name, component in (
        ("text", parts.text),
        ("saved", parts.saved),
        ("picture", parts.picture),
    ):
        value = getattr(shown, name)
        if value is not None:
            answer[component] = value
    for name, html in shown.boards.items():
        answer[parts.form.boards[name]] = html
    for name, is_open in shown.parts.items():
        answer[parts.form.parts[name]] = gr.update(visible=is_open)
    for name, value in shown.values.items():
        answer[parts.form.controls[name]] = value
    for name, why in shown.errors.items():
        field = FIELDS[name]
        look = {
            "info": why or field.help,
            "elem_classes": editor_form.classes(field, is_bad=bool(why)),
        }
        if name in shown.values:
            look["value"] = shown.values[name]
        answer[parts.form.controls[name]] = gr.update(**look)
    return answer
