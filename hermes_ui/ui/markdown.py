"""Text from people and models as HTML that cannot run: Markdown, read as roleplay is written.

`*Actions*` become `<em>`, speech in quotation marks is wrapped in `<span class="say">`,
line breaks stay, links lead out of the page without a trace of it, and pictures become
links, so that no message can make a browser call another server.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from hermes_ui.ui import icons, words

SCHEMES = ("https://", "http://", "mailto:")
CLOSING = {"“": "”", "„": "“”", "«": "»", "「": "」", '"': '"'}
BEFORE_SPEECH = " \t\n([{—–-*_…"  # a straight quote after anything else is an inch mark or a close
BEGUN = re.compile(r"(?<![^\s\"“(—])(\*{1,2})(?![*\s])[^*`\n]*\Z")
CACHED_CHARS = 20_000  # of longer texts only a few are kept


def render(text: str) -> str:
    """The HTML of a whole message."""
    return _cached(text) if len(text) <= CACHED_CHARS else _cached_long(text)


def _html(text: str) -> str:
    return str(_MARKDOWN.render(text))


_cached = lru_cache(maxsize=1024)(_html)
_cached_long = lru_cache(maxsize=32)(_html)


class GrowingText:
    """A message that gets longer: each `update` costs as much as its last block, not as all of it.

    `settled` holds the HTML of blocks that cannot change any more, `open` that of the
    block being written; together they equal `render` of the whole text, only that emphasis
    which has begun in the last block is shown before its end is written.
    """

    def __init__(self) -> None:
        self.settled: list[str] = []
        self.open = ""
        self._text = ""
        self._settled_chars = 0

    def update(self, text: str) -> None:
        """Show `text`; a text that does not continue the last one starts anew."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if not text.startswith(self._text):
            self.settled, self._settled_chars = [], 0
        self._text = text
        tail = text[self._settled_chars :]
        starts = _block_starts(tail)
        for start, end in pairwise(starts):
            self.settled.append(_html(tail[start:end]))
        last = starts[-1] if starts else 0
        self._settled_chars += last
        self.open = _html(_closed(tail[last:]))


def _closed(text: str) -> str:
    """`text` with emphasis closed that is still being written, so that no star flashes up."""
    begun = BEGUN.search(text)
    return text.rstrip() + begun.group(1) if begun else text


def _block_starts(text: str) -> list[int]:
    """Offsets of the top-level blocks' first lines."""
    offsets = [0]
    for line in text.split("\n"):
        offsets.append(offsets[-1] + len(line) + 1)
    tokens = _BLOCKS.parse(text)
    tops = [token.map[0] for token in tokens if token.level == 0 and token.map]
    return [offsets[line] for line in tops]


def _new_markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False})
    # A link defined elsewhere in the text would let a later block change an earlier one.
    markdown.enable(["table", "strikethrough"]).disable(["html_block", "html_inline", "reference"])
    markdown.validateLink = _is_harmless  # type: ignore[method-assign]
    markdown.core.ruler.push("speech", _mark_speech)
    for name, rule in _RULES.items():
        markdown.add_render_rule(name, rule)
    return markdown


def _is_harmless(url: str) -> bool:
    return url.strip().lower().startswith(SCHEMES)


def _link_open(
    _: RendererProtocol, tokens: Sequence[Token], index: int, __: OptionsDict, ___: EnvType
) -> str:
    url = escape(str(tokens[index].attrs.get("href", "")))
    return f'<a href="{url}" target="_blank" rel="noopener noreferrer nofollow">'


def _image(
    _: RendererProtocol, tokens: Sequence[Token], index: int, __: OptionsDict, ___: EnvType
) -> str:
    url = escape(str(tokens[index].attrs.get("src", "")))
    label = escape(tokens[index].content or url)
    return (
        f'<a class="picture" href="{url}" target="_blank" rel="noopener noreferrer nofollow">'
        f"{icons.PICTURE}{label}</a>"
    )


def _code(
    _: RendererProtocol, tokens: Sequence[Token], index: int, __: OptionsDict, ___: EnvType
) -> str:
    language = escape((tokens[index].info or "").split(" ")[0][:30])
    return (
        f'<div class="code"><div class="code-head"><span>{language}</span>'
        f'<button type="button" data-action="copy-code">{words.COPY}</button></div>'
        f'<pre tabindex="0"><code>{escape(tokens[index].content)}</code></pre></div>\n'
    )


def _block_open(
    renderer: Any, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    tokens[index].attrSet("dir", "auto")
    return str(renderer.renderToken(tokens, index, options, env))


_AUTO = ("paragraph", "heading", "blockquote", "bullet_list", "ordered_list", "th", "td")
_RULES = {
    "link_open": _link_open,
    "image": _image,
    "fence": _code,
    "code_block": _code,
    **{f"{name}_open": _block_open for name in _AUTO},
}


def _mark_speech(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = _with_speech(token.children)


def _with_speech(children: list[Token]) -> list[Token]:
    """`children` with speech wrapped; a quote left open speaks to the end of its container."""
    marked: list[Token] = []
    open_quotes: list[str] = [""]  # one for each container: the closing marks being waited for
    before = "\n"
    for token in children:
        if token.nesting < 0 and len(open_quotes) > 1 and open_quotes.pop():
            marked.append(_raw("</span>"))
        if token.type == "text":
            marked += _split_speech(token, open_quotes, before)
        else:
            marked.append(token)
        if token.nesting > 0:
            open_quotes.append("")
        before = token.content[-1:] if token.type == "text" and token.content else "\n"
        if token.type == "code_inline":
            before = "`"
    if open_quotes[0]:
        marked.append(_raw("</span>"))
    return marked


def _split_speech(token: Token, open_quotes: list[str], before: str) -> list[Token]:
    parts: list[Token] = []
    start = 0
    text = token.content
    for at, mark in enumerate(text):
        if open_quotes[-1]:
            if mark in open_quotes[-1]:
                parts += [_text(text[start : at + 1]), _raw("</span>")]
                start, open_quotes[-1] = at + 1, ""
        elif mark in CLOSING and (mark != '"' or (text[at - 1] if at else before) in BEFORE_SPEECH):
            parts += [_text(text[start:at]), _raw('<span class="say">')]
            start, open_quotes[-1] = at, CLOSING[mark]
    return [*parts, _text(text[start:])]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _raw(html: str) -> Token:
    return Token("html_inline", "", 0, content=html)


_MARKDOWN = _new_markdown()
_BLOCKS = MarkdownIt("commonmark", {"html": False})
_BLOCKS.enable(["table"]).disable(["html_block", "reference"])
_BLOCKS.disable(["inline"])
