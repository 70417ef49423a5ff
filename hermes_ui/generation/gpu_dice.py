"""The dice of `sampling.py` on a GPU, for rows that go on without the host: what Triton compiles.

A row's token depends on its logits, its knobs, its seed and its step alone. What is added up to
decide on it are whole numbers, exact in any order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 2048  # logits of a program
CHUNK, WARPS = 4096, 16  # candidates that are weighed at a time, and by how many warps
BROKEN = -1  # drawn where a logit is no number, or the largest has no end
KNOBS = 7  # of a row, in this order
TEMPERATURE = tl.constexpr(0)  # 0 takes the likeliest
FLOOR = tl.constexpr(1)  # the logarithm of min_p
TOP_P = tl.constexpr(2)
TOP_K = tl.constexpr(3)  # 0 is none
REPETITION = tl.constexpr(4)
FREQUENCY = tl.constexpr(5)
PRESENCE = tl.constexpr(6)


class Scratch:
    """What the kernels of all draws hand on: the blocks' peaks, and a row's candidates."""

    def __init__(self, rows: int, vocabulary: int, device: torch.device) -> None:
        blocks = triton.cdiv(vocabulary, BLOCK)
        self.peaks = torch.empty(rows, blocks, device=device)
        self.counts = torch.zeros(rows, dtype=torch.int32, device=device)
        self.values = torch.empty(rows, vocabulary, device=device)
        self.candidates = torch.empty(rows, vocabulary, dtype=torch.int32, device=device)


def draw(
    logits: Tensor, uses: Tensor, knobs: Tensor, keys: Tensor, tokens: Tensor, scratch: Scratch
) -> None:
    """Draw the next token of each row.

    Of tokens that are just as likely, top_k and top_p keep all or none.

    Args:
        logits: (rows, vocabulary), contiguous.
        uses: (rows, vocabulary) int32: 0 of a token that a row has not seen, else 1 more than its
            reply has used it. The token that is drawn is counted.
        knobs: (rows, KNOBS) float32.
        keys: (rows, 2) int64: the mixed seed, and the step, which is moved on.
        tokens: (rows,) int64, contiguous: the drawn ones, or `BROKEN`.
    """
    rows, vocabulary = logits.shape
    blocks = scratch.peaks.shape[1]
    _peaks[rows, blocks](
        logits, uses, knobs, scratch.peaks, scratch.counts, vocabulary, KNOBS=KNOBS, BLOCK=BLOCK
    )
    _sift[rows, blocks](
        logits, uses, knobs, scratch.peaks, scratch.counts, scratch.values, scratch.candidates,
        vocabulary, KNOBS=KNOBS, BLOCK=BLOCK, BLOCKS=triton.next_power_of_2(blocks),
    )  # fmt: skip
    _draw[rows,](
        uses, knobs, keys, scratch.peaks, scratch.counts, scratch.values, scratch.candidates,
        tokens, vocabulary, blocks,
        KNOBS=KNOBS, CHUNK=CHUNK, BLOCKS=triton.next_power_of_2(blocks), BROKEN=BROKEN,
        num_warps=WARPS,
    )  # fmt: skip


def move_on(
    tokens: Tensor, ids: Tensor, positions: Tensor, lengths: Tensor, places: Tensor,
    ends: Tensor, tables: Tensor, size: int,
) -> None:  # fmt: skip
    """Make each row's drawn token the one that it reads next.

    Args:
        tokens: (rows,) int64, contiguous.
        ids, positions, lengths, places: (rows,) int64, contiguous, moved on in place.
        ends: (rows,) int64: no row moves beyond this position.
        tables: (rows, most pages of a request) int32, contiguous.
        size: Tokens of a page.
    """
    _move_on[len(lengths),](
        tokens, ids, positions, lengths, places, ends, tables, tables.stride(0),
        SIZE=size, num_warps=1,
    )  # fmt: skip


@triton.jit
def _move_on(
    tokens, ids, positions, lengths, places, ends, tables, table_row, SIZE: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0)
    tl.store(ids + row, tl.maximum(tl.load(tokens + row), 0))
    at = tl.minimum(tl.load(positions + row) + 1, tl.load(ends + row))
    tl.store(positions + row, at)
    tl.store(lengths + row, at + 1)
    page = tl.load(tables + row * table_row + at // SIZE)
    tl.store(places + row, page.to(tl.int64) * SIZE + at % SIZE)


@triton.jit
def _penalised(logits, uses, knobs, row, at, vocabulary, KNOBS: tl.constexpr):
    """A block of a row's logits after its penalties, over its temperature."""
    knob = knobs + row * KNOBS
    is_used = at < vocabulary
    place = row.to(tl.int64) * vocabulary + at
    logit = tl.load(logits + place, mask=is_used, other=float("-inf")).to(tl.float32)
    count = tl.load(uses + place, mask=is_used, other=0)
    repetition = tl.load(knob + REPETITION)
    written = tl.maximum(count - 1, 0).to(tl.float32)
    less = tl.where(logit > 0, logit / repetition, logit * repetition)
    less -= tl.load(knob + FREQUENCY) * written
    less -= tl.load(knob + PRESENCE) * tl.minimum(written, 1.0)
    logit = tl.where(count > 0, less, logit)
    heat = tl.load(knob + TEMPERATURE)
    return logit / tl.where(heat == 0, 1.0, heat)


@triton.jit
def _peaks(
    logits, uses, knobs, peaks, counts, vocabulary, KNOBS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The largest of each block; endless where there is one that is no number."""
    row, block = tl.program_id(0), tl.program_id(1)
    if block == 0:
        tl.store(counts + row, 0)  # of what `_sift` will lay down
    at = block * BLOCK + tl.arange(0, BLOCK)
    logit = _penalised(logits, uses, knobs, row, at, vocabulary, KNOBS)
    logit = tl.where(logit == logit, logit, float("inf"))  # noqa: PLR0124
    tl.store(peaks + row * tl.num_programs(1) + block, tl.max(logit, 0))


@triton.jit
def _peak(peaks, row, blocks, BLOCKS: tl.constexpr):
    block = tl.arange(0, BLOCKS)
    each = tl.load(peaks + row * blocks + block, mask=block < blocks, other=float("-inf"))
    return tl.max(each, 0)


@triton.jit
def _sift(
    logits, uses, knobs, peaks, counts, values, candidates, vocabulary,
    KNOBS: tl.constexpr, BLOCK: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Lay down what min_p keeps of each block, in any order."""
    row, block = tl.program_id(0), tl.program_id(1)
    peak = _peak(peaks, row, tl.num_programs(1), BLOCKS)
    at = block * BLOCK + tl.arange(0, BLOCK)
    logit = _penalised(logits, uses, knobs, row, at, vocabulary, KNOBS)
    is_greedy = tl.load(knobs + row * KNOBS + TEMPERATURE) == 0
    floor = tl.where(is_greedy, peak, peak + tl.load(knobs + row * KNOBS + FLOOR))
    is_kept = (logit >= floor) & (at < vocabulary)
    kept = is_kept.to(tl.int32)
    count = tl.sum(kept, 0)
    if count > 0:
        begin = tl.atomic_add(counts + row, count)
        place = row.to(tl.int64) * vocabulary + begin + tl.cumsum(kept, 0) - 1
        tl.store(values + place, logit, mask=is_kept)
        tl.store(candidates + place, at, mask=is_kept)


@triton.jit
def _ordered(value):
    """Whole numbers that are ordered as the float32 `value` are."""
    bits = value.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _above(values, count, peak, threshold, limit, IS_MASS: tl.constexpr, CHUNK: tl.constexpr):
    """How many candidates between a threshold and a limit there are, or how likely they are."""
    total = tl.zeros((CHUNK,), tl.int64)
    for first in range(0, count, CHUNK):
        at = first + tl.arange(0, CHUNK)
        value = tl.load(values + at, mask=at < count, other=float("-inf"))
        order = _ordered(value).to(tl.int64)
        is_above = (order > threshold) & (order >= limit) & (at < count)
        if IS_MASS:
            weight = (tl.exp(value - peak) * 1099511627776.0).to(tl.int64)
        else:
            weight = tl.full((CHUNK,), 1, tl.int64)
        total += tl.where(is_above, weight, 0)
    return tl.sum(total, 0)


@triton.jit
def _lowest(
    values, count, peak, limit, most, IS_MASS: tl.constexpr, CHUNK: tl.constexpr
):  # fmt: skip
    """The lowest order above which less than `most` lies, found by halving."""
    low = tl.full((), -2147483648, tl.int64)
    high = _ordered(peak).to(tl.int64)
    for _ in range(32):
        middle = (low + high) >> 1
        found = _above(values, count, peak, middle, limit, IS_MASS, CHUNK).to(tl.float64)
        is_enough = found < most
        high = tl.where(is_enough, middle, high)
        low = tl.where(is_enough, low, middle + 1)
        low = tl.minimum(low, high)
    return high


@triton.jit
def _mixed(word):
    """splitmix64, as in `sampling.py`; the shift's sign bits are masked away."""
    word = word + -7046029254386353131
    word = (word ^ ((word >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    word = (word ^ ((word >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return word ^ ((word >> 31) & 0x1FFFFFFFF)


@triton.jit
def _gumbel(key, ids):
    """The noise of `sampling.gumbel`."""
    bits = (_mixed(ids.to(tl.int64) + key) >> 24) & 0xFFFFFFFFFF
    uniform = bits.to(tl.float32) * 9.094947017729282e-13 + 4.547473508864641e-13
    uniform = tl.minimum(uniform, 0.9999999403953552)
    # The logarithm of 1 - uniform, exact for small ones too (Kahan's way).
    rest = 1.0 - uniform
    exact = tl.log(rest) * (uniform / tl.where(rest == 1.0, 1.0, 1.0 - rest))
    exponential = tl.where(rest == 1.0, uniform, -exact)
    return -tl.log(exponential)


@triton.jit
def _draw(
    uses, knobs, keys, peaks, counts, values, candidates, tokens, vocabulary, blocks,
    KNOBS: tl.constexpr, CHUNK: tl.constexpr, BLOCKS: tl.constexpr, BROKEN: tl.constexpr,
):  # fmt: skip
    """The token of a row: of its candidates that top_k and top_p keep, the one with most noise."""
    row = tl.program_id(0)
    knob = knobs + row * KNOBS
    count = tl.load(counts + row)
    peak = _peak(peaks, row, blocks, BLOCKS)
    own = row.to(tl.int64) * vocabulary
    values += own
    candidates += own
    is_greedy = tl.load(knob + TEMPERATURE) == 0
    top_p, top_k = tl.load(knob + TOP_P), tl.load(knob + TOP_K)
    limit = tl.full((), -2147483648, tl.int64)
    if (top_k > 0) & (top_k < count):
        limit = _lowest(values, count, peak, limit, top_k.to(tl.float64), False, CHUNK)
    if (top_p < 1) & (count > 1):
        whole = _above(values, count, peak, limit - 1, limit, True, CHUNK).to(tl.float64)
        share = _lowest(values, count, peak, limit, whole * top_p.to(tl.float64), True, CHUNK)
        limit = tl.maximum(limit, share)
    step = tl.load(keys + row * 2 + 1)
    key = _mixed(tl.load(keys + row * 2) ^ step)
    best = tl.full((), float("-inf"), tl.float32)
    token = tl.full((), 2147483647, tl.int32)
    for first in range(0, count, CHUNK):
        at = first + tl.arange(0, CHUNK)
        is_used = at < count
        value = tl.load(values + at, mask=is_used, other=float("-inf"))
        id_ = tl.load(candidates + at, mask=is_used, other=2147483647)
        noisy = value + tl.where(is_greedy, 0.0, _gumbel(key, id_))
        is_kept = is_used & (_ordered(value).to(tl.int64) >= limit)
        noisy = tl.where(is_kept, noisy, float("-inf"))
        highest = tl.max(noisy, 0)
        first_id = tl.min(tl.where(is_kept & (noisy == highest), id_, 2147483647), 0)
        is_better = (highest > best) | ((highest == best) & (first_id < token))
        token = tl.where(is_better, first_id, token)
        best = tl.maximum(best, highest)
    tl.store(keys + row * 2 + 1, step + 1)  # when every warp has read it
    is_whole = (peak > float("-inf")) & (peak < float("inf")) & (token < vocabulary)
    if is_whole:
        place = uses + own + token
        tl.store(place, tl.maximum(tl.load(place), 1) + 1)
    tl.store(tokens + row, tl.where(is_whole, token, BROKEN).to(tl.int64))
