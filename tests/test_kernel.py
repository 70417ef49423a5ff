"""The kernel of int8 models: that it is attention, whoever asks and however pages lie."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from hermes_ui.generation.attention import Scratch
from hermes_ui.generation.paging import layered
from tests.required import skip_or_fail

PAGE, PAGES, KV_HEADS, LAYERS = 32, 24, 2, 2
TABLES = {"a": [7, 2, 19, 4, 5, 6], "b": [0, 1], "c": [9, 11, 10]}


@pytest.fixture(scope="module", autouse=True)
def _kernel():
    openmp = pytest.importorskip("hermes_ui.generation.openmp")
    if not openmp.is_available():
        skip_or_fail("what int8 attends with")


@pytest.fixture
def dice():
    return torch.Generator().manual_seed(1)


def allocator_of(dice, dim=64):
    """The library's, with a page more for what is thrown away, full of numbers."""
    shape = (LAYERS * 2 * (PAGES + 1) * PAGE, KV_HEADS, dim)
    return SimpleNamespace(
        cache_tensor=torch.randn(shape, generator=dice).bfloat16(),
        layer_indices=list(range(LAYERS)),
        tokens_per_page=PAGE,
        blocks_per_sector=PAGES,
        block_table=TABLES,
    )


def pages_of(allocator, layer):
    """Its keys and its values, (kv_heads, pages, tokens, dim) each, to read and to change."""
    keys, values = layered(allocator)[layer]
    *outer, size, dim = keys.shape  # a page's tokens lie side by side
    return keys.view(*outer, dim, size).transpose(2, 3), values


def step_of(allocator, requests, groups=3):
    from hermes_ui.generation.kernel import KernelStep  # noqa: PLC0415  # not on every machine

    step = KernelStep(allocator, Scratch(), groups, torch.float32)
    for name, new, length in requests:
        step.add(name, new, length)
    return step


def query_of(dice, tokens, groups=3, dim=64):
    """As a layer splits it: token by token, and at times out of a wider row."""
    wide = torch.randn(1, tokens, KV_HEADS * groups, 2 * dim, generator=dice)
    return wide.transpose(1, 2)[..., :dim]


def exact(pages, table, query, length):
    """(tokens, heads, dim): PyTorch's attention in float32 over the pages in a row."""
    keys, values = (part[:, table].flatten(1, 2)[:, :length].float() for part in pages)
    new = query.shape[1]
    seen = torch.arange(length) <= torch.arange(length - new, length)[:, None]
    answer = scaled_dot_product_attention(
        query[None], keys[None], values[None], attn_mask=seen, enable_gqa=True
    )
    return answer[0].transpose(0, 1)


@pytest.mark.parametrize(("count", "groups", "dim"), [(1, 3, 64), (2, 1, 80), (5, 8, 128)])
def test_it_is_attention_over_each_ones_own_pages(dice, threads, count, groups, dim):
    allocator = allocator_of(dice, dim)
    requests = [("a", 1, 170), ("b", 37, 37), ("c", 20, 96)]
    step = step_of(allocator, requests, groups)
    query = query_of(dice, step.tokens + 2, groups, dim)
    threads(count)

    answer = step.answer(1, query, dim**-0.5)

    pages, at = pages_of(allocator, 1), 0
    for name, new, length in requests:
        wanted = exact(pages, TABLES[name], query[0, :, at : at + new], length)
        torch.testing.assert_close(answer[0, at : at + new], wanted, rtol=1e-5, atol=1e-5)
        at += new


def test_what_is_written_is_what_is_read(dice):
    allocator = allocator_of(dice)
    step = step_of(allocator, [("a", 1, 170), ("c", 3, 66)])
    before = torch.stack(pages_of(allocator, 1))
    key, value = torch.randn(2, 1, KV_HEADS, 6, 64, generator=dice)  # of two that are padding
    key[0, 0, 0, :4] = torch.tensor([torch.nan, 1e39, -3.4e38, 1e-41])
    value = value.transpose(1, 2).contiguous().transpose(1, 2)  # token by token
    most = torch.finfo(torch.bfloat16).max

    step.write(1, key, value)

    pages, places = torch.stack(pages_of(allocator, 1)), [(6, 9), (11, 31), (10, 0), (10, 1)]
    for token, (page, at) in enumerate(places):
        for kept, given in zip(pages[:, :, page, at], (key, value), strict=True):
            torch.testing.assert_close(
                kept, given[0, :, token].clamp(-most, most).bfloat16(),
                rtol=0, atol=0, equal_nan=True,
            )  # fmt: skip
    changed = (pages != before).any(-1).any(0).any(0).nonzero().tolist()
    assert {tuple(place) for place in changed} == {*places}


@pytest.mark.parametrize("strength", [0.0, 1e-3, 30.0, 1e4])
def test_weak_and_strong_scores_are_weighed_as_exactly(dice, strength):
    allocator = allocator_of(dice)
    query = query_of(dice, 4) * strength

    answer = step_of(allocator, [("a", 4, 130)]).answer(0, query, 64**-0.5)

    wanted = exact(pages_of(allocator, 0), TABLES["a"], query[0], 130)
    torch.testing.assert_close(answer[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("groups", "dim"), [(1, 64), (3, 72), (4, 80)])
def test_a_query_has_the_same_bits_in_any_cut_and_on_any_number_of_threads(
    dice, threads, groups, dim
):
    allocator = allocator_of(dice, dim)
    query = query_of(dice, 64, groups, dim)
    whole = step_of(allocator, [("b", 64, 64)], groups).answer(0, query, 0.1)
    for count, cuts in ((1, (1, 6, 25, 1, 31)), (3, (3, 29, 32)), (2, (33, 9, 22))):
        threads(count)
        end = 0
        for new in cuts:
            end += new
            step = step_of(allocator, [("a", 1, 9), ("b", new, end)], groups)
            asked = torch.cat((query[:, :, :1], query[:, :, end - new : end]), 2)
            assert torch.equal(step.answer(0, asked, 0.1)[0, 1:], whole[0, end - new : end])


@pytest.mark.parametrize("width", [32, 0])
def test_numbers_are_the_same_with_narrower_vectors(dice, monkeypatch, width):
    from hermes_ui.generation import kernel, vectors  # noqa: PLC0415  # not on every machine

    allocator, query = allocator_of(dice, 80), query_of(dice, 21, dim=80)
    step = step_of(allocator, [("b", 21, 60)])
    before = step.answer(0, query, 0.1)
    monkeypatch.setattr(vectors, "width", lambda: width)
    monkeypatch.setattr(kernel, "answering", kernel.answering.__wrapped__)

    assert torch.equal(step.answer(0, query, 0.1), before)


@pytest.mark.parametrize("new", [1, 4])
def test_what_is_behind_a_query_is_not_looked_at(dice, new):
    allocator, query = allocator_of(dice), query_of(dice, new)
    step = step_of(allocator, [("b", new, 39 + new)])
    before = step.answer(0, query, 0.1)[0, 0]
    for part in pages_of(allocator, 0):
        part[:, 1, 8:] = torch.nan

    assert torch.equal(step.answer(0, query, 0.1)[0, 0], before)


@pytest.mark.parametrize("where", [0, 3, 31])
@pytest.mark.parametrize("part", ["keys", "values"])
def test_what_is_no_number_stays_none(dice, part, where):
    allocator = allocator_of(dice)
    pages_of(allocator, 0)[["keys", "values"].index(part)][:, 0, where] = torch.nan

    answer = step_of(allocator, [("b", 1, 40)]).answer(0, query_of(dice, 1), 0.1)

    assert answer.isnan().all()


@pytest.mark.parametrize(("heads", "dim", "kept"), [(6, 32, 64), (5, 64, 64), (6, 60, 60)])
def test_a_query_that_does_not_fit_the_cache_is_an_error(dice, heads, dim, kept):
    step = step_of(allocator_of(dice, kept), [("b", 1, 40)])

    with pytest.raises(ValueError, match="no query of"):
        step.answer(0, torch.randn(1, heads, 1, dim), 0.1)
