"""Text from strangers becomes HTML that cannot run, and roleplay reads as it was meant."""

import itertools
import re
from html.parser import HTMLParser

import pytest

from hermes_ui.ui.markdown import GrowingText, render

HOSTILE = [
    pytest.param("<script>alert(1)</script>", id="a script"),
    pytest.param("<img src=x onerror=alert(1)>", id="a picture that runs"),
    pytest.param("a <b onclick='x()'>b</b>", id="an inline handler"),
    pytest.param("[x](javascript:alert(1))", id="a script link"),
    pytest.param("[x](JaVaScRiPt&#58;alert(1))", id="a disguised script link"),
    pytest.param("[x](data:text/html,<script>alert(1)</script>)", id="a data link"),
    pytest.param("![x](javascript:alert(1))", id="a script picture"),
    pytest.param("![x](data:image/svg+xml;base64,PHN2Zz4=)", id="a data picture"),
    pytest.param("<javascript:alert(1)>", id="an automatic script link"),
    pytest.param('[x](https://a.b "\\" onmouseover=alert(1) x=\\"")', id="a title that breaks out"),
    pytest.param('[x](https://a.b/"onmouseover="alert(1))', id="an address that breaks out"),
    pytest.param('```"><script>alert(1)</script>\nx\n```', id="a code language that breaks out"),
    pytest.param('"<svg/onload=alert(1)>"', id="speech"),
    pytest.param("| <script>a</script> |\n|---|\n| <img onerror=x> |", id="a table"),
    pytest.param("&lt;script&gt; &#60;script&#62;alert(1)&#60;/script&#62;", id="entities"),
]
ALLOWED = {
    "a": {"href", "target", "rel", "class"},
    "button": {"type", "data-action"},
    "div": {"class"},
    "pre": {"tabindex"},
    "span": {"class"},
    "ol": {"dir", "start"},
    "th": {"dir", "style"},
    "td": {"dir", "style"},
    "svg": None,  # our own icons
    "path": None,
    **{name: {"dir"} for name in ("p", "ul", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6")},
    **{
        name: set()
        for name in ("em", "strong", "s", "code", "br", "hr", "li", "table", "thead", "tbody", "tr")
    },
}


class Inspector(HTMLParser):
    """Fails on any tag or attribute that no message may bring along."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        allowed = ALLOWED[tag]
        for name, value in attrs:
            assert allowed is None or name in allowed, f"<{tag} {name}>"
            if name == "href":
                assert value is not None
                assert value.startswith(("http://", "https://", "mailto:"))
            if name == "style":
                assert re.fullmatch(r"text-align:(left|right|center)", value or "")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_message_can_run(text):
    Inspector().feed(render(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_reply_being_written_can_run(text):
    growing = GrowingText()
    for end in range(len(text) + 1):
        growing.update(text[:end])

        Inspector().feed("".join(growing.settled) + growing.open)


def test_markup_is_shown_as_it_was_typed():
    assert "&lt;b&gt;bold&lt;/b&gt;" in render("<b>bold</b>")


def test_a_picture_becomes_a_link_so_that_no_other_server_is_called():
    html = render("![a map](https://example.org/map.png)")

    assert "<img" not in html
    assert 'href="https://example.org/map.png"' in html
    assert "a map</a>" in html


def test_a_link_leads_out_without_a_trace_of_the_page():
    assert render("[sea](https://example.org)") == (
        '<p dir="auto"><a href="https://example.org" target="_blank" '
        'rel="noopener noreferrer nofollow">sea</a></p>\n'
    )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        pytest.param("*She nods.*", "<em>She nods.</em>", id="an action"),
        pytest.param('"Hi."', '<span class="say">&quot;Hi.&quot;</span>', id="straight quotes"),
        pytest.param("“Hi.”", '<span class="say">“Hi.”</span>', id="curly quotes"),
        pytest.param("„Na so“", '<span class="say">„Na so“</span>', id="German quotes"),
        pytest.param("« Oui »", '<span class="say">« Oui »</span>', id="French quotes"),
        pytest.param(
            '"I *mean* it"',
            '<span class="say">&quot;I <em>mean</em> it&quot;</span>',
            id="an action within speech",
        ),
        pytest.param(
            '*he says "no" twice*',
            '<em>he says <span class="say">&quot;no&quot;</span> twice</em>',
            id="speech within an action",
        ),
        pytest.param('"And so', '<span class="say">&quot;And so</span>', id="speech that goes on"),
        pytest.param('a 5" pipe', "a 5&quot; pipe", id="an inch mark is no speech"),
        pytest.param('`"x"`', "<code>&quot;x&quot;</code>", id="code is no speech"),
        pytest.param("one\ntwo", "one<br>\ntwo", id="a line break stays"),
    ],
)
def test_roleplay_reads_as_it_is_written(text, html):
    assert render(text) == f'<p dir="auto">{html}</p>\n'.replace("<br>", "<br />")


STORY = """*The lamp sways.* "You came back," she says.

1. The light went out **twice**
2. Nobody touched it

   not even he

> a note
lazily continued

```python
def tide(hour):

    return hour
```
| a | b |
|---|---|
| 1 | 2 |

Title
=====
- one

- two
    indented
***
[x]: https://example.org
[x] and "open

    code after all\r\nwindows\rlines
end"""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, len(STORY)])
def test_a_growing_text_ends_as_the_whole_one(size):
    growing = GrowingText()

    for end in itertools.chain(range(0, len(STORY), size), [len(STORY)]):
        growing.update(STORY[:end])

    assert "".join(growing.settled) + growing.open == render(STORY)


def test_settled_blocks_never_change():
    growing = GrowingText()
    before: list[str] = []

    for end in range(len(STORY)):
        growing.update(STORY[:end])

        assert growing.settled[: len(before)] == before
        before = list(growing.settled)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        pytest.param("*Outside, the sea", "<em>Outside, the sea</em>", id="an action"),
        pytest.param("a **twi", "a <strong>twi</strong>", id="strong"),
        pytest.param("2 * 3", "2 * 3", id="a product is no action"),
    ],
)
def test_emphasis_shows_before_its_end_is_written(text, html):
    growing = GrowingText()

    growing.update(text)

    assert growing.open == f'<p dir="auto">{html}</p>\n'


def test_a_text_that_does_not_continue_the_last_one_starts_anew():
    growing = GrowingText()
    growing.update("one\n\ntwo")

    growing.update("three")

    assert "".join(growing.settled) + growing.open == '<p dir="auto">three</p>\n'
