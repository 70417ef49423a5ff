"""The engine under bad input, a full line, too little memory, and callers who leave."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from hermes_ui.errors import ContextOverflow, EngineBusy, EngineError
from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.engine import EngineIdentity, Finish, Waiting
from hermes_ui.generation.local import TransformersEngine
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import LONG, SHORT, ask, spoken, until_text, wait_until
from tests.tiny_model import byte_tokenizer, write_tiny_model

IDENTITY = EngineIdentity("tiny", "", "float32", "", "cpu", "", "")


STATM = Path("/proc/self/statm")


def resident_bytes():
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Moody(LlamaForCausalLM):
    """Does once what it is told to: raise an error, or say nothing that is a number."""

    fault: BaseException | float | None = None

    def forward(self, *args, **kwargs):
        fault, self.fault = self.fault, None
        if isinstance(fault, BaseException):
            raise fault
        output = super().forward(*args, **kwargs)
        if fault is not None:
            output.logits.fill_(fault)
        return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def engine_of(model, **changes):
    limits = {"max_active": 8, "max_waiting": 32, "cache_tokens": 8192, "step_tokens": 128}
    capacity = Capacity(context_length=512, **(limits | changes))
    return TransformersEngine(model, byte_tokenizer(), IDENTITY, capacity)


@pytest.fixture(scope="module")
def model(folder):
    return Moody.from_pretrained(folder).requires_grad_(False).eval()


@pytest.fixture
def engine(model):
    with closing(engine_of(model)) as engine:
        yield engine


@pytest.fixture
def prompt():
    return ask(Message("user", "Say hello."))


def test_too_long_a_prompt_is_told_in_numbers(engine):
    long = ask(Message("user", "a" * 800))

    with pytest.raises(ContextOverflow) as overflow:
        next(engine.stream(long, SHORT))

    assert overflow.value.needed == len(engine.token_ids(long.pieces))
    assert overflow.value.available == engine.context_length - 1


def test_values_that_outgrow_the_format_of_the_cache_break_no_reply(folder, prompt):
    model = LlamaForCausalLM.from_pretrained(folder).requires_grad_(False).eval()
    for layer in model.model.layers:
        layer.self_attn.v_proj.weight *= 1e6
        layer.self_attn.o_proj.weight /= 1e6

    with closing(engine_of(model)) as engine:
        assert spoken(engine, prompt, SHORT)


@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell what is resident")
def test_memory_of_the_cache_is_taken_as_it_fills(model, prompt):
    before = resident_bytes()
    with closing(engine_of(model, cache_tokens=2_000_000)) as engine:
        spoken(engine, prompt, SHORT)
        grown = resident_bytes() - before
        cache = model.config.num_hidden_layers * 2 * 2 * 16 * 2 * engine.cache.total

    assert cache > 500_000_000
    assert grown < 0.4 * cache


def test_everyone_in_line_is_told_the_place_and_the_line_has_an_end(model, prompt):
    with closing(engine_of(model, max_active=1, max_waiting=2)) as engine:
        first, second, third, fourth = (engine.stream(prompt, LONG) for _ in range(4))
        until_text(first)

        assert next(second) == Waiting(0)
        assert next(third) == Waiting(1)
        with pytest.raises(EngineBusy) as busy:
            next(fourth)
        assert busy.value.waiting == 2
        second.close()
        assert next(third) == Waiting(0)
        for events in (third, first):
            events.close()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory."), id="of a GPU"),
        pytest.param(
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
            id="of PyTorch on a CPU",
        ),
        pytest.param(MemoryError(), id="of Python"),
    ],
)
def test_too_little_memory_fails_the_step_and_not_the_engine(engine, model, prompt, fault):
    before = spoken(engine, prompt, SHORT)
    streams = [engine.stream(prompt, LONG) for _ in range(3)]
    for events in streams:
        until_text(events)

    model.fault = fault

    for events in streams:
        with pytest.raises(EngineError, match="ran out of memory"):
            list(events)
    assert (engine.active, engine.cache.running) == (0, 0)
    assert spoken(engine, prompt, SHORT) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_end_the_request(engine, model, prompt, value):
    before = spoken(engine, prompt, SHORT)
    events = engine.stream(prompt, LONG)
    until_text(events)

    model.fault = value

    with pytest.raises(EngineError, match="not a number"):
        list(events)
    assert (engine.active, engine.cache.running) == (0, 0)
    assert spoken(engine, prompt, SHORT) == before


def test_a_request_that_broke_ends_even_when_nobody_listens(engine, model, prompt):
    events = engine.stream(prompt, LONG)
    until_text(events)

    model.fault = float("nan")

    wait_until(lambda: engine.cache.running == 0)
    with pytest.raises(EngineError, match="not a number"):
        list(events)


def test_a_thousand_requests_cancelled_at_any_point_leave_nothing_behind(model, prompt):
    """Before the first event, in the line, while the prompt is read, while the reply grows."""
    dice = random.Random(1)
    plans = [(dice.randrange(7), "word " * dice.randrange(60)) for _ in range(1000)]

    def cancel(plan):
        events_heard, text = plan
        params = SamplingParams(max_tokens=60, banned_strings=("the",), dry_multiplier=0.8)
        with closing(engine.stream(ask(Message("user", text)), params)) as events:
            for _ in range(events_heard):
                next(events, None)

    with closing(engine_of(model, max_active=3, max_waiting=1000, step_tokens=32)) as engine:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(cancel, plans))

        use = engine.cache
        assert (engine.active, use.running) == (0, 0)
        assert not engine._batcher.requests
        assert isinstance(list(engine.stream(prompt, SHORT))[-1], Finish)
