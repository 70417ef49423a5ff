"""A real transformers model in this process keeps the whole promise."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from hermes_ui.errors import EngineError, ModelError
from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.engine import Finish, TextDelta
from hermes_ui.generation.loading import ModelChoice, choose, load
from hermes_ui.generation.local import TransformersEngine
from hermes_ui.generation.placement import Placement, place
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import LONG, SHORT, SamplingContract, ask, spoken, text_of, until_text
from tests.tiny_model import byte_tokenizer, write_tiny_model

ON_CPU = Placement("cpu", "float32", "")
EMBEDDED = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def shared_engine(folder):
    with closing(load(ModelChoice(folder, "tiny", ""), ON_CPU)) as engine:
        yield engine


@pytest.fixture
def engine(shared_engine):
    return shared_engine


@pytest.fixture(scope="module")
def shared_narrow_engine(folder):
    choice = ModelChoice(folder, "tiny", "")
    with closing(load(choice, ON_CPU, max_active=1, max_waiting=1)) as engine:
        yield engine


@pytest.fixture
def prompt():
    return ask(Message("user", "Say hello."))


class TestTransformersEngine(SamplingContract):
    @pytest.fixture
    def engine(self, shared_engine):
        return shared_engine

    @pytest.fixture
    def narrow_engine(self, shared_narrow_engine):
        return shared_narrow_engine

    @pytest.fixture
    def mortal_engine(self, folder):
        with closing(load(ModelChoice(folder, "tiny", ""), ON_CPU)) as engine:
            yield engine


def test_bos_comes_exactly_once(engine, prompt):
    ids = engine.token_ids(prompt.pieces)

    assert ids[0] == engine._tokenizer.bos_token_id
    assert ids.count(ids[0]) == 1


def test_a_long_prompt_is_found_again_in_the_cache(engine):
    long = ask(Message("user", "The lamp is lit. " * 20))
    *_, first = engine.stream(long, SHORT)
    *_, second = engine.stream(long, SHORT)

    assert first.cached_tokens == 0
    assert second.cached_tokens >= second.prompt_tokens - 64


def test_a_cached_prompt_gives_the_same_reply(engine):
    long = ask(Message("user", "The sea is calm. " * 20))
    params = SamplingParams(seed=3, max_tokens=40)

    assert spoken(engine, long, params) == spoken(engine, long, params)


def test_eight_at_once_say_what_each_says_alone(engine):
    prompts = [ask(Message("user", f"{n} " * (10 + 25 * n))) for n in range(8)]
    params = [
        SamplingParams(seed=n, max_tokens=30 + n, temperature=n / 4, top_k=n * 10) for n in range(8)
    ]
    alone = [spoken(engine, *each) for each in zip(prompts, params, strict=True)]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: spoken(engine, *each), zip(prompts, params)))  # noqa: B905

    assert together == alone


def test_the_reply_is_what_the_model_says_to_the_same_ids(engine, prompt):
    """The paged path against a plain forward pass over the whole text."""
    params = SamplingParams(temperature=0, repetition_penalty=1, max_tokens=12)
    said = spoken(engine, prompt, params)

    ids = engine.token_ids(prompt.pieces)
    start = len(ids)
    model = engine._batcher.model
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        for _ in range(12):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    model.set_attn_implementation("hermes_paged")

    assert engine._tokenizer.decode(ids[start:]).startswith(said)


def test_what_is_banned_is_never_in_the_reply(engine, prompt):
    params = [SamplingParams(seed=seed, temperature=1.5, max_tokens=120) for seed in range(4)]
    said = [spoken(engine, prompt, each) for each in params]
    parts = {text[i : i + 3] for text in said for i in range(0, 80, 3)}
    banned = tuple(sorted(part for part in parts if part.isascii() and part)[:100])
    assert len(banned) > 10

    for each in params:
        reply = spoken(engine, prompt, each.model_copy(update={"banned_strings": banned}))
        assert reply
        assert not [text for text in banned if text.lower() in reply.lower()]


def test_what_a_continued_reply_begins_with_is_part_of_it(engine):
    begun = ask(Message("user", "Say hello."))
    begun = replace(begun, pieces=(*begun.pieces, "hel"), prefill="hel")
    favoured = engine._tokenizer.encode("l", add_special_tokens=False)[0]
    params = SamplingParams(temperature=0, max_tokens=3, logit_bias={favoured: 100})

    assert spoken(engine, begun, params).startswith("l")
    assert not spoken(
        engine, begun, params.model_copy(update={"banned_strings": ("hell",)})
    ).startswith("l")


def test_dry_ends_a_loop(engine, prompt):
    """At temperature 0 and without penalties the tiny model goes round in circles."""
    looping = SamplingParams(temperature=0, repetition_penalty=1, max_tokens=200)
    loop = spoken(engine, prompt, looping)
    dry = spoken(engine, prompt, looping.model_copy(update={"dry_multiplier": 2.0}))

    def repeats(text):
        return len(text) - len({text[i : i + 12] for i in range(len(text))})

    assert repeats(loop) > 40
    assert repeats(dry) < repeats(loop) / 4


def test_xtc_draws_from_the_requests_own_seed(engine, prompt):
    params = SamplingParams(seed=9, min_p=0, xtc_probability=0.5, xtc_threshold=0.05, max_tokens=40)
    alone = spoken(engine, prompt, params)
    company = [engine.stream(prompt, LONG) for _ in range(3)]
    for events in company:
        until_text(events)

    assert spoken(engine, prompt, params) == alone
    assert alone != spoken(engine, prompt, params.model_copy(update={"xtc_probability": 0.0}))
    for events in company:
        events.close()


def test_a_cache_for_one_serves_one_after_the_other(folder, engine):
    tokenizer, model = byte_tokenizer(), LlamaForCausalLM.from_pretrained(folder)
    capacity = Capacity(256, max_active=4, max_waiting=4, cache_tokens=256, step_tokens=64)
    prompts = [ask(Message("user", f"Say {n}.")) for n in range(4)]
    params = SamplingParams(max_tokens=120)

    with (
        closing(TransformersEngine(model, tokenizer, engine.identity, capacity)) as tight,
        ThreadPoolExecutor(4) as pool,
    ):
        said = list(pool.map(lambda prompt: spoken(tight, prompt, params), prompts))

    assert said == [spoken(engine, prompt, params) for prompt in prompts]


def test_the_end_token_ends_the_reply_unseen(tmp_path):
    folder = write_tiny_model(tmp_path, end_bias=8.0)
    with closing(load(ModelChoice(folder, "tiny", ""), ON_CPU)) as engine:
        *events, finish = engine.stream(ask(Message("user", "Hi")), SamplingParams(temperature=0))

    assert "<|" not in text_of(events)
    assert finish.reason == "stop"
    assert finish.completion_tokens >= 1


def test_max_tokens_are_cut_to_the_room_that_is_left(engine):
    nearly_full = ask(Message("user", "a" * (engine.context_length - 40)))

    *_, finish = engine.stream(nearly_full, SamplingParams(max_tokens=8000))

    assert finish.prompt_tokens + finish.completion_tokens == engine.context_length
    assert finish.reason == "length"


def windowed(folder, window):
    model = LlamaForCausalLM.from_pretrained(folder)
    model.config.sliding_window = window
    return model


def test_a_window_that_nothing_can_outgrow_is_none(folder, engine, prompt):
    capacity = Capacity(256, max_active=1, max_waiting=1, cache_tokens=256, step_tokens=64)
    model = windowed(folder, 256)

    with closing(TransformersEngine(model, byte_tokenizer(), engine.identity, capacity)) as other:
        assert spoken(other, prompt, SHORT) == spoken(engine, prompt, SHORT)


def test_a_model_that_forgets_is_refused(folder, engine):
    capacity = Capacity(256, max_active=1, max_waiting=1, cache_tokens=256, step_tokens=64)

    with pytest.raises(ModelError, match="128 tokens only"):
        TransformersEngine(windowed(folder, 128), byte_tokenizer(), engine.identity, capacity)


def test_a_model_that_caps_its_scores_is_refused(folder, engine):
    capacity = Capacity(256, max_active=1, max_waiting=1, cache_tokens=256, step_tokens=64)
    model = LlamaForCausalLM.from_pretrained(folder)
    model.config.attn_logit_softcapping = 50.0

    with pytest.raises(ModelError, match="in a way that is not done here"):
        TransformersEngine(model, byte_tokenizer(), engine.identity, capacity)


def test_no_thread_is_left_after_close(folder):
    before = set(threading.enumerate())
    engine = load(ModelChoice(folder, "tiny", ""), ON_CPU)
    list(engine.stream(ask(Message("user", "Hi")), SHORT))

    engine.close()

    assert set(threading.enumerate()) <= before


def test_a_model_that_says_no_number_fails_its_request_alone(folder, prompt):
    with closing(load(ModelChoice(folder, "tiny", ""), ON_CPU)) as engine:
        poisoned = ask(Message("user", "Say hello 🙂"))
        sick = engine.token_ids(poisoned.pieces)
        rare = (set(sick) - set(engine.token_ids(prompt.pieces))).pop()
        engine._batcher.model.model.embed_tokens.weight[rare] = torch.nan

        with pytest.raises(EngineError, match="not a number"):
            list(engine.stream(poisoned, SHORT))

        assert isinstance(list(engine.stream(prompt, SHORT))[-1], Finish)
        assert engine.active == 0


def test_when_the_engine_dies_every_stream_says_so(folder, prompt):
    with closing(load(ModelChoice(folder, "tiny", ""), ON_CPU)) as engine:
        streams = [engine.stream(prompt, LONG) for _ in range(3)]
        for events in streams:
            until_text(events)

        engine._batcher.model.model.layers[0] = None

        for events in streams:
            with pytest.raises(EngineError, match="the model stopped"):
                list(events)
        with pytest.raises(EngineError, match="the model stopped"):
            next(engine.stream(prompt, SHORT))
        assert engine.active == 0


def test_the_embedded_model_speaks(prompt):
    choice = choose("embedded", models_dir=EMBEDDED)
    with closing(load(choice, place(choice, "cpu"))) as engine:
        events = list(engine.stream(prompt, SamplingParams(max_tokens=30, seed=1)))

    assert any(isinstance(event, TextDelta) for event in events)
    assert events[-1].reason in ("stop", "length")
