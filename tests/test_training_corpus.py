"""The text that the embedded model learns from, and the judges that measure it."""

import json
import random
import re
from itertools import islice, pairwise

import pytest

import training.corpus
from hermes_ui.prompt.tools import system_text
from hermes_ui.toolbox import TOOLBOX
from training.corpus import Corpus, Mix, start_talk
from training.dialogue import Talk
from training.evaluate import loops, speaks_for
from training.forms import ask_for, draw_form, fill
from training.functions import call, draw_functions, name_is_own, offer, refuse
from training.grammar import load
from training.lists import list_document
from training.skills import is_filled, is_form, parsed_calls
from training.speech import has_style
from training.world import Inventor, in_split

DOCUMENTS = 60
FAVOURITE_ASKED = re.compile(r"(what|which|know|remember).*(my favourite|do I like best)")
UNKNOWN = re.compile(r"never said|do not know|don't know|not told|n't told")


@pytest.fixture
def inventor():
    return Inventor(random.Random(3), "held_out")


def test_the_same_seed_gives_the_same_documents():
    first, second = (list(islice(Corpus(5), DOCUMENTS)) for _ in range(2))

    assert first == second


def test_held_out_people_are_in_no_training_document():
    held_out = Inventor(random.Random(1), "held_out")
    names = {held_out.first_name() for _ in range(200)}
    text = "\n".join(turn.text for doc in islice(Corpus(6), DOCUMENTS) for turn in doc)

    assert not {name for name in names if len(name) > 6 and f" {name} " in text}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_functions_belong_to_their_split(split):
    inventor = Inventor(random.Random(2), split)
    for function in draw_functions(inventor, 3) + draw_functions(inventor, 3):
        if function.tool.name not in TOOLBOX:
            parameters = ", ".join(function.tool.parameters["properties"])
            assert in_split(f"{function.tool.name}({parameters})", split)


def test_a_call_is_written_as_the_app_reads_it(inventor):
    for _ in range(40):
        talk, functions = start_talk(inventor, "short"), draw_functions(inventor, 2)
        offer(talk, functions)
        request = call(talk, functions[0])

        assert system_text([each.tool for each in functions]) in talk.turns[0].text
        assert parsed_calls(talk.turns[-3].text) == [
            (functions[0].tool.name, dict(request.arguments))
        ]
        assert any(told.lower() in talk.turns[-1].text.lower() for told in request.told)


def test_the_arguments_of_a_call_stand_in_the_request(inventor):
    missing = 0
    for _ in range(80):
        talk, (function,) = start_talk(inventor, "short"), draw_functions(inventor, 1)
        request = call(talk, function)
        asked = talk.turns[-4].text.lower()
        if function.kind in ("dice", "clock", "sum"):
            continue  # said in words, such as "two ten-sided dice"
        texts = [each for each in request.arguments.values() if not isinstance(each, bool)]
        missing += any(str(text).lower() not in asked for text in texts)

    assert missing == 0


def test_alike_functions_are_different_lookups_of_one_domain(inventor):
    domains = load("functions")["lookups"].values()
    for count in (1, 2, 3, 4) * 5:
        functions = draw_functions(inventor, count, alike=True)
        taken = [list(each.tool.parameters["properties"]) for each in functions]

        assert len(functions) == max(count, 2)
        assert all(function.domain for function in functions)
        assert len({function.kind for function in functions}) == len(functions)
        assert len({function.tool.name for function in functions}) == len(functions)
        assert any(all(name in about["parameter"] for (name,) in taken) for about in domains)


def test_some_parameters_have_an_odd_name_in_training_only():
    odd = set(load("functions")["odd_parameters"])
    usual = {name for about in load("functions")["lookups"].values() for name in about["parameter"]}
    shares = []
    for split in ("train", "held_out"):
        source = Inventor(random.Random(2), split)
        drawn = [draw_functions(source, 2, alike=True)[0] for _ in range(100)]
        names = [name for each in drawn for name in each.tool.parameters["properties"]]
        shares.append(sum(name in odd - usual for name in names) / len(names))

    assert 0.05 < shares[0] < 0.3
    assert shares[1] == 0


def test_alike_functions_at_times_share_a_word(inventor):
    shared = 0
    for _ in range(100):
        kinds = [each.kind.split() for each in draw_functions(inventor, 4, alike=True)]
        words = [word for kind in kinds for word in kind]
        shared += len(set(words)) < len(words)

    assert 15 < shared < 75


def test_a_drill_asks_once_for_each_function_and_for_what_is_not_on_offer():
    corpus, refused = Corpus(11), 0
    for _ in range(40):
        turns = corpus.drill()
        offered = re.findall(r'"function": \{"name": "(\w+)"', turns[0].text)
        said = [turn.text for turn in turns if turn.role == "assistant"]
        calls = [parsed_calls(each) for each in said]

        assert sorted(call[0][0] for call in calls if call) == sorted(offered)
        assert all(turn.learned for turn in turns if turn.role == "assistant")
        assert {turn.role for turn in turns} == {"system", "user", "assistant"}
        refused += calls.count(None)

    assert refused > 40


def functions_documents(corpus, count):
    """Documents with functions: the names on offer, the calls, and how much is asked."""
    for _ in range(count):
        turns = corpus.calls()
        offered = re.findall(r'"function": \{"name": "(\w+)"', turns[0].text)
        called = [
            parsed_calls(turn.text)[0][0]
            for turn in turns
            if turn.role == "assistant" and turn.text.startswith("<tool_call>")
        ]
        yield offered, called, sum(turn.role == "user" for turn in turns)


def test_functions_that_were_not_called_yet_come_first():
    corpus, several = Corpus(4, mix=Mix(requests=(8, 8))), 0
    for offered, called, _ in functions_documents(corpus, 60):
        first = called[: len(offered)]
        assert len(set(first)) == len(first)
        several += len(called) > 1

    assert several > 40


def test_a_conversation_with_functions_has_as_many_requests_as_the_mix_says(monkeypatch):
    monkeypatch.setattr(Talk, "step", lambda self: refuse(self, draw_functions(self.inventor, 1)))
    monkeypatch.setattr(training.corpus, "examples", lambda talk: [])
    asked = [asked for *_, asked in functions_documents(Corpus(4), 60)]

    assert (min(asked), max(asked)) == Mix().requests


def test_about_a_third_of_the_offers_are_alike(monkeypatch):
    def without_own():
        offers = [offered for offered, *_ in functions_documents(Corpus(4), 150)]
        return sum(len(each) > 1 and not any(map(name_is_own, each)) for each in offers)

    found = without_own()
    monkeypatch.setattr(training.corpus, "ALIKE_SHARE", 0)
    none = without_own()
    monkeypatch.setattr(training.corpus, "ALIKE_SHARE", 1)
    every = without_own()

    assert 0.2 < (found - none) / (every - none) < 0.5


def test_what_a_record_holds_stands_in_the_text():
    source, seen = Inventor(random.Random(5)), 0
    for _ in range(60):
        turns = list_document(source)
        for asked, said in pairwise(turns):
            if said.role == "assistant" and turns[0].text.startswith("[") and "{" in said.text:
                record = json.loads(said.text)
                assert list(record) == json.loads(turns[0].text)
                assert all(str(value) in asked.text for value in record.values())
                seen += 1

    assert seen > 10


@pytest.mark.parametrize("is_even", [False, True])
def test_calls_count_more_until_all_count_alike(is_even):
    mix = Mix(0, 0, 1, 0, is_even=is_even)
    turns = [turn for each in islice(Corpus(5, mix=mix), 10) for turn in each]

    called, said = (
        {turn.learned for turn in turns if turn.role == "assistant" and is_call is (
            parsed_calls(turn.text) is not None
        )}
        for is_call in (True, False)
    )  # fmt: skip

    assert called == {1.0 if is_even else 3.0}
    assert 1.0 in said


def test_what_a_catalogue_is_asked_for_it_calls_with_what_goes_with_it():
    source, seen = Inventor(random.Random(5)), 0
    for _ in range(60):
        turns = list_document(source)
        if not turns[0].text.startswith('{"name"'):
            continue
        listed = {each["name"]: each for each in map(json.loads, turns[0].text.splitlines())}
        for asked, said in pairwise(turns):
            for name, arguments in parsed_calls(said.text) or ():
                ((key, value),) = arguments.items()
                assert listed[name]["parameters"] == [key]
                assert listed[name]["description"].rstrip(".") in asked.text
                assert value in asked.text
                seen += 1

    assert seen > 50


def test_it_denies_to_be_another_model():
    source, denied = Inventor(random.Random(5)), 0
    for _ in range(200):
        talk = start_talk(source, "short")
        talk.step("identity")
        assert "a small demonstration model" in talk.turns[-1].text
        said = talk.turns[-1].text.split("* ")[-1]
        denied += said.startswith(("No, ", "I am not "))

    assert 0.15 < denied / 200 < 0.35


def test_a_form_may_be_asked_for_with_many_fields(inventor):
    assert max(len(draw_form(inventor, 4).fields) for _ in range(20)) > 4


def test_what_nothing_fits_is_refused_in_words(inventor):
    talk, functions = start_talk(inventor, "short"), draw_functions(inventor, 2)

    refuse(talk, functions)

    assert "<tool_call>" not in talk.turns[-1].text


def test_a_filled_form_follows_its_schema(inventor):
    for _ in range(40):
        talk, form = start_talk(inventor, "short"), draw_form(inventor)
        ask_for(talk, form, alone=True)
        values = fill(talk, form)

        assert list(values) == list(form.schema["properties"])
        assert is_form(talk.turns[-1].text, values)
        assert is_filled(talk.turns[-1].text, values)


def test_the_values_of_a_form_stand_in_the_text(inventor):
    for _ in range(60):
        talk, form = start_talk(inventor, "short"), draw_form(inventor)
        for value in fill(talk, form).values():
            if not isinstance(value, bool):
                assert str(value) in talk.turns[-2].text


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        pytest.param('{"age": 3, "name": "Ada"}', True, id="any order"),
        pytest.param('{"name": "Ada", "age": "3"}', False, id="a number as text"),
        pytest.param('{"name": "Ada"}', False, id="a field missing"),
        pytest.param('{"name": "Ada", "age": 3, "age": 3}', False, id="a field twice"),
        pytest.param('{"name": "Ada", "age": 3}.', False, id="something behind it"),
        pytest.param("Ada is three.", False, id="no JSON"),
    ],
)
def test_a_form_is_judged_by_its_fields(text, valid):
    assert bool(is_form(text, {"name": "Ada", "age": 3})) is valid


@pytest.mark.parametrize("style", ["pirate", "formal", "cheerful", "gloomy", "poetic", "terse"])
def test_a_styled_persona_shows_its_style(inventor, style):
    shown = []
    while len(shown) < 60:
        talk = start_talk(inventor, "short")
        if talk.world.style == style:
            for _ in range(4):
                talk.step("talk")
            shown += [has_style(t.text, style) for t in talk.turns if t.role == "assistant"]

    assert sum(shown) / len(shown) >= 0.95


def test_what_is_asked_back_was_mostly_told():
    known = asked = 0
    for turns in islice(Corpus(11, mix=Mix(0, 0, 0, 0, exchanges=(4, 12))), 300):
        for question, answer in pairwise(turns):
            if question.role == "user" and FAVOURITE_ASKED.search(question.text):
                asked += 1
                known += not UNKNOWN.search(answer.text)

    assert asked > 40
    assert known / asked >= 0.6


def test_a_plain_persona_mostly_shows_no_style(inventor):
    texts = []
    while len(texts) < 80:
        talk = start_talk(inventor, "short")
        if talk.world.style == "plain":
            talk._talk()
            texts += [turn.text for turn in talk.turns if turn.role == "assistant"]

    for style in ("pirate", "formal", "gloomy", "poetic"):
        assert sum(has_style(text, style) for text in texts) / len(texts) < 0.12


def test_a_loop_is_eight_tokens_that_come_twice():
    assert loops((1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8))
    assert not loops(tuple(range(40)))


def test_a_line_in_the_users_name_is_seen():
    assert speaks_for("Mira", 'Yes.\n**Mira:** "No."')
    assert speaks_for("", "Yes.\nUser: no")
    assert not speaks_for("Mira", "Mira, sit down: the tea is hot.")


def test_the_corpus_writes_results_as_the_app_does():
    documents = islice(Corpus(9), 200)
    tools = [turn.text for turns in documents for turn in turns if turn.role == "tool"]

    assert tools
    for text in tools:
        body = text.removeprefix("<tool_response>\n").removesuffix("\n</tool_response>")
        assert set(json.loads(body)) == {"name", "content"}
