"""Attention of single tokens over the paged cache, on a GPU: what Triton compiles.

Every token is a row of its own: it has its request's pages and sees the keys up to itself. A
row's keys are cut into shares, which as many programs read at once (flash decoding, Dao et al.
2023), and a second kernel adds up what they found. How long a share is depends on the row's
own length alone, so that no neighbour changes a row's numbers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

SHARES = 16  # of a row's keys at most: with 8 heads of keys a large GPU is busy
LEAST = 256  # keys of a share, but for the last
BLOCK = 64  # keys that are read at a time
DOT_ROWS = 16  # the fewest that a product may have


def write(key: Tensor, value: Tensor, cache: Tensor, places: Tensor) -> None:
    """Put new keys and values into the cache.

    Args:
        key, value: (rows, kv_heads, head_dim).
        cache: (2, kv_heads, pages, tokens, head_dim), contiguous. What is too large for its type
            becomes its largest.
        places: (rows,) int64, of each row in the pages laid side by side.
    """
    rows, heads, dim = key.shape
    _write[rows, heads](
        key, value, cache, places,
        *key.stride()[:2], *value.stride()[:2], cache.stride(0), cache.stride(1),
        torch.finfo(cache.dtype).max, DIM=dim, WIDTH=triton.next_power_of_2(dim),
    )  # fmt: skip


def answer(query: Tensor, cache: Tensor, tables: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """What each row sees; zeros for a row of length 0.

    Args:
        query: (rows, heads, head_dim).
        cache: (2, kv_heads, pages, tokens, head_dim), contiguous.
        tables: (rows, most pages of a request) int32, contiguous.
        lengths: (rows,) int32 or int64, of the keys that a row sees.

    Returns:
        (rows, heads, head_dim).
    """
    rows, heads, dim = query.shape
    kv_heads, size = cache.shape[1], cache.shape[3]
    groups = heads // kv_heads
    width = triton.next_power_of_2(dim)
    found = torch.empty(rows, heads, SHARES, width, dtype=torch.float32, device=query.device)
    weight = torch.empty(rows, heads, SHARES, dtype=torch.float32, device=query.device)
    result = torch.empty(rows, heads, dim, dtype=query.dtype, device=query.device)
    _read[rows, kv_heads, SHARES](
        query, cache, tables, lengths, found, weight, scale,
        *query.stride()[:2], cache.stride(0), cache.stride(1), tables.stride(0),
        GROUPS=groups, ROWS=max(DOT_ROWS, triton.next_power_of_2(groups)), DIM=dim, WIDTH=width,
        SIZE=size, BLOCK=BLOCK, SHARES=SHARES, LEAST=LEAST,
    )  # fmt: skip
    _add_up[rows, heads](
        found, weight, lengths, result,
        DIM=dim, WIDTH=width, BLOCK=BLOCK, SHARES=SHARES, LEAST=LEAST,
    )  # fmt: skip
    return result


def try_out(device: torch.device) -> None:
    """Compile and run all of it once, on a page of zeros.

    Raises:
        Exception: of whatever kind, where Triton cannot do it here.
    """
    zeros = torch.zeros(1, 1, 16, device=device)
    cache = torch.zeros(2, 1, 1, BLOCK, 16, device=device)
    first = torch.zeros(1, 1, dtype=torch.int32, device=device)
    write(zeros, zeros, cache, first[0].long())
    answer(zeros, cache, first, first[0] + 1, 1.0)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@triton.jit
def _write(
    key, value, cache, places,
    key_row, key_head, value_row, value_head, cache_values, cache_head, most,
    DIM: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, head = tl.program_id(0), tl.program_id(1)
    lane = tl.arange(0, WIDTH)
    is_used = lane < DIM
    target = cache + head * cache_head + tl.load(places + row) * DIM + lane
    key += row * key_row + head * key_head + lane
    value += row * value_row + head * value_head + lane
    new_key = tl.load(key, mask=is_used).to(tl.float32)
    new_value = tl.load(value, mask=is_used).to(tl.float32)
    keep(new_key, target, most, is_used)
    keep(new_value, target + cache_values, most, is_used)


@triton.jit
def keep(number, target, most, is_used):
    """Put float32 numbers into the cache; what is larger than `most` becomes that."""
    number = tl.clamp(number, -most, most, propagate_nan=tl.PropagateNan.ALL)
    tl.store(target, number.to(target.dtype.element_ty), mask=is_used)


@triton.jit
def _share(length, BLOCK: tl.constexpr, SHARES: tl.constexpr, LEAST: tl.constexpr):
    """How many keys each program reads of a row."""
    return tl.maximum(tl.cdiv(tl.cdiv(length, SHARES), BLOCK) * BLOCK, LEAST)


@triton.jit
def _read(
    query, cache, tables, lengths, found, weight, scale,
    query_row, query_head, cache_values, cache_head, table_row,
    GROUPS: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, WIDTH: tl.constexpr,
    SIZE: tl.constexpr, BLOCK: tl.constexpr, SHARES: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """One share of one row's keys, for all query heads that read the same head of keys."""
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + row)
    share = _share(length, BLOCK, SHARES, LEAST)
    begin = part * share
    if begin < length:
        end = tl.minimum(begin + share, length)
        lane = tl.arange(0, WIDTH)
        asker = tl.arange(0, ROWS)
        is_used = lane < DIM
        is_asked = (asker < GROUPS)[:, None] & is_used[None, :]
        asked = tl.load(
            query + row * query_row + (head * GROUPS + asker)[:, None] * query_head + lane,
            mask=is_asked, other=0.0,
        )  # fmt: skip
        highest = tl.full((ROWS,), float("-inf"), tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        seen = tl.zeros((ROWS, WIDTH), tl.float32)
        keys = cache + head * cache_head
        for first in range(begin, end, BLOCK):
            at = first + tl.arange(0, BLOCK)
            is_seen = at < end
            page = tl.load(tables + row * table_row + at // SIZE, mask=is_seen, other=0)
            place = (page.to(tl.int64) * SIZE + at % SIZE) * DIM
            is_read = is_seen[:, None] & is_used[None, :]
            key = tl.load(keys + place[:, None] + lane, mask=is_read, other=0.0)
            key = key.to(asked.dtype)
            scores = tl.dot(asked, tl.trans(key), input_precision="ieee") * scale
            scores = tl.where(is_seen[None, :], scores, float("-inf"))
            higher = tl.maximum(highest, tl.max(scores, 1))
            shrunk = tl.exp(highest - higher)
            likely = tl.exp(scores - higher[:, None])
            value = tl.load(keys + cache_values + place[:, None] + lane, mask=is_read, other=0.0)
            total = total * shrunk + tl.sum(likely, 1)
            seen = seen * shrunk[:, None]
            value = value.to(asked.dtype)
            seen += tl.dot(likely.to(asked.dtype), value, input_precision="ieee")
            highest = higher
        target = (row * tl.num_programs(1) * GROUPS + head * GROUPS + asker) * SHARES + part
        tl.store(weight + target, highest + tl.log(total), mask=asker < GROUPS)
        tl.store(
            found + target[:, None] * WIDTH + lane, seen / total[:, None],
            mask=(asker < GROUPS)[:, None],
        )  # fmt: skip


@triton.jit
def _add_up(
    found, weight, lengths, result,
    DIM: tl.constexpr, WIDTH: tl.constexpr,
    BLOCK: tl.constexpr, SHARES: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """The shares of one row and one head, each by its part of the whole likelihood."""
    row, head = tl.program_id(0), tl.program_id(1)
    length = tl.load(lengths + row)
    part, lane = tl.arange(0, SHARES), tl.arange(0, WIDTH)
    is_read = part * _share(length, BLOCK, SHARES, LEAST) < length
    at = row * tl.num_programs(1) + head
    weights = tl.load(weight + at * SHARES + part, mask=is_read, other=float("-inf"))
    likely = tl.exp(weights - tl.maximum(tl.max(weights, 0), -1e30))
    total = tl.maximum(tl.sum(likely, 0), 1e-30)
    shares = tl.load(
        found + (at * SHARES + part)[:, None] * WIDTH + lane, mask=is_read[:, None], other=0.0
    )
    mixed = tl.sum(shares * likely[:, None], 0) / total
    tl.store(result + at * DIM + lane, mixed.to(result.dtype.element_ty), mask=lane < DIM)
