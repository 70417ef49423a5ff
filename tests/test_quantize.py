"""int8 layers: how exact, how independent of company, and when they are chosen."""

import math

import pytest
import torch
from torch import nn

from hermes_ui.errors import ModelError
from hermes_ui.generation.engine import Finish, TextDelta
from hermes_ui.generation.loading import ModelChoice, load
from hermes_ui.generation.placement import Placement, place, quantization
from hermes_ui.generation.quantize import Int8Embedding, Int8Linear, join, weight_bits
from hermes_ui.generation.settling import Settling
from hermes_ui.generation.streaming import Reading, settle
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import ask
from tests.matrices import need_int8, need_products, random, take_products_away
from tests.tiny_model import byte_tokenizer, tiny_llama, write_tiny_model

LOUD = torch.tensor([3, 40, 77])  # planted channels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", autouse=True)
def _kernel():
    need_int8()


@pytest.fixture(params=["ours", "fbgemm"])
def _products(request, monkeypatch):
    """With what a layer in 8 bits multiplies."""
    if request.param == "ours":
        need_products()
    else:
        take_products_away(monkeypatch)
        need_int8()


@pytest.fixture
def without_any(monkeypatch):
    """A machine on which nothing multiplies integers, as with an ARM CPU."""
    take_products_away(monkeypatch)
    monkeypatch.setattr("hermes_ui.generation.fbgemm.is_available", lambda: False)


multiplied_by_each = pytest.mark.usefixtures("_products")


def relative_error(said, exact):
    return ((said - exact).norm(dim=-1) / exact.norm(dim=-1)).max().item()


@multiplied_by_each
def test_the_product_is_near_the_exact_one():
    weight, bias, x = random(200, 320), random(200, seed=2), random(3, 7, 320, seed=3)

    said = Int8Linear(weight, bias)(x)

    assert said.shape == (3, 7, 200)
    assert relative_error(said, x @ weight.T + bias) < (0.02 if weight_bits() == 8 else 0.03)


@multiplied_by_each
def test_the_fine_form_is_far_nearer():
    weight, x = random(200, 320), random(7, 320, seed=3)

    said = Int8Linear(weight, is_fine=True)(x)

    assert relative_error(said, x @ weight.T) < 0.001


@multiplied_by_each
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dtype_of_the_activations_stays(dtype):
    said = Int8Linear(random(16, 32).to(dtype))(random(2, 32).to(dtype))

    assert said.dtype == dtype


@multiplied_by_each
@pytest.mark.parametrize(
    "form",
    [
        pytest.param({}, id="plain"),
        pytest.param({"outliers": LOUD}, id="loud inputs set apart"),
        pytest.param({"is_fine": True}, id="fine"),
    ],
)
@pytest.mark.parametrize("inputs", [96, 515])
def test_a_request_has_the_same_bits_alone_and_in_any_company(form, inputs):
    layer = Int8Linear(random(333, inputs), random(333, seed=2), **form)
    one, prompt = random(1, inputs, seed=4), random(130, inputs, seed=5)
    alone, prompt_alone = layer(one), layer(prompt)

    for others in (1, 2, 7, 64, 300):
        # Loud company: a scale that spanned the batch would show at once.
        crowd = random(others, inputs, seed=others) * 100
        said = layer(torch.cat([crowd, one, prompt, crowd]))

        assert torch.equal(said[others : others + 1], alone)
        assert torch.equal(said[others + 1 : others + 131], prompt_alone)


@multiplied_by_each
def test_a_row_of_zeros_stays_zero():
    said = Int8Linear(random(16, 32))(torch.zeros(1, 32))

    assert torch.equal(said, torch.zeros(1, 16))


@multiplied_by_each
def test_what_is_not_a_number_shows_in_its_own_row_only():
    x = random(3, 32)
    x[1, 5] = math.nan

    said = Int8Linear(random(16, 32))(x)

    assert said.isnan().any(dim=1).tolist() == [False, True, False]


def test_an_embedding_is_near_the_exact_one():
    weight, ids = random(50, 64), torch.tensor([[3, 49], [0, 3]])

    said = Int8Embedding(weight, torch.float32)(ids)

    assert relative_error(said, weight[ids]) < 0.02


class OneLayer(nn.Module):
    """The least that `Settling` takes for a model."""

    def __init__(self, weight, rows):
        super().__init__()
        self.proj = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        self.proj.weight = nn.Parameter(weight, requires_grad=False)
        self.rows = rows

    def get_input_embeddings(self):
        return None

    get_output_embeddings = get_input_embeddings

    def forward(self, ids, use_cache):
        return self.proj(self.rows)


def settled(weight, rows, **options):
    model = OneLayer(weight, rows)
    reading = Reading(model, lambda step: None)
    forms = Settling(reading, torch.float32, **options).run(model, [0])
    return model.proj, forms


@multiplied_by_each
def test_an_ordinary_layer_is_plain():
    layer, forms = settled(random(64, 128), random(20, 128, seed=2))

    assert layer.outliers is None
    assert (forms.total(), forms.words) == (1, "")


@multiplied_by_each
@pytest.mark.parametrize("loudness", [30, 100, 1000])
def test_planted_outliers_are_found_and_set_apart(loudness):
    weight, rows = random(64, 128), random(20, 128, seed=2)
    rows[:, LOUD] *= loudness
    weight[:, LOUD] /= loudness
    exact = rows @ weight.T
    without, _ = settled(weight, rows, split_above=math.inf)

    layer, forms = settled(weight, rows)

    assert set(LOUD.tolist()) <= set(layer.outliers.tolist())
    assert forms.words == "1 of 1 layers with loud inputs set apart"
    assert relative_error(without(rows), exact) > 0.1
    assert relative_error(layer(rows), exact) < 0.04


@multiplied_by_each
def test_a_layer_that_no_split_helps_is_fine():
    rows = random(600, 2048, seed=2)
    rows[torch.arange(600), 3 * torch.arange(600)] = 200  # another input is loud in every row
    weight = random(16, 2048)

    layer, forms = settled(weight, rows)

    assert relative_error(layer(rows), rows @ weight.T) < 0.05
    assert forms.words == "1 of 1 layers in 15 bits"


def test_tied_weights_stay_tied_when_they_are_brought_in():
    model = tiny_llama(byte_tokenizer())
    model.lm_head.weight = model.model.embed_tokens.weight

    settle(model, torch.bfloat16, "cpu", Reading(model, lambda step: None))

    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert {each.dtype for each in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_model_in_integers_speaks_and_says_what_it_is(folder, kind):
    need_products()
    steps = []
    placement = place(ModelChoice(folder, "mine", ""), "cpu", quantize=kind)
    engine = load(ModelChoice(folder, "mine", ""), placement, progress=steps.append)

    events = list(
        engine.stream(ask(Message("user", "Say hello.")), SamplingParams(max_tokens=12, seed=1))
    )
    engine.close()

    assert any(isinstance(event, TextDelta) for event in events)
    assert isinstance(events[-1], Finish)
    assert engine.identity.quantization.startswith(kind)
    assert placement.why.startswith(kind)
    assert "reading the weights, 100 %" in steps


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_is_not_quantized_is_read_in_the_format_asked_for(folder, dtype):
    engine = load(ModelChoice(folder, "mine", ""), Placement("cpu", dtype, ""))
    engine.close()

    assert (engine.identity.dtype, engine.identity.quantization) == (dtype, "")


def test_auto_leaves_a_small_model_alone(folder):
    assert place(ModelChoice(folder, "mine", ""), "cpu", quantize="auto").quantization == ""


def test_auto_takes_a_large_model_on_a_cpu_unless_a_format_was_asked_for(folder, monkeypatch):
    monkeypatch.setattr("hermes_ui.generation.placement.WORTH_INT8", 1000)
    choice = ModelChoice(folder, "mine", "")

    assert quantization(choice, "cpu", "auto", "auto") == "int8"
    assert quantization(choice, "cpu", "bfloat16", "auto") == ""
    assert quantization(choice, "cuda", "auto", "auto") == ""


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_integers_on_a_gpu_are_an_error_of_one_line(folder, kind):
    with pytest.raises(ModelError, match=f"{kind} is for CPUs, and the model runs on cuda"):
        quantization(ModelChoice(folder, "mine", ""), "cuda", "auto", kind)


def test_int4_takes_our_own_products(folder, monkeypatch):
    take_products_away(monkeypatch)

    with pytest.raises(ModelError, match="int4 needs Linux, numba, and a CPU with AVX2"):
        quantization(ModelChoice(folder, "mine", ""), "cpu", "auto", "int4")


def test_int8_that_nothing_here_multiplies_is_an_error_of_one_line(folder, without_any):
    with pytest.raises(ModelError, match="int8 needs an x86 CPU with AVX2"):
        quantization(ModelChoice(folder, "mine", ""), "cpu", "auto", "int8")


def test_auto_says_what_int8_lacks_where_it_would_have_taken_it(folder, monkeypatch, without_any):
    monkeypatch.setattr("hermes_ui.generation.placement.WORTH_INT8", 1000)

    placement = place(ModelChoice(folder, "mine", ""), "cpu")

    assert placement.quantization == ""
    assert placement.why.endswith("; int8 needs an x86 CPU with AVX2")


@pytest.mark.parametrize("is_coarse", [False, True])
def test_layers_that_read_the_same_say_together_what_they_said_apart(is_coarse):
    need_products()
    layers = [
        Int8Linear(random(outputs, 200, seed=outputs), bias, is_coarse=is_coarse)
        for outputs, bias in ((64, None), (8, random(8)), (128, None))
    ]
    one, other, many = random(1, 1, 200), random(1, 200, seed=5), random(3, 200)
    apart = [[layer(x) for layer in layers] for x in (one, other, many)]

    join(layers)

    assert len({layer.main._codes.untyped_storage().data_ptr() for layer in layers}) == 1
    for x, said in zip((one, other, many, one), (*apart, apart[0]), strict=True):
        for layer, before in [*zip(layers, said, strict=True)] * 2:  # asked again, it says the same
            assert torch.equal(layer(x), before)


@pytest.mark.parametrize("widths", [(200, 264), (200, 200)], ids=["inputs", "outliers"])
def test_layers_that_differ_stay_apart(widths):
    need_products()
    layers = [Int8Linear(random(8, width)) for width in widths]
    if widths[0] == widths[1]:
        layers.append(Int8Linear(random(8, 200), outliers=torch.tensor([3])))
    rows = [random(1, layer.in_features) for layer in layers]
    before = [layer(x) for layer, x in zip(layers, rows, strict=True)]

    join(layers)

    assert all(
        torch.equal(layer(x), said) for layer, x, said in zip(layers, rows, before, strict=True)
    )
