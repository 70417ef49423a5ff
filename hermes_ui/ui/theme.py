"""How the page looks and what it carries: colours, fonts of the system, our style and script."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from hermes_ui.ui import words

STATIC = Path(__file__).parent / "static"
STYLES = ("base.css", "chat.css", "sidebar.css", "panels.css")
SCRIPTS = ("core.js", "window.js", "composer.js", "sidebar.js", "panels.js", "replay.js", "boot.js")

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" '
    'rx="9" fill="#3d5a80"/><path d="M10.5 8v16M21.5 8v16M10.5 16h11" stroke="#fff" '
    'stroke-width="3" stroke-linecap="round"/></svg>'
)

INK = gr.themes.Color(
    name="ink",
    c50="#f8f7f5",
    c100="#f1efec",
    c200="#e4e1dc",
    c300="#cfcbc4",
    c400="#a19c94",
    c500="#78736b",
    c600="#5d5952",
    c700="#46433e",
    c800="#2a2825",
    c900="#1d1c1a",
    c950="#151413",
)
SEA = gr.themes.Color(
    name="sea",
    c50="#eef3f9",
    c100="#dbe6f2",
    c200="#b9cde4",
    c300="#93b1d3",
    c400="#7196c0",
    c500="#527aa8",
    c600="#3d628f",
    c700="#335276",
    c800="#2a425e",
    c900="#223449",
    c950="#172331",
)


def theme() -> gr.themes.Base:
    """Warm paper and ink, one blue; light and dark."""
    return gr.themes.Base(
        primary_hue=SEA,
        secondary_hue=SEA,
        neutral_hue=INK,
        font=list(SANS),
        font_mono=list(MONO),
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="#fcfbfa",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="#ebe8e3",
        body_text_color_subdued="#68635b",
        body_text_color_subdued_dark="#a8a299",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_50",
        background_fill_secondary_dark="#1a1917",
        border_color_primary="*neutral_200",
        border_color_primary_dark="#35322e",
        border_color_accent="*primary_400",
        block_background_fill="transparent",
        block_border_width="0px",
        block_shadow="none",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_950",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_300",
        button_primary_background_fill_hover_dark="*primary_200",
        button_primary_text_color="white",
        button_primary_text_color_dark="*primary_950",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
    )


def head() -> str:
    """What goes into the document's head: our style, our words, our script, our icon.

    Everything stands inline: the page loads nothing else, and Gradio leaves it as it is.
    """
    style = "\n".join(_read(name) for name in STYLES)
    script = "\n".join(_read(name) for name in SCRIPTS)
    spoken = json.dumps(words.FOR_SCRIPT).replace("<", "\\u003c")
    return (
        f'<link rel="icon" href="data:image/svg+xml,{quote(FAVICON)}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{style}</style>\n"
        f"<script>(() => {{\nconst WORDS = {spoken};\n{script}\n}})();</script>"
    )


def page_settings() -> dict[str, Any]:
    """Keyword arguments for `gr.mount_gradio_app`."""
    return {
        "theme": theme(),
        "head": head(),
        "css_paths": [STATIC / "gallery.css", STATIC / "editor.css"],
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
        "show_error": True,
    }


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
