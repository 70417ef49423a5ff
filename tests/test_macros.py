from collections import Counter
from dataclasses import replace
from datetime import datetime

import pytest

from hermes_ui.prompt.macros import MAX_DRAWS, MAX_GROWTH, Draw, MacroContext, expand

NOW = datetime(2026, 9, 28, 17, 3)


@pytest.fixture
def context():
    return MacroContext("Ava", "Ben", seed=7, now=NOW)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        pytest.param("{{char}} and {{user}}", "Ava and Ben", id="names"),
        pytest.param("{{CHAR}} {{ User }}", "Ava Ben", id="any case and blanks"),
        pytest.param("<BOT> <char> <USER>", "Ava Ava Ben", id="old spellings"),
        pytest.param("a{{// a note }}b{{//}}c", "abc", id="notes"),
        pytest.param("a{{comment: not {{char}}}}b", "ab", id="comments"),
        pytest.param("a{{hidden_key: x}}b", "ab", id="hidden keys"),
        pytest.param("{{reverse:abc}} {{reverse:{{char}}}}", "cba avA", id="reverse"),
        pytest.param("a{{newline}}b{{noop}}c", "a\nbc", id="newline and noop"),
        pytest.param("a\n\n{{trim}}\r\n\nb", "ab", id="trim"),
        pytest.param("{{trim}}\n\n\nb\n", "b\n", id="trim at the start"),
        pytest.param(
            "{{time}} {{date}} {{weekday}} {{isotime}} {{isodate}}",
            "5:03 PM September 28, 2026 Monday 17:03 2026-09-28",
            id="clock",
        ),
        pytest.param("{{{char}}} {{{{char}}}}", "{Ava} {{Ava}}", id="more braces"),
        pytest.param("{{random:{{char}},{{char}}}}", "Ava", id="macros in macros"),
        pytest.param("{{group}} {{charIfNotGroup}}", "Ava Ava", id="group names"),
    ],
)
def test_macros_are_replaced(context, text, expanded):
    assert expand(text, context) == expanded


@pytest.mark.parametrize(
    "text",
    [
        "{{unknown}}",
        "{{getvar::x}}",
        "{{char",
        "char}}",
        "{{}}",
        "{{ }}",
        "{{char x}}",
        "{{user's}}",
        "{{random}}",
        "{{random:}}",
        "{{roll:}}",
        "{{roll:0}}",
        "{{roll:0d6}}",
        "{{roll:1000d6}}",
        "{{roll:six}}",
        '{"a": {"b": {"c": 1}}}',
        "<START>",
        "{{original}} {{description}}",
    ],
)
def test_what_is_no_macro_stays(context, text):
    assert expand(text, context) == text
    assert not context.draws


def test_texts_of_the_persona_can_be_put_in(context):
    filled = replace(context, description="D", personality="P", scenario="S", original="O")

    assert expand("{{description}}{{personality}}{{scenario}}{{original}}", filled) == "DPSO"


def test_hidden_keys_show_when_a_text_is_scanned(context):
    assert expand("a{{hidden_key:x}}", context.at("scan", hidden_keys=True)) == "ax"


def test_a_name_is_never_expanded(context):
    tricky = replace(context, user="{{char}}}} {{roll:6}} {{random:a,b}} <BOT>", char="{{user}}")

    assert expand("{{user}}|<USER>", tricky) == f"{tricky.user}|{tricky.user}"
    assert expand("{{char}}", tricky) == "{{user}}"


def test_a_name_cannot_become_the_macro_around_it(context):
    tricky = replace(context, user="roll:6")

    assert expand("{{ {{user}} }} {{{{user}}}}", tricky) == "{{ roll:6 }} {{roll:6}}"


def test_a_name_with_a_comma_is_one_item(context):
    tricky = replace(context, user="Smith, John :: II")

    assert expand("{{random:{{user}}}}", tricky) == tricky.user
    assert expand("{{random::{{user}}}}", tricky) == tricky.user


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        pytest.param("{{random:a,b,c}}", {"a", "b", "c"}, id="commas"),
        pytest.param("{{random::a,1::b}}", {"a,1", "b"}, id="colons"),
        pytest.param(r"{{pick:a\,1, b}}", {"a,1", "b"}, id="escaped comma"),
        pytest.param("{{pick::a::b}}", {"a", "b"}, id="pick"),
        pytest.param("{{roll:d3}}", {"1", "2", "3"}, id="one die"),
        pytest.param("{{roll:3}}", {"1", "2", "3"}, id="a number is a die"),
        pytest.param("{{roll 2d2}}", {"2", "3", "4"}, id="two dice"),
        pytest.param("{{roll:2d2-1}}", {"1", "2", "3"}, id="with a bonus"),
    ],
)
def test_draws_take_every_choice(context, text, choices):
    drawn = {expand(text, replace(context, seed=seed)) for seed in range(60)}

    assert drawn == choices


def test_dice_are_fair(context):
    drawn = Counter(
        expand("{{roll:d6}}", replace(context, seed=seed, draws=[])) for seed in range(6000)
    )

    assert all(850 < count < 1150 for count in drawn.values())


def test_every_draw_is_recorded(context):
    text = expand("{{random:a,b}} {{char}} {{roll:d6}}", context)

    first, _, second = text.split()
    assert context.draws == [Draw("{{random:a,b}}", first), Draw("{{roll:d6}}", second)]


def test_the_seed_fixes_every_draw(context):
    text = "{{roll:1000}} {{random:a,b,c,d}} {{roll:1000}}"

    assert expand(text, context) == expand(text, context)
    assert expand(text, context) != expand(text, replace(context, seed=8))


def test_a_sentence_elsewhere_changes_no_draw(context):
    text = "{{roll:1000000}}, {{random:a,b,c,d,e,f,g,h}}"

    assert expand(f"Before. {{{{roll:9}}}} {text}", context).endswith(expand(text, context))


def test_the_same_macro_draws_anew_each_time_and_in_each_place(context):
    here = expand("{{roll:1000000}} {{roll:1000000}}", context).split()
    there = expand("{{roll:1000000}}", context.at("elsewhere"))

    assert len({*here, there}) == 3


def test_growth_is_bounded(context):
    filled = replace(context, description="D" * 100_000)

    assert len(expand("{{description}}" * 10_000, filled)) < MAX_GROWTH + 15 * 10_000


def test_draws_are_bounded(context):
    expand("{{roll:6}}" * (MAX_DRAWS + 10), context)

    assert len(context.draws) == MAX_DRAWS


def test_macros_that_are_too_deep_stay(context):
    text = "{{reverse:" * 40 + "ab" + "}}" * 40

    assert "{{reverse:" in expand(text, context)
