"""Products with few inputs in float32, each row by itself."""

import pytest
import torch

from tests.matrices import need_products, random

loud = pytest.importorskip("hermes_ui.generation.loud")


@pytest.fixture(scope="module", autouse=True)
def _kernel():
    need_products()


@pytest.mark.parametrize("outputs", [1, 511, 1300])
@pytest.mark.parametrize("inputs", [1, 8, 33])
def test_they_are_the_exact_ones(outputs, inputs):
    weight, rows = random(outputs, inputs), 100 * random(5, inputs, seed=2)
    exact = rows.double() @ weight.double().T

    said = loud.Loud(weight.bfloat16()).product(rows)

    assert (
        said - rows.double() @ weight.bfloat16().double().T
    ).abs().max() < 1e-4 * exact.abs().max()
    assert said.dtype == torch.float32


def test_a_row_has_the_same_bits_in_any_company():
    matrix, rows = loud.Loud(random(1300, 32)), random(9, 32, seed=2)
    together = matrix.product(rows)

    for count in (1, 2, 5):
        assert torch.equal(matrix.product(rows[:count]), together[:count])


def test_what_is_no_number_stays_in_its_row():
    rows = random(3, 8)
    rows[1, 2] = torch.nan

    said = loud.Loud(random(20, 8)).product(rows)

    assert said.isfinite().all(1).tolist() == [True, False, True]
    assert loud.Loud(random(20, 8)).product(rows[:0]).shape == (0, 20)
