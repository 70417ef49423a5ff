"""Our pass for a few tokens of a model in integers: the library's numbers, bit for bit."""

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from hermes_ui.generation.attention import NAME, Scratch
from hermes_ui.generation.loading import ModelChoice, load
from hermes_ui.generation.paging import layered
from hermes_ui.generation.placement import place
from hermes_ui.generation.quantize import Int8Linear, join
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import ask
from tests.matrices import need_products
from tests.tiny_model import write_tiny_model

PAGE, PAGES, KV_HEADS, DIM, LAYERS = 8, 12, 2, 16, 2
SHAPE = {
    "vocab_size": 70, "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": KV_HEADS, "head_dim": DIM,
}  # fmt: skip
TABLES = {"a": [7, 2, 9], "b": [0, 1], "c": [3], "d": [11, 4]}
SIBLINGS = ("self_attn", "q_proj k_proj v_proj"), ("mlp", "gate_proj up_proj")
LOUD = torch.tensor([3, 40, 41])
FORMS = {
    "plain": {},
    "joined": {},
    "loud": {"outliers": LOUD},
    "fine": {"is_fine": True},
    "coarse": {"is_coarse": True},
    "biased": {"bias": torch.linspace(-1, 1, 400)},
}


@pytest.fixture(scope="module", autouse=True)
def _products():
    need_products()


def model_of(form="plain", kind=LlamaForCausalLM, config=LlamaConfig, **changed):
    """A model whose layers are in integers of some form, ready for the kernel's steps."""
    from hermes_ui.generation.kernel import KernelStep  # noqa: PLC0415  # not on every machine

    torch.manual_seed(0)
    model = kind(config(**SHAPE | changed)).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for name, layer in list(model.model.named_modules()):
        if isinstance(layer, torch.nn.Linear):
            own = dict(FORMS[form])
            bias = own.pop("bias", torch.empty(0))[: len(layer.weight)]
            made = Int8Linear(layer.weight, bias if len(bias) else None, **own)
            model.model.set_submodule(name, made)
    if form == "joined":
        for layer in model.model.layers:
            for part, names in SIBLINGS:
                join([getattr(getattr(layer, part), each) for each in names.split()])
    KernelStep.prepare(model)
    model.set_attn_implementation(NAME)
    return model


def allocator_of():
    """The library's, full of numbers, as earlier steps have left them."""
    shape = LAYERS * 2 * (PAGES + 1) * PAGE, KV_HEADS, DIM
    dice = torch.Generator().manual_seed(1)
    return SimpleNamespace(
        cache_tensor=torch.randn(shape, generator=dice).bfloat16(),
        layer_indices=list(range(LAYERS)),
        tokens_per_page=PAGE,
        blocks_per_sector=PAGES,
        block_table=TABLES,
    )


def batch_of(allocator, requests):
    """A step of requests, each with so many new tokens of so many in all."""
    from hermes_ui.generation.kernel import KernelStep  # noqa: PLC0415  # not on every machine

    step = KernelStep(allocator, Scratch(), 2, torch.float32)
    places = []
    for name, new, length in requests:
        step.add(name, new, length)
        places += range(length - new, length)
    ids = torch.arange(3, 3 + step.tokens)
    return {
        "input_ids": ids[None], "position_ids": torch.tensor([places]), "step": step,
        "logits_to_keep": torch.arange(step.tokens).flip(0), "use_cache": False,
    }  # fmt: skip


def rows_of(model, allocator):
    from hermes_ui.generation.kernel_rows import kernel_rows  # noqa: PLC0415  # numba

    return kernel_rows(model, trash=0, cache=layered(allocator))


STEPS = {
    "one": [("a", 1, 20)],
    "several of one": [("a", 5, 20)],
    "one each": [("a", 1, 20), ("b", 1, 9), ("c", 1, 1), ("d", 1, 16)],
    "full": [("b", 4, 12), ("a", 3, 24), ("c", 1, 8)],
}


@pytest.mark.parametrize("requests", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_a_step_says_and_keeps_what_the_model_does(form, requests):
    model = model_of(form)
    ours, theirs = allocator_of(), allocator_of()

    said = rows_of(model, ours)(**batch_of(ours, requests)).logits
    wanted = model(**batch_of(theirs, requests)).logits

    assert torch.equal(said, wanted)
    assert torch.equal(ours.cache_tensor, theirs.cache_tensor)


def test_steps_of_one_size_are_each_their_own():
    model = model_of("joined")
    ours, theirs = allocator_of(), allocator_of()
    rows = rows_of(model, ours)

    for requests in ([("a", 1, 20)], [("b", 1, 3)], [("a", 1, 21)]):
        said = rows(**batch_of(ours, requests)).logits.clone()
        assert torch.equal(said, model(**batch_of(theirs, requests)).logits)


def test_a_prompt_is_left_to_the_model():
    model, allocator = model_of(), allocator_of()
    asked = []
    model.register_forward_hook(lambda *_: asked.append(True))

    logits = rows_of(model, allocator)(**batch_of(allocator, [("a", 20, 20)])).logits

    assert asked
    assert logits.shape == (1, 20, SHAPE["vocab_size"])


def test_what_is_no_number_stays_none():
    model, allocator = model_of(), allocator_of()
    model.model.embed_tokens.weight[3, 5] = torch.nan

    said = rows_of(model, allocator)(**batch_of(allocator, [("a", 1, 20)])).logits

    assert said.isnan().all()


@pytest.mark.parametrize(
    "options",
    [{"hidden_act": "gelu"}, {"kind": MistralForCausalLM, "config": MistralConfig}],
    ids=["gelu", "mistral"],
)
def test_what_is_no_plain_llama_is_left_to_the_library(options):
    assert rows_of(model_of(**options), allocator_of()) is None


def test_replies_of_a_model_in_integers_take_it(tmp_path, monkeypatch):
    from hermes_ui.generation.kernel_rows import KernelRows  # noqa: PLC0415  # numba

    choice = ModelChoice(write_tiny_model(tmp_path), "mine", "")
    engine = load(choice, place(choice, "cpu", quantize="int8"))
    sizes, call = [], KernelRows.__call__

    def counted(self, **batch):
        sizes.append(batch["step"].tokens)
        return call(self, **batch)

    monkeypatch.setattr(KernelRows, "__call__", counted)
    finish = list(engine.stream(ask(Message("user", "Hi")), SamplingParams(max_tokens=5)))[-1]
    engine.close()

    assert sizes[0] == finish.prompt_tokens
    assert len(sizes) == finish.completion_tokens > 1
