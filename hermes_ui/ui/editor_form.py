"""The form of the editor: which field stands where, and with which control."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from hermes_ui.toolbox import TOOLBOX
from hermes_ui.ui import persona_words as words
from hermes_ui.ui.editor_fields import ENTRY, GREETING, Field
from hermes_ui.ui.editor_session import FIELDS

WHO = ("nickname", "tags", "description", "personality", "scenario")
PROMPT = ("system_prompt", "post_history_instructions", "examples")
ENTRY_FIRST = ("entry.keys", "entry.content")
ROWS = {"description": 6, "greeting": 4, "examples": 5, GREETING: 4, "entry.content": 3}
MOST_ROWS = 16


@dataclass(slots=True)
class Form:
    """The controls by field name, and the boards between them."""

    js: str  # what every board runs when it is mounted
    controls: dict[str, gr.components.Component] = field(default_factory=dict)
    boards: dict[str, gr.HTML] = field(default_factory=dict)
    parts: dict[str, gr.Column] = field(default_factory=dict)
    upload: gr.UploadButton | None = None

    def board(self, name: str) -> gr.HTML:
        """Place one of the editor's own pieces of markup."""
        self.boards[name] = gr.HTML(
            "", js_on_load=self.js, apply_default_css=False, elem_classes=f"pe-board pe-on-{name}"
        )
        return self.boards[name]

    def add(self, *names: str) -> None:
        """Place the controls of these fields."""
        for name in names:
            self.controls[name] = _control(FIELDS[name])


def build(js: str) -> Form:
    """Place the form in the column under construction."""
    form = Form(js)
    with gr.Tabs(elem_classes="pe-tabs"):
        with gr.Tab(words.TAB_WHO):
            _who(form)
        with gr.Tab(words.TAB_PROMPT):
            form.add(*PROMPT)
            form.board("meter")
        with gr.Tab(words.TAB_GREETINGS):
            form.add("greeting")
            form.board("greetings")
            with gr.Column(visible=False, elem_classes="pe-detail") as form.parts[GREETING]:
                form.add(GREETING)
        with gr.Tab(words.TAB_LORE):
            _lore(form)
        with gr.Tab(words.TAB_REPLIES):
            _replies(form)
        with gr.Tab(words.TAB_ABOUT):
            form.add(*(name for name in FIELDS if name not in form.controls))
        with gr.Tab(words.TAB_HISTORY):
            form.board("history")
    return form


def _who(form: Form) -> None:
    with gr.Row(elem_classes="pe-face-row"):
        form.board("picture")
        form.upload = gr.UploadButton(
            words.UPLOAD_PICTURE,
            file_types=[".png", ".jpg", ".jpeg", ".webp"],
            type="binary",
            size="sm",
            elem_classes="pe-upload",
        )
    form.add("name", *WHO)


def _lore(form: Form) -> None:
    form.board("entries")
    with gr.Column(visible=False, elem_classes="pe-detail") as form.parts[ENTRY]:
        form.add(*ENTRY_FIRST)
        with gr.Accordion(words.MORE_OPTIONS, open=False):
            _pairs(form, _named(f"{ENTRY}.", but=ENTRY_FIRST))
    with gr.Accordion(words.LOREBOOK_OPTIONS, open=False):
        _pairs(form, _named("lorebook."))


def _replies(form: Form) -> None:
    _pairs(form, _named("sampling."))
    form.add("tools", "response_format")


def _pairs(form: Form, names: Iterable[str]) -> None:
    with gr.Row(elem_classes="pe-pairs"):
        form.add(*names)


def _named(start: str, but: Iterable[str] = ()) -> list[str]:
    return [name for name in FIELDS if name.startswith(start) and name not in but]


def _control(field: Field) -> gr.components.Component:
    shared: dict[str, Any] = {
        "label": field.label,
        "info": field.help,
        "interactive": True,
        "elem_id": control_id(field.name),
        "elem_classes": classes(field),
    }
    match field.kind:
        case "flag":
            return gr.Checkbox(value=bool(field.default), **shared)
        case "number":
            return gr.Number(value=field.default, **shared)
        case "knob":
            return gr.Slider(field.low, field.high, field.default, step=field.step, **shared)
        case "choice":
            return gr.Dropdown(list(field.choices), value=field.default, filterable=False, **shared)
        case "tools":
            return gr.CheckboxGroup(sorted(TOOLBOX), **shared)
    is_line = field.kind in ("line", "list")
    rows = 1 if is_line else ROWS.get(field.name, 2)
    return gr.Textbox(lines=rows, max_lines=1 if is_line else MOST_ROWS, **shared)


def control_id(name: str) -> str:
    """The id of a field's control in the page."""
    return "pe-" + name.replace(".", "-").replace("_", "-")


def classes(field: Field, *, is_bad: bool = False) -> list[str]:
    """The classes of a field's control."""
    return ["pe-field", f"pe-kind-{field.kind}"] + (["pe-bad"] if is_bad else [])
