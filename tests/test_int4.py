"""Matrices of 4-bit weights: how exact, how independent of company, and which layers get them."""

import pytest
import torch
from torch import nn

from hermes_ui.generation.quantize import Int8Linear
from hermes_ui.generation.settling import Settling
from hermes_ui.generation.streaming import Reading
from tests.matrices import need_products, random

int4 = pytest.importorskip("hermes_ui.generation.int4")


@pytest.fixture(scope="module", autouse=True)
def _kernel():
    need_products()


def relative_error(said, exact):
    return ((said - exact).norm() / exact.norm()).item()


def test_a_loud_weight_of_a_group_is_kept():
    weight = random(16, 256) / 100
    weight[:, 3] = 5

    product = int4.Packed4(weight).product(torch.eye(256)[3:4])

    assert product == pytest.approx(5, rel=0.02)


@pytest.mark.parametrize("form", [{}, {"outliers": torch.tensor([3, 40, 77])}])
def test_a_request_has_the_same_bits_alone_and_in_any_company(form):
    layer = Int8Linear(random(333, 515), random(333, seed=2), is_coarse=True, **form)
    one, prompt = random(1, 515, seed=4), random(130, 515, seed=5)
    alone, prompt_alone = layer(one), layer(prompt)

    for others in (1, 2, 3, 64):
        crowd = random(others, 515, seed=others) * 100
        said = layer(torch.cat([crowd, one, prompt, crowd]))

        assert torch.equal(said[others : others + 1], alone)
        assert torch.equal(said[others + 1 : others + 131], prompt_alone)


class TwoLayers(nn.Module):
    """A model of a layer and a head."""

    def __init__(self, weight, rows):
        super().__init__()
        self.layer, self.head = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        self.layer.weight = nn.Parameter(weight, requires_grad=False)
        self.head.weight = nn.Parameter(random(8, len(weight), seed=5), requires_grad=False)
        self.rows = rows

    def get_input_embeddings(self):
        return None

    def get_output_embeddings(self):
        return self.head

    def forward(self, ids, use_cache):
        return self.head(self.layer(self.rows))


def settled(weight, rows):
    model = TwoLayers(weight, rows)
    reading = Reading(model, lambda step: None)
    forms = Settling(reading, torch.float32, is_coarse=True).run(model, [0])
    return model, forms


def test_layers_have_4_bits_and_the_head_8_for_the_likeliest():
    model, forms = settled(random(64, 256), random(20, 256, seed=2))

    assert model.layer.is_coarse
    assert model.head.coarse.is_coarse
    assert model.head.fine.rows.dtype == torch.int8
    assert forms.words == ""


def test_loud_inputs_are_set_apart():
    weight, rows = random(64, 256), random(20, 256, seed=2)
    rows[:, 9] *= 100
    weight[:, 9] /= 100
    exact = rows @ weight.T

    model, forms = settled(weight, rows)

    assert model.layer.is_coarse
    assert 9 in model.layer.outliers
    assert forms.words == "1 of 2 layers with loud inputs set apart"
    assert relative_error(model.layer(rows), exact) < 0.12


def test_a_layer_that_4_bits_spoil_has_8():
    weight = random(64, 256)
    weight[:, ::8] *= 30  # in every group, which the rest drowns beside
    rows = random(20, 256, seed=2)
    rows[:, ::8] /= 30

    model, forms = settled(weight, rows)

    assert not model.layer.is_coarse
    assert relative_error(model.layer(rows), rows @ weight.T) < 0.06
    assert forms.words.startswith("1 of 2 layers in ")
