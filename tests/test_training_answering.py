"""What the evaluator remembers of a conversation changes nothing of what is said in it."""

import random
from pathlib import Path

import pytest

from training import prefixes
from training.answering import Speaker
from training.dialogue import Turn
from training.evaluate import Evaluation
from training.skills import Examiner
from training.world import Inventor

FOLDER = Path(__file__).parent.parent / "models" / "hermes-mini"


@pytest.fixture
def speaker():
    return Speaker.load(FOLDER)


@pytest.fixture
def tries():
    """Conversations of one to four lines, with personas of all lengths."""
    exam = Examiner(Inventor(random.Random(9), "held_out"))
    return [one for ago in (1, 2, 4) for one in exam.recalls("name", ago, 4)]


def had(speaker, tries):
    """All replies, by conversation."""
    Evaluation(speaker).score("recalls", tries)
    return [one.answers for one in tries]


def test_a_conversation_goes_as_it_would_if_it_were_read_anew_at_each_line(speaker, tries):
    said = had(speaker, tries)

    for one, answers in zip(tries, said, strict=True):
        spoken = [place for place, turn in enumerate(one.turns) if turn.role == "assistant"]
        before = spoken[-len(answers) :]
        alone = [Speaker(speaker.model, speaker.tokenizer).answer(one.turns[:at]) for at in before]
        assert alone == answers


def test_what_was_said_need_not_be_read_again(speaker, tries):
    turns = [*tries[0].turns, Turn("user", "hello")]
    read = len(speaker.prompt(turns))

    said = Turn("assistant", speaker.answer(turns))

    after = speaker.prompt([*turns, said, Turn("user", "how are you?")])
    assert speaker.prefixes.known(after) > read


def test_what_was_used_least_lately_is_forgotten_first(speaker, tries, monkeypatch):
    prompts = [speaker.prompt(one.turns) for one in tries[:3]]
    monkeypatch.setattr(prefixes, "KEPT_TOKENS", len(prompts[0]) + len(prompts[1]) + 40)

    for one in tries[:3]:
        speaker.answer(one.turns)

    assert [speaker.prefixes.known(ids) > 0 for ids in prompts][::2] == [False, True]
