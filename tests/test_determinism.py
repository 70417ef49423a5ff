"""A seeded reply is the same alone, in company, and with a warm prefix: its last bit included."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.activations import NewGELUActivation

from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.engine import EngineIdentity, Finish
from hermes_ui.generation.invariance import Uncut, is_batch_invariant
from hermes_ui.generation.local import TransformersEngine
from hermes_ui.generation.paging import TILE
from hermes_ui.generation.quantize import Int8Linear
from hermes_ui.generation.settling import quantize, text_ids
from hermes_ui.generation.streaming import Reading
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import ask, spoken, text_of
from tests.matrices import need_int8, need_products
from tests.tiny_model import byte_tokenizer, write_tiny_model

CAPACITY = Capacity(512, max_active=8, max_waiting=400, cache_tokens=8192, step_tokens=128)
REQUESTS = 200


class Witness(LlamaForCausalLM):
    """Writes down the logits of every step."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        self.seen.append(output.logits[0].clone())
        return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=["float32", "int8", "int4"])
def make_model(folder, request):
    """A new model in the format that is under test; another class may be put in here."""
    form = request.param
    if form != "float32":
        need_products()

    def make(kind=LlamaForCausalLM):
        model = kind.from_pretrained(folder).requires_grad_(False).eval()
        model.seen = []
        if form != "float32":
            ids = text_ids(byte_tokenizer(), 512)
            quantize(model, ids, torch.float32, Reading(model, lambda _: None), form)
            model.seen.clear()
        return model

    if form != "int4":
        yield make
        return
    with pytest.MonkeyPatch.context() as patch:  # of so few tokens none would be left out
        patch.setattr("hermes_ui.generation.shortlist.LISTED", 16)
        yield make


def engine_of(model, capacity=CAPACITY):
    return TransformersEngine(
        model, byte_tokenizer(), EngineIdentity("tiny", "", "float32", "", "cpu", "", ""), capacity
    )


def test_int8_attends_in_the_kernel(make_model):
    model = make_model()
    is_int8 = any(isinstance(module, Int8Linear) for module in model.modules())

    with closing(engine_of(model)) as engine:
        kept = engine._batcher.batch_processor.cache.cache_allocators

    (allocator,) = kept.values()
    assert allocator.cache_tensor.dtype == (torch.bfloat16 if is_int8 else torch.float16)
    names = {type(module).__name__ for module in model.modules()}
    assert ("RowNorm" in names, "LlamaRMSNorm" in names) == (is_int8, not is_int8)


def test_heads_of_a_width_that_the_kernel_does_not_do_are_attended_to_in_tiles(folder):
    need_int8()
    config = LlamaConfig.from_pretrained(folder, head_dim=12)
    torch.manual_seed(1)
    model = LlamaForCausalLM(config).requires_grad_(False).eval()
    ids = text_ids(byte_tokenizer(), 512)
    quantize(model, ids, torch.float32, Reading(model, lambda _: None))

    with closing(engine_of(model)) as engine:
        *_, last = engine.stream(ask(Message("user", "Hi")), SamplingParams(max_tokens=8))

    assert isinstance(last, Finish)


def requests(dice, count):
    words = ["the", "lamp", "harbour", "calm", "🙂", "wall", "friend", "sea"]
    for seed in range(count):
        text = " ".join(dice.choices(words, k=dice.randrange(1, 60)))
        yield (
            ask(Message("user", text)),
            SamplingParams(
                seed=seed,
                temperature=dice.choice([0.0, 0.7, 1.5]),
                top_p=dice.choice([1.0, 0.9]),
                dry_multiplier=dice.choice([0.0, 0.8]),
                xtc_probability=dice.choice([0.0, 0.5]),
                max_tokens=dice.randrange(2, 11),
            ),
        )


def test_200_replies_are_the_same_alone_and_in_company_and_with_a_warm_prefix(make_model):
    dice = random.Random(8)
    wanted = list(requests(dice, REQUESTS))
    with closing(engine_of(make_model())) as engine:
        assert engine.identity.batch_invariant
        alone = [spoken(engine, *each) for each in wanted]
        warm = [spoken(engine, *each) for each in wanted]
        shuffled = dice.sample(range(REQUESTS), REQUESTS)
        with ThreadPoolExecutor(12) as pool:
            said = dict(
                zip(shuffled, pool.map(lambda i: spoken(engine, *wanted[i]), shuffled), strict=True)
            )

    assert warm == alone
    assert [said[i] for i in range(REQUESTS)] == alone


def test_the_numbers_are_the_same_to_the_last_bit_in_any_company(make_model):
    model = make_model(Witness)
    prompt = ask(Message("user", "The lamp is lit. " * 12))
    params = SamplingParams(temperature=0, max_tokens=40)

    def rows_of_run(company, draft_tokens):
        with closing(engine_of(model, replace(CAPACITY, draft_tokens=draft_tokens))) as engine:
            model.seen.clear()
            with ThreadPoolExecutor(8) as pool:
                others = [pool.submit(spoken, engine, *each) for each in company]
                said = spoken(engine, prompt, params)
                for each in others:
                    each.result()
        return said, {row.numpy().tobytes() for logits in model.seen for row in logits}

    said, alone = rows_of_run([], draft_tokens=0)  # none but the reply's own
    again, together = rows_of_run(requests(random.Random(2), 7), CAPACITY.draft_tokens)

    assert again == said
    assert alone <= together


def test_a_turn_that_was_written_gives_the_bits_of_one_that_was_read(make_model):
    """Keys that decoding left in the cache against those of a prompt read at once."""
    model = make_model(Witness)
    first = ask(Message("user", "The sea is calm. " * 9))
    params = SamplingParams(seed=5, temperature=1.5, max_tokens=TILE * 3)
    with closing(engine_of(model)) as engine:
        reply = spoken(engine, first, params)
        longer = ask(
            Message("user", "The sea is calm. " * 9),
            Message("assistant", reply),
            Message("user", "Go"),
        )
        *events, finish = engine.stream(longer, SamplingParams(temperature=0, max_tokens=20))
        warm = text_of(events)
        warm_rows = [row for logits in model.seen for row in logits][-20:]
        model.seen.clear()
    with closing(engine_of(model)) as engine:
        cold = spoken(engine, longer, SamplingParams(temperature=0, max_tokens=20))
        cold_rows = {row.numpy().tobytes() for logits in model.seen for row in logits}

    assert isinstance(finish, Finish)
    assert finish.cached_tokens > 0
    assert warm == cold
    assert all(row.numpy().tobytes() in cold_rows for row in warm_rows)


def test_pages_in_a_row_and_scattered_ones_give_the_same(make_model):
    """Read where they lie, and out of a buffer: two replies that share a prompt's beginning."""
    shared = "The lamp is lit over the harbour wall. " * 6
    params = SamplingParams(seed=3, temperature=1.5, max_tokens=30)
    prompts = [ask(Message("user", shared + end)) for end in ("One.", "Two.", "Six.")]
    with closing(engine_of(make_model())) as engine, ThreadPoolExecutor(3) as pool:
        said = list(pool.map(lambda prompt: spoken(engine, prompt, params), prompts))
    for prompt, reply in zip(prompts, said, strict=True):
        with closing(engine_of(make_model())) as engine:
            assert spoken(engine, prompt, params) == reply


@pytest.mark.parametrize("max_active", [1, 3, 6])
def test_it_holds_for_any_number_of_places(make_model, max_active):
    capacity = Capacity(512, max_active, 40, cache_tokens=4096, step_tokens=64)
    wanted = list(requests(random.Random(max_active), 12))
    with closing(engine_of(make_model(), capacity)) as engine:
        alone = [spoken(engine, *each) for each in wanted]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda each: spoken(engine, *each), wanted))

    assert together == alone


def test_only_a_float32_model_has_its_steps_padded(make_model):
    model = make_model()
    rows = set()
    layer = model.model.layers[0].mlp.gate_proj
    layer.register_forward_hook(lambda _, given, out: rows.add(given[0].shape[-2]))
    with closing(engine_of(model)) as engine:
        spoken(engine, ask(Message("user", "Hi")), SamplingParams(temperature=0, max_tokens=8))

    assert min(rows) == (1 if isinstance(layer, Int8Linear) else 4)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("width", [129, 704, 8192])
@pytest.mark.parametrize("kind", [torch.nn.SiLU, torch.nn.GELU, NewGELUActivation])
def test_an_activation_does_not_depend_on_the_other_rows_nor_on_the_threads(threads, width, kind):
    dice = torch.Generator().manual_seed(1)
    rows = torch.randn(448, width, generator=dice) * 4
    activation = Uncut(kind())
    alone = torch.cat([activation(row[None]) for row in rows])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for count in (2, 16, 20, 28, 112, 136, 448):
            assert torch.equal(activation(rows[:count]), alone[:count])
    finally:
        torch.set_num_threads(before)


def test_layers_of_a_kind_that_cannot_be_tried_promise_nothing(make_model):
    class Experts(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.gates = torch.nn.Parameter(torch.ones(2, 64, 64))

    model = make_model()
    model.model.layers[0].mlp = Experts(model.model.layers[0].mlp)

    assert not is_batch_invariant(model)


def test_a_model_in_another_format_promises_nothing(make_model):
    assert not is_batch_invariant(make_model().to(torch.bfloat16))


def test_a_layer_that_looks_at_its_company_is_found_out(make_model):
    class Norm(torch.nn.Linear):
        def forward(self, rows):
            return super().forward(rows / rows.abs().max())

    model = make_model()
    model.model.layers[1].mlp.gate_proj = Norm(64, 129)

    assert not is_batch_invariant(model)
