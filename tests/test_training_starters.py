"""The questions that are kept from the training, and the replies that it learns instead."""

import random
from itertools import islice, pairwise

import pytest

from hermes_ui.personas.library import PersonaLibrary
from training.corpus import Corpus, Mix
from training.grammar import load, pick
from training.questions import Question, held_out, passes, questions, wording
from training.starters import (
    DENIALS,
    FOLDER,
    dice_turns,
    kept_wordings,
    own_exchange,
    starter_step,
    starter_talk,
)
from training.world import Inventor

SLUGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
DRAWN = 20
LINES = 300


def replies(slug: str, question: Question, seed: int) -> list[str]:
    """Training replies of the exchange that answers `question`."""
    talk = starter_talk(Inventor(random.Random(seed)), slug)
    rules = load("starters")[slug]
    drawn = []
    if question.about:  # as if the user had spoken of nothing else
        talk.inventor.article_thing = talk.inventor.first_name = lambda: question.about
    for _ in range(DRAWN):
        if question.exchange == "dice":
            turns = dice_turns(talk, rules)
            drawn.append("\n".join(turn.text for turn in turns if turn.role == "assistant"))
        elif question.exchange == "identity":
            said = rules.get("identity", load("identity")["reply"])
            drawn.append(str(pick(said, {"name": talk.world.name}, talk.rng)))
        else:
            found = [each for each in rules["exchanges"] if each["key"] == question.exchange]
            assert len(found) == 1, (slug, question.exchange)
            own_exchange(talk, rules, found[0])
            drawn.append(talk.turns[-1].text)
    return drawn


@pytest.mark.parametrize("slug", SLUGS)
def test_every_persona_is_asked_twenty_questions(slug):
    assert len(questions(slug)) == 20
    assert len({wording(question.say) for question in questions(slug)}) == 20


@pytest.mark.parametrize("slug", SLUGS)
def test_the_tests_of_the_persona_are_among_them(slug):
    fields = ("say", "expect_any", "expect_all", "expect_none")
    asked = [[getattr(question, field) for field in fields] for question in questions(slug)]

    for each in PersonaLibrary(FOLDER).get(slug).tests:
        assert [getattr(each, field) for field in fields] in asked


@pytest.mark.parametrize("slug", SLUGS)
def test_no_question_is_ever_trained_on(slug):
    talk, said = starter_talk(Inventor(random.Random(5)), slug), set()
    while len(said) < LINES:
        starter_step(talk, slug)
        said |= {wording(turn.text) for turn in talk.turns if turn.role == "user"}
        del talk.turns[2:]

    assert said.isdisjoint(wording(question.say) for question in questions(slug))


def test_no_conversation_asks_what_is_kept_for_the_evaluation(monkeypatch):
    kept = load("identity")["held_out"][0]
    monkeypatch.setitem(load("identity"), "user", [kept, f"one question: {kept}", "are you a bot?"])
    documents = islice(Corpus(6, mix=Mix(0, 0.3, 0.2, 0)), 150)
    asked = {wording(turn.text) for turns in documents for turn in turns if turn.role == "user"}

    assert wording("are you a bot?") in asked
    assert asked.isdisjoint(kept_wordings())
    assert not any(each.endswith(wording(kept)) for each in asked)
    assert {wording(kept), wording(questions("benno")[-1].say)} <= kept_wordings()


@pytest.mark.parametrize("slug", SLUGS)
def test_what_is_learned_passes(slug):
    for number, question in enumerate(questions(slug)):
        for reply in replies(slug, question, number):
            assert passes(reply, question), (question.say, reply)


@pytest.mark.parametrize("slug", SLUGS)
def test_an_answer_to_something_else_fails_most_questions(slug):
    off_topic = "The capital of France is a large city with many museums."
    failed = [not passes(off_topic, question) for question in questions(slug)]

    assert sum(failed) >= 17, [q.say for q, f in zip(questions(slug), failed, strict=True) if not f]


FORMATS = {
    "mateo": lambda said: "(" in said and "?" in said,
    "night-bakery": lambda said: "**Agnes:**" in said and "**Bo:**" in said,
    "ruth": lambda said: said.count("?") == 1 or "Say" in said or "Better" in said,
    "orla": lambda said: "?" in said[-60:] or "<tool_call>" in said,
    "inez": lambda said: '"' in said,
    "tamsin": lambda said: '"' in said,
}


@pytest.mark.parametrize("slug", sorted(FORMATS))
def test_every_reply_keeps_the_format_of_its_persona(slug):
    talk = starter_talk(Inventor(random.Random(6)), slug)
    for _ in range(200):
        before = len(talk.turns)
        starter_step(talk, slug)
        for asked, said in pairwise(talk.turns[before:]):
            if said.role == "assistant" and "demonstration model" not in said.text:
                assert FORMATS[slug](said.text), (asked.text, said.text)
        del talk.turns[2:]


@pytest.mark.parametrize("slug", SLUGS)
def test_every_persona_denies_to_be_another_model(slug, monkeypatch):
    for name, share in (("starters.OWN_SHARE", 0), ("starters.DICE_SHARE", 0),
                        ("starters.IDENTITY_SHARE", 1), ("dialogue.OTHER_SHARE", 1)):  # fmt: skip
        monkeypatch.setattr(f"training.{name}", share)
    talk = starter_talk(Inventor(random.Random(6)), slug)
    for _ in range(30):
        starter_step(talk, slug)
        assert talk.turns[-1].text.startswith(DENIALS)
        assert "a small demonstration model" in talk.turns[-1].text


def test_words_typed_around_a_question_do_not_hide_it():
    assert held_out("orla", "Hello! Who are you, Orla?")
    assert not held_out("orla", "who are you then?")


def test_the_judge():
    rule = Question(
        say="x", expect_any=("bell",), expect_all=("?",), expect_none=("I am sorry",),
        exchange="dice", calls="roll_dice",
    )  # fmt: skip
    call = '<tool_call>\n{"name": "roll_dice", "arguments": {"notation": "1d20"}}\n</tool_call>\n'

    assert passes(call + "12. The BELL moves. What do you do?", rule)
    assert not passes("12. The bell moves. What do you do?", rule)
    assert not passes(call.replace("roll_dice", "clock") + "The bell moves. Now?", rule)
    assert not passes(call + "The bell moves.", rule)
    assert not passes(call + "What do you do?", rule)
    assert not passes(call + "I am sorry, the bell?", rule)


def test_the_judge_counts_questions():
    rule = Question(say="x", asks=1, exchange="who")

    assert passes("Ruth. And you?", rule)
    assert not passes("Ruth.", rule)
    assert not passes("Ruth? And you?", rule)
    assert not passes("", Question(say="x", exchange="who"))
