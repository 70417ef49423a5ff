"""The persona gallery: who is there to talk to, as a page of cards."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.events import Dependency

from hermes_ui.chat import ChatService
from hermes_ui.ui import gallery_cards
from hermes_ui.ui.owner import owner_of

STATIC = Path(__file__).parent / "static"
CSS = STATIC / "gallery.css"


@dataclass(frozen=True)
class Gallery:
    """The gallery's parts, for the page to place and to wire with `.then(...)`.

    `slug` holds the persona of the last click before `chosen` ("Chat") or `edited`
    ("Edit") end, and "" when `created` ("New persona") ends.
    """

    root: gr.Column
    cards: gr.HTML
    slug: gr.Textbox
    chosen: Dependency
    edited: Dependency
    created: Dependency
    _chat: ChatService

    def read(self, request: gr.Request) -> str:
        """The cards as they stand now; what a page load or a saved persona puts into `cards`."""
        owner = owner_of(request)
        catalog = self._chat.catalog
        entries = catalog.entries(owner)
        avatars = [catalog.avatar_url(entry.persona) for entry in entries]
        return gallery_cards.gallery(entries, avatars, catalog.broken())

    def refresh_after(self, event: Dependency) -> Dependency:
        """Read the cards again when `event` has ended."""
        return event.then(
            self.read, outputs=self.cards, show_progress="hidden", api_visibility="private"
        )


def build(chat: ChatService) -> Gallery:
    """Place the gallery in the Blocks under construction; the page loads `cards` with `read`."""
    with gr.Column(elem_classes="persona-gallery") as root:
        slug = gr.Textbox(visible=False)
        cards = gr.HTML(
            js_on_load=(STATIC / "gallery.js").read_text(encoding="utf-8"), apply_default_css=False
        )
    wiring = {"outputs": slug, "show_progress": "hidden", "api_visibility": "private"}
    return Gallery(
        root=root,
        cards=cards,
        slug=slug,
        chosen=cards.chosen(_slug_of, **wiring),
        edited=cards.edited(_slug_of, **wiring),
        created=cards.created(_slug_of, **wiring),
        _chat=chat,
    )


def _slug_of(event: gr.EventData) -> str:
    return str(event.slug)
