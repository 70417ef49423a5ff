"""Stop strings and channels, at every chunking."""

import itertools
import random

import pytest

from hermes_ui.generation.engine import ReasoningDelta, TextDelta, ToolCall
from hermes_ui.generation.text import ChannelSplitter, StopMatcher

CALL = '<tool_call>\n{"name": "roll", "arguments": {"sides": 6}}\n</tool_call>'
ROLL = ("roll", '{"sides": 6}')


def chunkings(text):
    yield [text]
    yield list(text)
    for size in (2, 3, 5, 7, 11):
        yield [text[i : i + size] for i in range(0, len(text), size)]
    dice = random.Random(text)
    for _ in range(20):
        cuts = sorted(dice.sample(range(len(text) + 1), min(4, len(text) + 1)))
        yield [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]


def split(chunks, *, complete=True):
    """Text, reasoning and calls of a reply that arrives in `chunks`, in order and joined."""
    splitter = ChannelSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    events += splitter.flush(complete=complete)
    joined = []
    for event in events:
        if isinstance(event, ToolCall):
            joined.append((event.name, event.arguments))
            continue
        assert event.text
        kind = "text" if isinstance(event, TextDelta) else "reasoning"
        if joined and joined[-1][0] == kind and isinstance(joined[-1], list):
            joined[-1][1] += event.text
        else:
            joined.append([kind, event.text])
    return joined


def heard(text, *, complete=True):
    """What `split` gives, after checking that the chunking does not matter."""
    first, *others = (split(chunks, complete=complete) for chunks in chunkings(text))
    for other in others:
        assert other == first
    return first


def matched(text, stops):
    results = set()
    for chunks in chunkings(text):
        matcher = StopMatcher(stops)
        said = "".join(matcher.feed(chunk) for chunk in chunks)
        results.add((said + matcher.flush(), matcher.matched))
    (result,) = results
    return result


@pytest.mark.parametrize(
    ("text", "stops", "said", "stop"),
    [
        pytest.param("Hello there", [], "Hello there", None, id="no stop string"),
        pytest.param("Hello END there", ["END"], "Hello ", "END", id="one in the middle"),
        pytest.param("Hello EN", ["END"], "Hello EN", None, id="half of one at the end"),
        pytest.param("aab", ["ab"], "a", "ab", id="a false start"),
        pytest.param("one\nUser: two", ["\nUser:", "User:"], "one", "\nUser:", id="the longer"),
        pytest.param("xabcd", ["abcd", "bc"], "xa", "bc", id="the one that ends first"),
        pytest.param("stop", ["stop"], "", "stop", id="at once"),
        pytest.param("🙂é—end", ["é—"], "🙂", "é—", id="beyond ASCII"),
    ],
)
def test_the_reply_ends_before_the_first_stop_string(text, stops, said, stop):
    assert matched(text, stops) == (said, stop)


def test_only_what_may_become_a_stop_string_is_held_back():
    matcher = StopMatcher(["<end>"])

    assert matcher.feed("all of this ") == "all of this "
    assert matcher.feed("and <e") == "and "
    assert matcher.feed("lse") == "<else"


def test_nothing_follows_a_stop_string():
    matcher = StopMatcher(["."])

    assert matcher.feed("One. Two") == "One"
    assert (matcher.feed(" Three"), matcher.flush()) == ("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Just text < 3 <too", [["text", "Just text < 3 <too"]], id="no tag"),
        pytest.param(" spaces kept \n", [["text", " spaces kept \n"]], id="blanks without a tag"),
        pytest.param(CALL, [ROLL], id="one call"),
        pytest.param(f"I roll.\n\n{CALL}\n", [["text", "I roll."], ROLL], id="text before"),
        pytest.param(
            f"I roll. {CALL}\nDone.", [["text", "I roll."], ROLL, ["text", "\nDone."]], id="after"
        ),
        pytest.param(f"a{CALL}b", [["text", "a"], ROLL, ["text", "b"]], id="no blanks at all"),
        pytest.param(f"{CALL}\n{CALL}", [ROLL, ROLL], id="two blocks"),
        pytest.param(
            "<scratch_pad>\nThink.\n</scratch_pad>\n" + CALL,
            [["reasoning", "Think."], ROLL],
            id="a scratch pad before",
        ),
        pytest.param(
            "So: <think>hm <tool_call></think> yes",
            [["text", "So:"], ["reasoning", "hm <tool_call>"], ["text", "\nyes"]],
            id="a tag in the reasoning",
        ),
        pytest.param("<think>endless", [["reasoning", "endless"]], id="unclosed reasoning"),
        pytest.param(
            '<tool_call>{"arguments": {"name": "Bob"}, "name": "greet"}</tool_call>',
            [("greet", '{"name": "Bob"}')],
            id="a nested name is not the function's",
        ),
        pytest.param(
            '<tool_call>{"name": "say", "arguments": {"t": "} </tool_call> <tool_call> \\" {"}}'
            "</tool_call>",
            [("say", '{"t": "} </tool_call> <tool_call> \\" {"}')],
            id="tags inside a string are data",
        ),
        pytest.param(
            '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
            [("f", '{"a": 1}')],
            id="arguments as a string",
        ),
        pytest.param(
            '<tool_call>{"name": "f", "arguments": null}</tool_call>', [("f", "{}")], id="null"
        ),
        pytest.param('<tool_call>{"name": "f"}</tool_call>', [("f", "{}")], id="none at all"),
        pytest.param(
            '<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>',
            [("f", '{"a": 1}')],
            id="called parameters",
        ),
        pytest.param(
            "<tool_call>{'name': 'f', 'arguments': {'ok': True, 'x': None, 't': 'it\\'s'}}"
            "</tool_call>",
            [("f", '{"ok": true, "x": null, "t": "it\'s"}')],
            id="a Python dict",
        ),
        pytest.param(
            '<tool_call>[{"name": "f"}, {"name": "g"}]</tool_call>',
            [("f", "{}"), ("g", "{}")],
            id="a list",
        ),
        pytest.param(
            '<tool_call>{"name": "f"}\n{"name": "g"}</tool_call>',
            [("f", "{}"), ("g", "{}")],
            id="two objects in one block",
        ),
        pytest.param(
            '<tool_call>\n```json\n{"name": "f"}\n```\n</tool_call>', [("f", "{}")], id="fenced"
        ),
        pytest.param('<tool_call>{"name": "f"}', [("f", "{}")], id="the last one unclosed"),
        pytest.param(
            f'<tool_call>{{"name": "f"}}\n{CALL}', [("f", "{}"), ROLL], id="an inner one unclosed"
        ),
        pytest.param(
            '<tool_call>{"name": "f", "argu', [["text", '<tool_call>{"name": "f", "argu']], id="cut"
        ),
        pytest.param(
            '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>',
            [["text", '<tool_call>{"name": "f", "arguments": {"x": NaN}}</tool_call>']],
            id="NaN is no JSON number",
        ),
        pytest.param(
            '<tool_call>{"name": "f", "arguments": {"x": 1e999}}</tool_call>',
            [["text", '<tool_call>{"name": "f", "arguments": {"x": 1e999}}</tool_call>']],
            id="neither is infinity",
        ),
        pytest.param(
            f"Hm \n<tool_call>{{oops}}</tool_call>\n{CALL}",
            [["text", "Hm \n<tool_call>{oops}</tool_call>"], ROLL],
            id="a bad block stays and spoils nothing",
        ),
        pytest.param(
            f'<tool_call>{{"name: "f"}}</tool_call>\n{CALL}',
            [["text", '<tool_call>{"name: "f"}</tool_call>'], ROLL],
            id="an unbalanced quote before a good block",
        ),
        pytest.param(
            f"The tag <tool_call> is text. {CALL}",
            [["text", "The tag <tool_call> is text."], ROLL],
            id="a tag in a sentence",
        ),
        pytest.param("<tool_call></tool_call>", [["text", "<tool_call></tool_call>"]], id="empty"),
        pytest.param(
            '<tool_call>{"name": 7}</tool_call>',
            [["text", '<tool_call>{"name": 7}</tool_call>']],
            id="a name that is none",
        ),
    ],
)
def test_a_reply_splits_into_channels(text, expected):
    assert heard(text) == expected


def test_an_unclosed_call_at_the_token_limit_is_not_made_up():
    text = '<tool_call>{"name": "f"}'

    assert heard(text, complete=False) == [["text", text]]


def test_text_streams_before_the_tag_is_there():
    splitter = ChannelSplitter()

    assert splitter.feed("Hello ") == [TextDelta("Hello")]
    assert splitter.feed("there<tool") == [TextDelta(" there")]
    assert splitter.feed("box") == [TextDelta("<toolbox")]


def test_reasoning_streams_too():
    splitter = ChannelSplitter()

    assert splitter.feed("<think>step one") == [ReasoningDelta("step one")]


def test_ids_of_calls_differ():
    splitter = ChannelSplitter()

    ids = [event.id for event in splitter.feed(CALL * 3) if isinstance(event, ToolCall)]

    assert len(set(ids)) == 3
    assert all(id_.startswith("call_") for id_ in ids)


def test_lone_surrogates_in_arguments_are_replaced():
    (call,) = heard('<tool_call>{"name": "f", "arguments": {"x": "\\ud800"}}</tool_call>')

    call[1].encode()


@pytest.mark.parametrize(
    "unit",
    [
        "<tool_call>",
        "{",
        "<tool_call>{",
        '<tool_call>{"',
        '<tool_call>{"\\"',
        "<tool_call>{</tool_call>",
        '<tool_call>{"</tool_call>',
        "[",
        " ",
        "<",
        "<think>",
        "<tool_call>[" + "'",
    ],
)
def test_hostile_replies_cost_linear_time(unit):
    """A quadratic reader would sit here for minutes."""
    text = "<tool_call>" + unit * (100_000 // len(unit))

    splitter = ChannelSplitter()
    said = "".join(e.text for c in text for e in splitter.feed(c) if not isinstance(e, ToolCall))
    said += "".join(e.text for e in splitter.flush() if not isinstance(e, ToolCall))

    assert said.count("{") == text.count("{")


def test_deeply_nested_arguments_are_no_call():
    text = "<tool_call>" + "[" * 20_000 + "]" * 2_000 + "</tool_call>"

    assert heard(text)[0][0] == "text"
