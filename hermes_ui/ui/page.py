"""The page: what stands where, and which event leads to which handler."""

from typing import Any

import gradio as gr
from gradio.events import Dependency

from hermes_ui.chat import ChatService
from hermes_ui.ui import (
    chat_panel,
    editor,
    gallery,
    inspector,
    model_panel,
    replay_panel,
    settings_panel,
    sidebar,
    words,
)
from hermes_ui.ui.bridge import door
from hermes_ui.ui.shell import shell
from hermes_ui.ui.theme import page_settings

PAGE: dict[str, Any] = page_settings()
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
STREAM: dict[str, Any] = {**QUIET, "concurrency_limit": None, "trigger_mode": "multiple"}


def build_page(
    chat: ChatService, *, temporary_storage: bool = False, model_is_fixed: bool = False
) -> gr.Blocks:
    """The whole page; `PAGE` holds what `gr.mount_gradio_app` needs besides.

    Every open tab that follows a reply holds one thread now and then: `max_threads` must
    be set well above the number of replies that are followed at the same time.
    """
    with gr.Blocks(
        title=words.PRODUCT, analytics_enabled=False, fill_width=True, delete_cache=None
    ) as page:
        gr.HTML(
            shell(temporary_storage=temporary_storage),
            elem_classes="hermes-shell",
            apply_default_css=False,
            js_on_load="hermes.shell(element, server);",
            server_functions=[door(_actions(chat, model_is_fixed))],
        )
        _stream(chat)
        _shelf(page, chat)
    return page


def _actions(chat: ChatService, model_is_fixed: bool) -> dict[str, Any]:
    return {
        **chat_panel.actions(chat),
        **sidebar.actions(chat),
        **settings_panel.actions(chat),
        **model_panel.actions(chat, model_is_fixed=model_is_fixed),
        **inspector.actions(chat),
        **replay_panel.actions(chat),
    }


def _wire(js: str) -> gr.HTML:
    """A component that is not seen: its events go to the server, its value to the script."""
    return gr.HTML(
        None,
        html_template="",
        js_on_load=js,
        elem_classes="hermes-wire",
        apply_default_css=False,
    )


def _stream(chat: ChatService) -> None:
    """The two long answers: a reply as it grows, and a conversation played back.

    What goes over a wire is one message's worth, however long the conversation is.
    """
    live = _wire("hermes.live({trigger, props, watch}); // 'follow' 'leave'")
    following = live.follow(chat_panel.follow(chat), outputs=live, **STREAM)
    live.leave(None, cancels=following, **QUIET)
    stage = _wire("hermes.stage({trigger, props, watch}); // 'replay' 'hush'")
    playing = stage.replay(replay_panel.replay(chat), outputs=stage, **STREAM)
    stage.hush(None, cancels=playing, **QUIET)


def _shelf(page: gr.Blocks, chat: ChatService) -> None:
    """The gallery and the editor, and how they lead to a conversation."""
    with gr.Column(elem_classes="hermes-gallery"):
        cards = gallery.build(chat)
    with gr.Column(elem_classes="hermes-editor"):
        form = editor.build(chat)

    page.load(cards.read, outputs=cards.cards, **QUIET)
    for event in form.changed:
        cards.refresh_after(event)
    for event in (cards.edited, cards.created):
        form.open_after(event, cards.slug)
        _tell(event, "() => { hermes.show('editor') }")
    _tell(form.closed, "() => { hermes.show('gallery') }")
    _tell(cards.chosen, "(slug) => { hermes.start(slug) }", cards.slug)
    _tell(form.started, "(slug) => { hermes.start(slug) }", form.slug)


def _tell(event: Dependency, js: str, *inputs: gr.Textbox) -> None:
    event.then(None, list(inputs), None, js=js, **QUIET)
