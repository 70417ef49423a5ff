"""SiLU of models in integers: what PyTorch says, whatever else is computed with it."""

import pytest
import torch
from torch import nn

from tests.required import skip_or_fail


@pytest.fixture(scope="module", autouse=True)
def _threads():
    openmp = pytest.importorskip("hermes_ui.generation.openmp")
    if not openmp.is_available():
        skip_or_fail("what int8 computes with")


def silu(x):
    from hermes_ui.generation.elementwise import RowSiLU  # noqa: PLC0415  # numba

    return RowSiLU()(x)


def test_it_is_pytorchs():
    x = torch.cat((torch.linspace(-100, 100, 4001), torch.tensor([0.0, -1e30, 1e30, 1e-30])))
    wanted = nn.functional.silu(x.double())

    off = (silu(x) - wanted).abs()

    assert (off <= 1e-6 * x.abs() * torch.sigmoid(x) + 1e-7).all()


@pytest.mark.parametrize("width", [8192, 704, 100, 3])
def test_a_row_is_the_same_in_any_company(width):
    rows = torch.randn(9, width, generator=torch.Generator().manual_seed(0)) * 5

    whole = silu(rows[None])[0]

    for row, said in zip(rows, whole, strict=True):
        assert torch.equal(silu(row), said)
    assert torch.equal(silu(rows[2:7]), whole[2:7])


def test_what_is_no_number_stays_none():
    x = torch.ones(40)
    x[7] = torch.nan

    said = silu(x)

    assert said[7].isnan()
    assert said.isnan().sum() == 1


def test_other_formats_are_refused():
    with pytest.raises(ValueError, match="float64"):
        silu(torch.ones(3, dtype=torch.float64))


def test_every_silu_of_a_model_is_replaced_and_nothing_else():
    from hermes_ui.generation.elementwise import RowSiLU, replace_silu  # noqa: PLC0415  # numba
    from hermes_ui.generation.invariance import leave_activations_uncut  # noqa: PLC0415

    model = nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Sequential(nn.SiLU(), nn.GELU()))
    leave_activations_uncut(model)
    replace_silu(model)

    kinds = [type(each) for each in model.modules()]

    assert kinds.count(RowSiLU) == 2
    assert nn.SiLU not in kinds
    assert nn.GELU in kinds
