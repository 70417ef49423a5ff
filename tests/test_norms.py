"""Norms in one pass: what they compute, alone and in company, and what they are put in place of."""

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tests.required import skip_or_fail

norms = pytest.importorskip("hermes_ui.generation.norms")


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    if not norms.openmp.is_available():
        skip_or_fail("what compiled norms run in")


def weighted(norm):
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(2))
    return norm


@pytest.fixture
def rows():
    return torch.randn(1, 37, 300, generator=torch.Generator().manual_seed(1)) * 5


def test_a_norm_gives_what_the_librarys_gives(rows):
    norm = weighted(LlamaRMSNorm(300, 1e-5))

    torch.testing.assert_close(norms.RowNorm(norm.weight, 1e-5)(rows), norm(rows))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_row_is_alike_in_any_company(rows, threads):
    norm = norms.RowNorm(torch.ones(300), 1e-5)
    alone = torch.stack([norm(row) for row in rows[0]])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(norm(rows)[0], alone)
        assert torch.equal(norm(rows[:, 3:17])[0], alone[3:17])
    finally:
        torch.set_num_threads(before)


def test_what_is_no_number_stays_none(rows):
    rows[0, 4, 7] = torch.nan
    said = norms.RowNorm(torch.ones(300), 1e-5)(rows)

    assert said[0, 4].isnan().all()
    assert said[0, 5].isfinite().all()


@pytest.mark.parametrize("odd", [torch.ones(2, 299), torch.ones(2, 300).bfloat16()])
def test_other_rows_are_an_error(odd):
    with pytest.raises(ValueError, match="no rows of 300 float32"):
        norms.RowNorm(torch.ones(300), 1e-5)(odd)


def test_only_norms_that_compute_the_same_are_replaced():
    class Gated(LlamaRMSNorm):
        def forward(self, rows, gate=None):
            return super().forward(rows)

    class Late(LlamaRMSNorm):
        def forward(self, rows):
            return self.weight * rows / (rows.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.gated = Gated(64)
            self.late = Late(64)
            self.first = weighted(LlamaRMSNorm(64))
            self.other = weighted(Gemma2RMSNorm(64))  # adds one to its weights
            self.narrow = LlamaRMSNorm(64).to(torch.bfloat16)
            self.inner = nn.ModuleList([weighted(LlamaRMSNorm(64))])

    model = Model()
    norms.replace_norms(model)

    assert isinstance(model.first, norms.RowNorm)
    assert isinstance(model.inner[0], norms.RowNorm)
    assert isinstance(model.other, Gemma2RMSNorm)
    assert isinstance(model.narrow, LlamaRMSNorm)
    assert isinstance(model.gated, Gated)
    assert isinstance(model.late, Late)
