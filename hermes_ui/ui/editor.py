"""The persona editor: a form and its YAML side by side, versions, drafts."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.events import Dependency

from hermes_ui.chat import ChatService
from hermes_ui.errors import HermesError
from hermes_ui.ui.owner import owner_of
from storage.errors import StorageError

STATIC = Path(__file__).parent / "static"
CSS = STATIC / "editor.css"
QUIET = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Editor:
    """The editor's parts, for the page to place and to wire with `.then(...)`.

    `slug` is the persona being edited, "" while it is new. `changed` are the events
    after which the gallery must be read again; `closed` ends when the user wants to leave;
    `started` ends when the user wants to chat with `slug`.
    """

    root: gr.Column
    slug: gr.Textbox
    text: gr.Code
    changed: tuple[Dependency, ...]
    closed: Dependency
    started: Dependency
    _chat: ChatService

    def open_after(self, event: Dependency, slug: gr.Textbox) -> Dependency:
        """Show the persona in `slug` ("" for a new one) when `event` has ended."""
        return event.then(self._open, slug, [self.slug, self.text], **QUIET)

    def _open(self, slug: str, request: gr.Request) -> tuple[str, str]:
        if not slug:
            return "", "name: \n"
        return slug, self._chat.catalog.entry(owner_of(request), slug).text


def build(chat: ChatService) -> Editor:
    """Place the editor in the Blocks under construction."""
    with gr.Column(elem_classes="persona-editor") as root:
        slug = gr.Textbox(visible=False)
        with gr.Row():
            back = gr.Button("Back")
            save = gr.Button("Save as new version", variant="primary")
            start = gr.Button("Start chat")
        text = gr.Code(language="yaml", label="YAML", lines=20)

    def keep(current: str, yaml: str, request: gr.Request) -> str:
        try:
            return chat.catalog.save(owner_of(request), yaml, slug=current or None).slug
        except (HermesError, StorageError) as error:
            raise gr.Error(str(error)) from error

    return Editor(
        root=root,
        slug=slug,
        text=text,
        changed=(save.click(keep, [slug, text], slug, **QUIET),),
        closed=back.click(None, **QUIET),
        started=start.click(None, **QUIET),
        _chat=chat,
    )
