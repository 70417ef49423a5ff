"""The kernel of int8 models: that it is attention, whoever asks and however pages lie."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from hermes_ui.generation.attention import Scratch
from hermes_ui.generation.kernel import KernelStep, is_available
from hermes_ui.generation.paging import layered

pytestmark = pytest.mark.skipif(not is_available(), reason="PyTorch has no OpenMP threads here")

PAGE, PAGES, KV_HEADS, GROUPS, DIM, LAYERS = 32, 24, 2, 3, 64, 2


@pytest.fixture
def dice():
    return torch.Generator().manual_seed(1)


@pytest.fixture
def allocator(dice):
    """The library's, with a page more for what is thrown away, full of numbers."""
    shape = (LAYERS * 2 * KV_HEADS * (PAGES + 1) * PAGE, KV_HEADS, DIM)
    return SimpleNamespace(
        cache_tensor=torch.randn(shape[0] // KV_HEADS, *shape[1:], generator=dice).bfloat16(),
        layer_indices=list(range(LAYERS)),
        tokens_per_page=PAGE,
        blocks_per_sector=PAGES,
        block_table={"a": [7, 2, 19, 4, 5, 6], "b": [0, 1], "c": [9, 11, 10]},
    )


def step_of(allocator, requests):
    step = KernelStep(allocator, Scratch(), GROUPS, torch.float32)
    for name, new, length in requests:
        step.add(name, new, length)
    return step


def exact(cache, table, query, length):
    """(tokens, heads, dim): PyTorch's attention in float32 over the pages in a row."""
    keys, values = cache[:, :, table].flatten(2, 3)[:, :, :length].float()
    new = query.shape[1]
    seen = torch.arange(length) <= torch.arange(length - new, length)[:, None]
    answer = scaled_dot_product_attention(
        query[None], keys[None], values[None], attn_mask=seen, enable_gqa=True
    )
    return answer[0].transpose(0, 1)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_it_is_attention_over_each_ones_own_pages(allocator, dice, threads):
    requests = [("a", 1, 170), ("b", 37, 37), ("c", 20, 96)]
    step = step_of(allocator, requests)
    query = torch.randn(1, KV_HEADS * GROUPS, step.tokens + 2, DIM, generator=dice)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        answer = step.answer(1, query, DIM**-0.5)
    finally:
        torch.set_num_threads(before)

    cache, at = layered(allocator)[1], 0
    for name, new, length in requests:
        wanted = exact(cache, allocator.block_table[name], query[0, :, at : at + new], length)
        torch.testing.assert_close(answer[0, at : at + new], wanted, rtol=1e-5, atol=1e-5)
        at += new


@pytest.mark.parametrize("strength", [0.0, 1e-3, 30.0, 1e4])
def test_weak_and_strong_scores_are_weighed_as_exactly(allocator, dice, strength):
    step = step_of(allocator, [("a", 4, 130)])
    query = torch.randn(1, KV_HEADS * GROUPS, 4, DIM, generator=dice) * strength

    answer = step.answer(0, query, DIM**-0.5)

    wanted = exact(layered(allocator)[0], allocator.block_table["a"], query[0], 130)
    torch.testing.assert_close(answer[0], wanted, rtol=1e-4, atol=1e-4)


def test_a_query_has_the_same_bits_in_any_cut_and_on_any_number_of_threads(allocator, dice):
    query = torch.randn(1, KV_HEADS * GROUPS, 64, DIM, generator=dice)
    whole = step_of(allocator, [("b", 64, 64)]).answer(0, query, 0.1)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for length in (1, 7, 31, 32, 33, 64):
                step = step_of(allocator, [("a", 1, 9), ("b", 1, length)])
                asked = torch.cat((query[:, :, :1], query[:, :, length - 1 : length]), 2)
                assert torch.equal(step.answer(0, asked, 0.1)[0, 1], whole[0, length - 1])
    finally:
        torch.set_num_threads(before)


def test_what_is_behind_a_query_is_not_looked_at(allocator, dice):
    query = torch.randn(1, KV_HEADS * GROUPS, 1, DIM, generator=dice)
    step = step_of(allocator, [("b", 1, 40)])
    before = step.answer(0, query, 0.1)
    layered(allocator)[0][:, :, 1, 8:] = torch.nan

    assert torch.equal(step.answer(0, query, 0.1), before)


def test_what_is_no_number_stays_none(allocator, dice):
    query = torch.randn(1, KV_HEADS * GROUPS, 1, DIM, generator=dice)
    step = step_of(allocator, [("b", 1, 40)])
    layered(allocator)[0][:, :, 0, 3] = torch.nan

    assert step.answer(0, query, 0.1).isnan().all()
