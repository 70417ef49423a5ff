"""Guessing the next tokens from the text: it saves steps and changes no word of a reply."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from transformers import LlamaForCausalLM

from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.drafts import PAUSES, Drafter
from hermes_ui.generation.engine import EngineIdentity
from hermes_ui.generation.local import TransformersEngine
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import ask, spoken, text_of
from tests.tiny_model import byte_tokenizer, write_tiny_model

CAPACITY = Capacity(1024, max_active=4, max_waiting=40, cache_tokens=4096, step_tokens=128)
PLAIN = replace(CAPACITY, draft_tokens=0)
VERSE = "The lamp is lit over the harbour wall, the sea is calm. " * 6
REFRAIN = ask(Message("user", VERSE))
WORDS = {byte_tokenizer().encode(word)[-1]: 60.0 for word in (" the", " lamp", " sea")}


class Counting(LlamaForCausalLM):
    """Counts its steps."""

    steps = 0

    def forward(self, *args, **kwargs):
        self.steps += 1
        return super().forward(*args, **kwargs)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"), end_bias=-30.0)


@pytest.fixture
def model(folder):
    return Counting.from_pretrained(folder).requires_grad_(False).eval()


def engine_of(model, capacity):
    identity = EngineIdentity("tiny", "", "float32", "", "cpu", "", "")
    return TransformersEngine(model, byte_tokenizer(), identity, capacity)


def knobs(seed, **changes):
    """Cool enough for a random model to repeat itself, which is what drafts live on."""
    return SamplingParams(**{"seed": seed, "temperature": 0.05, "max_tokens": 64} | changes)


def test_a_reply_that_repeats_itself_takes_fewer_steps_and_is_the_same(model):
    said, steps = {}, {}
    for capacity in (PLAIN, CAPACITY):
        with closing(engine_of(model, capacity)) as engine:
            before = model.steps
            said[capacity.draft_tokens] = spoken(engine, REFRAIN, knobs(1, logit_bias=WORDS))
            steps[capacity.draft_tokens] = model.steps - before

    plain, drafted = PLAIN.draft_tokens, CAPACITY.draft_tokens
    assert said[drafted] == said[plain]
    assert steps[drafted] < 0.6 * steps[plain]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"temperature": 1.0}, id="guesses are refused"),
        pytest.param({"dry_multiplier": 0.8}, id="dry"),
        pytest.param({"frequency_penalty": 0.4}, id="penalties"),
        pytest.param({"banned_strings": ("a",)}, id="banned texts"),
        pytest.param({"stop": ("the",)}, id="stop"),
        pytest.param({"max_tokens": 7}, id="short"),
    ],
)
def test_drafts_change_no_reply_alone_or_in_company(model, changes):
    wanted = [knobs(seed, **changes) for seed in range(3)]
    with closing(engine_of(model, PLAIN)) as engine:
        plain = [finish_and_text(engine, each) for each in wanted]
    with closing(engine_of(model, CAPACITY)) as engine:
        alone = [finish_and_text(engine, each) for each in wanted]
        with ThreadPoolExecutor(3) as pool:
            together = list(pool.map(lambda each: finish_and_text(engine, each), wanted))

    assert alone == plain
    assert together == plain


def test_the_next_turn_reuses_what_drafts_wrote(model):
    params = knobs(
        3, max_tokens=120, logit_bias=WORDS
    )  # words that are the same tokens when they are read again
    with closing(engine_of(model, CAPACITY)) as engine:
        said = spoken(engine, REFRAIN, params)
        longer = ask(
            Message("user", VERSE),
            Message("assistant", said),
            Message("user", "Go on."),
        )
        warm = list(engine.stream(longer, params))
    with closing(engine_of(model, PLAIN)) as engine:
        cold = list(engine.stream(longer, params))

    assert text_of(warm) == text_of(cold)
    assert warm[-1].cached_tokens > engine.count_tokens(REFRAIN.pieces) + 64


def test_a_drafter_rests_longer_after_each_refused_guess():
    drafter = Drafter([1, 2, 3, 1, 2])
    waits = []
    for _ in range(12):
        waits.append(0)
        while not drafter.draft(7):
            drafter.add([3, 1, 2][waits[-1] % 3])
            waits[-1] += 1
        drafter.judge(2, 0)

    assert waits[1] >= PAUSES[0]
    assert waits == sorted(waits)
    assert PAUSES[1] <= waits[-1] <= PAUSES[1] + 3


def test_drafts_grow_while_they_are_right():
    drafter = Drafter([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2])
    sizes = []
    for _ in range(3):
        sizes.append(len(drafter.draft(7)))
        drafter.judge(sizes[-1], sizes[-1])

    assert sizes == [2, 4, 7]
    assert drafter.draft(1) == [3]


def test_a_short_refrain_is_guessed_to_go_round():
    drafter = Drafter([1, 2, 1, 2])
    drafter.judge(2, 2)

    assert drafter.draft(7) == [1, 2, 1, 2]


def finish_and_text(engine, params):
    events = list(engine.stream(REFRAIN, params))
    finish = events[-1]
    return text_of(events), finish.reason, finish.completion_tokens
