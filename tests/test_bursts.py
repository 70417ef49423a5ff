"""Whole replies in bursts, by an engine that steps as on a GPU, in Triton's interpreter."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="comes with PyTorch for GPUs")

from hermes_ui.errors import EngineError
from hermes_ui.generation import gpu_layers, local, paging
from hermes_ui.generation.graphs import Graphs
from hermes_ui.generation.loading import ModelChoice, load
from hermes_ui.generation.placement import Placement
from hermes_ui.generation.rows import RowStep
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import ask, until_text, wait_until
from tests.tiny_model import write_tiny_model

PLACE = Placement("cuda" if torch.cuda.is_available() else "cpu", "float32", "")
BURST = 5
PROMPT = ask(Message("user", "Say hello to the lamp, the harbour and the sea, friend."))
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(local, "_attention", lambda model: RowStep)
    if PLACE.device == "cpu":
        monkeypatch.setattr(gpu_layers, "OUTPUTS", 512)  # fewer programs: a millisecond each
    monkeypatch.setattr(paging, "BURST", BURST)


@pytest.fixture
def bursts(monkeypatch):
    """The steps of every burst that there was."""
    seen, burst = [], Graphs.burst

    def noted(self, *args):
        drawn = burst(self, *args)
        seen.append(len(drawn[0]))
        return drawn

    monkeypatch.setattr(Graphs, "burst", noted)
    return seen


@contextmanager
def loaded(folder, **limits):
    with closing(load(ModelChoice(folder, "tiny", ""), PLACE, context_length=256, **limits)) as it:
        yield it


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def replies(engine, asked):
    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda params: list(engine.stream(PROMPT, params)), asked))


def told(events):
    """The text and how it ended, in whatever pieces it came."""
    return "".join(event.text for event in events[:-1] if hasattr(event, "text")), events[-1]


def test_replies_are_the_same_as_step_by_step(folder, bursts, monkeypatch):
    asked = [
        SamplingParams(max_tokens=12, seed=1, temperature=1.2),
        SamplingParams(max_tokens=17, seed=2, top_p=1, min_p=0, frequency_penalty=0.5),
        SamplingParams(max_tokens=9, temperature=0),
    ]
    with loaded(folder) as engine:
        together = [told(events) for events in replies(engine, asked)]
        assert max(bursts) == BURST
    monkeypatch.setattr(paging, "BURST", 0)
    bursts.clear()
    with loaded(folder) as engine:
        alone = [told(list(engine.stream(PROMPT, params))) for params in asked]

    assert not bursts
    assert [text for text, _ in together] == [text for text, _ in alone]
    for (_, one), (_, other) in zip(together, alone, strict=True):
        assert (one.reason, one.completion_tokens) == (other.reason, other.completion_tokens)


def test_a_reply_that_reaches_its_limit_does_not_hold_up_the_others(folder, bursts):
    asked = [SamplingParams(max_tokens=count, seed=count) for count in (2, 7, 13, 16)]
    with loaded(folder) as engine:
        ends = [events[-1] for events in replies(engine, asked)]

    assert [end.completion_tokens for end in ends] == [2, 7, 13, 16]
    assert len(bursts) <= 6  # as many as the longest takes, and while the others come in


def test_a_reply_ends_where_it_says_so(tmp_path, bursts):
    """Whatever the rest of the burst drew is nobody's."""
    with loaded(write_tiny_model(tmp_path, end_bias=0.6)) as engine:
        ends = [replies(engine, [SamplingParams(seed=seed)])[0][-1] for seed in range(3)]
        assert all(end.reason == "stop" for end in ends)
        assert len({end.completion_tokens % BURST for end in ends}) > 1
        assert bursts
        assert engine.cache.running == 0


def test_a_page_that_is_full_with_the_last_burst_is_remembered(folder, bursts):
    with loaded(folder) as engine:
        read = len(engine.token_ids(PROMPT.pieces))
        replies(engine, [SamplingParams(max_tokens=65 - read, seed=3)])  # the last is not read

        assert bursts
        assert engine.cache.remembered == 64


def test_what_looks_at_the_text_goes_step_by_step(folder, bursts):
    with loaded(folder) as engine:
        for knobs in ({"dry_multiplier": 0.8}, {"banned_strings": ("lamp",)},
                      {"xtc_probability": 0.5}, {"logit_bias": {5: 3.0}}):  # fmt: skip
            list(engine.stream(PROMPT, SamplingParams(max_tokens=4, **knobs)))

    assert not bursts


def test_an_output_that_is_no_number_ends_the_reply_only(folder, bursts):
    with loaded(folder) as engine:
        weight = engine._batcher.model.model.norm.weight
        events = engine.stream(PROMPT, SamplingParams(max_tokens=60))
        until_text(events)
        weight.data[3] = torch.nan
        with pytest.raises(EngineError, match="not a number"):
            list(events)
        weight.data[3] = 1.0

        *_, end = engine.stream(PROMPT, SamplingParams(max_tokens=8))

        assert bursts
        assert end.completion_tokens == 8


def test_a_reply_that_is_closed_leaves_nothing_behind(folder, bursts):
    with loaded(folder) as engine:
        events = engine.stream(PROMPT, SamplingParams(max_tokens=100))
        until_text(events)
        wait_until(lambda: bursts)
        events.close()

        assert engine.active == 0
        assert engine.cache.running == 0
