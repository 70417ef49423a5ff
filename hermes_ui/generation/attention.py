"""Attention over the paged cache, one request at a time.

The library's own path for CPUs masks over the keys of all running requests, and copies them
in every layer, so that a step costs as much as everybody's context together. Here a request
reads its own pages: where they are when they lie in a row, else out of a buffer that is used
over and over. What float32 computes with is kept in half its memory: in float16, as llama.cpp
does it, widened on its way through the processor's cache. For int8 on CPUs that multiply
bfloat16 it is that: attention is two products then, which over 2,048 tokens take 0.6 times as
long as PyTorch's own kernel and change the likeliest token of Hermes Mini once in 2,000 times.

Where a CPU computes in float32, a query's numbers depend on its own text alone, bit for bit:
queries are cut into tiles at fixed places of the text, the keys end where the tile ends, and
the products have `ROWS` rows at least (see `invariance.py`). So it makes no difference how a
prompt was cut into steps, what was found in the cache, and who else is served.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from hermes_ui.generation.invariance import ROWS, rounded
from hermes_ui.generation.loading import cpu_does_bfloat16
from hermes_ui.generation.paging import TILE, kept_shape, layered

NAME = "hermes_paged"
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
TRIED_QUERIES = (1, 2, 5, 33)
TRIED_KEYS = (64, 320, 2048)
COPIED_BYTES = 8 << 20  # about so much at a time, so that it stays in the processor


@dataclass(frozen=True, slots=True)
class Tile:
    """Queries of one request that are answered together.

    `queries` is their place in the packed batch, `keys` how many keys they see, unused ones
    at the end included, and `mask` (groups · queries, rounded up to `ROWS`; keys) of 0 and -inf.
    """

    queries: slice
    keys: int
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """One request's part of a step: its pages, its length with the new tokens, its tiles.

    `first` is the first page where they lie in a row, enough of them for all tiles, else None.
    """

    pages: Tensor
    first: int | None
    length: int
    tiles: tuple[Tile, ...]


class Step:
    """What all layers of one step read and write."""

    def __init__(self, allocator: Any, scratch: "Scratch", groups: int, dtype: torch.dtype) -> None:
        self._allocator = allocator
        self._scratch = scratch
        self._groups = groups
        self._dtype = dtype
        self._device = allocator.cache_tensor.device
        self._cache = layered(allocator)
        kept = self._cache.dtype
        is_on_cpu = self._device.type == "cpu"
        self.in_products = is_on_cpu and kept == torch.bfloat16 and cpu_does_bfloat16()
        self._read_as = kept if self.in_products else dtype
        # Where the heads lie apart, a product makes a copy of its own, in fresh memory.
        self._reads_in_place = kept == dtype and not self.in_products
        self._places: list[int] = []
        self._where: Tensor | None = None
        self.spans: list[Span] = []
        self.tokens = 0

    def add(self, request_id: str, new: int, length: int) -> None:
        """The next request of the batch: `new` tokens, with which it has `length`."""
        table: list[int] = self._allocator.block_table[request_id]
        size = self._allocator.tokens_per_page
        pages = torch.tensor(table[: -(-length // size)], device=self._device)
        whole = rounded(length, TILE) // size
        in_a_row = table[:whole] == list(range(table[0], table[0] + whole))
        self._places += [table[i // size] * size + i % size for i in range(length - new, length)]
        tiles = []
        at = length - new
        while at < length:
            end = min(rounded(at + 1, TILE), length)
            start = self.tokens + at - (length - new)
            tiles.append(self._tile(slice(start, start + end - at), at, end))
            at = end
        self.spans.append(Span(pages, table[0] if in_a_row else None, length, tuple(tiles)))
        self.tokens += new

    def _tile(self, queries: slice, first: int, end: int) -> Tile:
        keys = rounded(end, TILE)
        places = torch.arange(first, end, device=self._device).repeat(self._groups)
        rows = rounded(len(places), ROWS)
        places = torch.cat([places, places[:1].expand(rows - len(places))])
        mask = torch.zeros(rows, keys, dtype=self._dtype, device=self._device)
        unseen = torch.arange(keys, device=self._device) > places[:, None]
        return Tile(queries, keys, mask.masked_fill_(unseen, -torch.inf))

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Put the new (1, kv_heads, tokens, head_dim) keys and values into the cache."""
        if self._where is None:
            # Padding goes into a page that the library gives to nobody.
            trash = self._allocator.blocks_per_sector * self._allocator.tokens_per_page
            padding = key.shape[2] - self.tokens
            self._where = torch.tensor(self._places + [trash] * padding, device=self._device)
        keys, values = self._of(layer).flatten(2, 3)
        keys.index_copy_(1, self._where, _kept(key[0], keys.dtype))
        values.index_copy_(1, self._where, _kept(value[0], values.dtype))

    def shares(self, span: Span) -> list[slice]:
        """The kv_heads of a request that are read together."""
        heads, dim = self._cache.shape[2], self._cache.shape[-1]
        if self._reads_in_place:
            return [slice(0, heads)]
        head_bytes = 2 * rounded(span.length, TILE) * dim * self._read_as.itemsize
        parts = min(heads, -(-heads * head_bytes // COPIED_BYTES))
        count = -(-heads // parts)
        return [slice(first, first + count) for first in range(0, heads, count)]

    def read(self, layer: int, span: Span, heads: slice) -> tuple[Tensor, Tensor]:
        """(heads, keys, head_dim) keys and values of a request, any numbers at unused places.

        They may lie in a buffer, and stay until the next call.
        """
        both, rows = self._of(layer)[:, heads], rounded(span.length, TILE)
        if span.first is None:
            return self._scratch.gathered(both, span, self._read_as)
        start = span.first * both.shape[3]
        part = both.flatten(2, 3)[:, :, start : start + rows]
        if not self._reads_in_place:
            part = self._scratch.buffer(part.shape, self._read_as, part.device).copy_(part)
        return part[0], part[1]

    def _of(self, layer: int) -> Tensor:
        """(2, kv_heads, pages, tokens, head_dim) of one layer."""
        return self._cache[self._allocator.layer_indices.index(layer)]


class Scratch:
    """A buffer that holds keys and values of one request and layer, used over and over."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def buffer(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Any numbers in `shape`."""
        size = math.prod(shape)
        if self._memory.numel() < size or self._memory.dtype != dtype:
            self._memory = torch.empty(rounded(size, 1 << 20), dtype=dtype, device=device)
        return self._memory[:size].view(shape)

    def gathered(self, cache: Tensor, span: Span, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(heads, keys, head_dim) keys and values out of (2, heads, pages, tokens, head_dim)."""
        _, heads, _, size, dim = cache.shape
        rows = rounded(span.length, TILE)
        result = self.buffer((2, heads, rows, dim), dtype, cache.device)
        found = cache.index_select(2, span.pages).view(2, heads, -1, dim)
        result[:, :, : len(span.pages) * size] = found
        # What an earlier request left there may not be a number, and 0 times that is none.
        result[:, :, span.length :].zero_()
        return result[0], result[1]


def _kept(new: Tensor, dtype: torch.dtype) -> Tensor:
    """`new` as the cache keeps it; what is too large for the format becomes its largest."""
    if new.dtype == dtype:
        return new
    most = torch.finfo(dtype).max
    return new.clamp(-most, most).to(dtype)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of a packed batch, in transformers' attention interface.

    Args:
        query: (1, heads, tokens, head_dim), the new tokens of all requests in a row, and
            padding.
        key, value: (1, kv_heads, tokens, head_dim) of the same tokens.
        kwargs: With `step`, the requests and their pages.

    Returns:
        (1, tokens, heads, head_dim) and no weights; zeros for padding.
    """
    step: Step = kwargs["step"]
    layer: int = module.layer_idx  # type: ignore[assignment]
    step.write(layer, key, value)
    _, heads, tokens, dim = query.shape
    grouped = query.view(key.shape[1], heads // key.shape[1], tokens, dim)
    result = query.new_empty(1, tokens, heads, dim)
    result[:, step.tokens :] = 0
    shared = result.view(tokens, key.shape[1], -1, dim)
    scale = dim**-0.5 if scaling is None else scaling
    kernel = by_products if step.in_products else by_kernel
    for span in step.spans:
        for part in step.shares(span):
            keys, values = step.read(layer, span, part)
            for tile in span.tiles:
                seen = keys[:, : tile.keys], values[:, : tile.keys]
                asked = _asked(grouped[part], tile)
                answer = kernel(asked, *seen, tile.mask, scale)
                shared[tile.queries, part] = _shared_out(answer, grouped.shape[1], tile)
    return result, None


def _asked(grouped: Tensor, tile: Tile) -> Tensor:
    """(kv_heads, rows, head_dim): who shares keys is asked as one row of queries."""
    part = grouped[:, :, tile.queries].flatten(1, 2)
    return pad(part, (0, 0, 0, len(tile.mask) - part.shape[1]))


def _shared_out(answer: Tensor, groups: int, tile: Tile) -> Tensor:
    """(queries, kv_heads, groups, head_dim) of a tile's (kv_heads, rows, head_dim)."""
    count = tile.queries.stop - tile.queries.start
    shares = answer[:, : groups * count].reshape(len(answer), groups, count, -1)
    return shares.permute(2, 0, 1, 3)


def by_kernel(asked: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """PyTorch's own attention of (kv_heads, rows, head_dim) over (kv_heads, keys, head_dim)."""
    return scaled_dot_product_attention(
        asked[None], keys[None], values[None], attn_mask=mask, scale=scale
    )[0]


def by_products(asked: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The same by two products in the format of the keys, whose scores the softmax widens."""
    keys, values = keys.contiguous(), values.contiguous()  # else a product copies and transposes
    scores = torch.bmm((asked * scale).to(keys.dtype), keys.mT)
    weights = (scores + mask.float()).softmax(-1).to(values.dtype)
    return torch.bmm(weights, values).to(asked.dtype)


def kept_as(model: Any, *, is_int8: bool) -> torch.dtype:
    """The format in which the cache of `model` keeps what it computes.

    int8 loses nothing more by bfloat16, as long as products in it keep their promise: they are
    made by other code on each kind of CPU, so they are tried.
    """
    if model.dtype != torch.float32:
        return model.dtype  # type: ignore[no-any-return]
    if not (is_int8 and model.device.type == "cpu" and cpu_does_bfloat16()):
        return torch.float16
    config = model.config.get_text_config()
    kv_heads, dim = kept_shape(config)
    is_blind = is_company_blind(config.num_attention_heads // kv_heads, kv_heads, dim)
    return torch.bfloat16 if is_blind else torch.float16


@torch.no_grad()
def is_company_blind(groups: int, kv_heads: int, dim: int, kernel: Kernel = by_products) -> bool:
    """Whether a query gets the same bits beside any other queries and heads.

    Args:
        kernel: `by_products`, or what is tried in its place.
    """
    dice = torch.Generator().manual_seed(0)
    most = rounded(groups * TILE, ROWS)
    for keys in TRIED_KEYS:
        asked, seen, values = (
            torch.randn(kv_heads, count, dim, generator=dice) for count in (most, keys, keys)
        )
        seen, values, mask = seen.bfloat16(), values.bfloat16(), torch.zeros(most, keys)
        whole = kernel(asked, seen, values, mask, dim**-0.5)
        for count in TRIED_QUERIES:
            rows = rounded(groups * count, ROWS)
            for heads in {1, kv_heads}:
                part = asked[:heads, :rows], seen[:heads], values[:heads], mask[:rows]
                if not torch.equal(kernel(*part, dim**-0.5), whole[:heads, :rows]):
                    return False
    return True


def planned(
    allocator: Any, scratch: Scratch, requests: Sequence[Any], groups: int, dtype: torch.dtype
) -> Step:
    """The step of `requests`, the library's future states in the order of the batch."""
    step = Step(allocator, scratch, groups, dtype)
    for each in requests:
        step.add(each.state.request_id, each.query_length, each.state.position_offset)
    return step


AttentionInterface.register(NAME, attend)
