"""The layer that ends in logits: 4 bits for all, 8 for the likeliest, each row by itself."""

import pytest
import torch
from torch import nn

from hermes_ui.generation.quantize import Int8Embedding, Int8Linear
from hermes_ui.generation.settling import Settling
from hermes_ui.generation.streaming import Reading
from tests.matrices import need_products, random

shortlist = pytest.importorskip("hermes_ui.generation.shortlist")

OUTPUTS, WIDTH = 3000, 256


@pytest.fixture(scope="module", autouse=True)
def _kernel():
    need_products()


def head(weight, bias=None):
    coarse = Int8Linear(weight, bias, is_coarse=True)
    return shortlist.ShortlistHead(coarse, Int8Embedding(weight, torch.float32))


def off(said, exact, places):
    """The largest error at `places`, by the spread of all outputs."""
    return ((said - exact).gather(1, places).abs().max() / exact.std()).item()


@pytest.mark.parametrize("bias", [None, random(OUTPUTS, seed=3)])
def test_the_likeliest_are_nearly_exact_and_the_others_near(bias):
    weight, x = random(OUTPUTS, WIDTH), random(5, WIDTH, seed=2)
    exact = x @ weight.T + (0 if bias is None else bias)
    ranked = exact.argsort(1, descending=True)

    said = head(weight, bias)(x)

    assert off(said, exact, ranked[:, :200]) < 0.03
    assert 0.05 < off(said, exact, ranked) < 0.6
    assert torch.equal(said.argmax(1), ranked[:, 0])


def test_few_outputs_are_all_nearly_exact():
    weight, x = random(40, WIDTH), random(5, WIDTH, seed=2)

    assert (head(weight)(x) - x @ weight.T).abs().max() < 0.02 * WIDTH**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_dtype_are_those_of_what_comes_in(dtype):
    said = head(random(OUTPUTS, WIDTH))(random(2, 3, WIDTH).to(dtype))

    assert (said.shape, said.dtype) == ((2, 3, OUTPUTS), dtype)


def test_no_rows_give_no_rows():
    assert head(random(OUTPUTS, WIDTH))(torch.empty(1, 0, WIDTH)).shape == (1, 0, OUTPUTS)


def test_a_row_has_the_same_bits_alone_and_in_any_company():
    layer, one = head(random(OUTPUTS, WIDTH)), random(1, WIDTH, seed=4)
    alone = layer(one)

    for others in (1, 2, 3, 64):
        crowd = random(others, WIDTH, seed=others) * 100
        assert torch.equal(layer(torch.cat([crowd, one, crowd]))[others : others + 1], alone)


def test_numbers_are_the_same_on_any_number_of_threads(threads):
    layer, x = head(random(OUTPUTS, WIDTH)), random(3, WIDTH, seed=2)
    said = []
    for number in (1, 2, 3, 5):
        threads(number)
        said.append(layer(x))

    assert all(torch.equal(each, said[0]) for each in said)


def test_what_is_not_a_number_shows_in_its_own_row_only():
    x = random(3, WIDTH)
    x[1, 5] = torch.nan

    assert head(random(OUTPUTS, WIDTH))(x).isfinite().all(1).tolist() == [True, False, True]


class Speaker(nn.Module):
    """An embedding and a head, of the same weights or not."""

    def __init__(self, is_tied):
        super().__init__()
        self.embedding = nn.Embedding(OUTPUTS, WIDTH)
        self.head = nn.Linear(WIDTH, OUTPUTS, bias=False)
        self.embedding.weight = nn.Parameter(random(OUTPUTS, WIDTH), requires_grad=False)
        self.head.weight = (
            self.embedding.weight
            if is_tied
            else nn.Parameter(random(OUTPUTS, WIDTH, seed=2), requires_grad=False)
        )

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return self.head

    def forward(self, ids, use_cache=False):
        return self.head(self.embedding(ids))


@pytest.mark.parametrize("is_tied", [True, False])
def test_tied_weights_are_kept_in_8_bits_once(is_tied):
    model, ids = Speaker(is_tied), torch.arange(7)[None]
    exact = model(ids)[0]
    reading = Reading(model, lambda step: None)

    Settling(reading, torch.float32, is_coarse=True).run(model, ids.tolist()[0])

    assert (model.head.fine is model.embedding) is is_tied
    assert off(model(ids)[0], exact, exact.topk(50).indices) < 0.05
