"""Attention in tiles, by PyTorch's own.

A request's keys and values are read where they are when its pages lie in a row, else out of a
buffer. What float32 computes with is kept in half its memory, in float16, as llama.cpp does
it, and widened on its way through the processor's cache.

So that a query's numbers depend on its own text alone, queries are cut into tiles at fixed
places of the text, the keys end where the tile ends, and the products have `ROWS` rows at
least (see `invariance.py`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from hermes_ui.generation.attention import Step
from hermes_ui.generation.invariance import ROWS, rounded
from hermes_ui.generation.paging import TILE

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


class TiledStep(Step):
    """A step whose requests are answered one after another, tile by tile."""

    tile_tokens = TILE

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._spans: list[Span] = []
        self._is_kept_whole = self._cache.dtype == self._dtype

    @staticmethod
    def kept_as(dtype: torch.dtype) -> torch.dtype:
        return torch.float16 if dtype == torch.float32 else dtype

    def _plan(self, table: list[int], new: int, length: int) -> None:
        size = self._allocator.tokens_per_page
        pages = torch.tensor(table[: -(-length // size)], device=self._device)
        whole = rounded(length, TILE) // size
        in_a_row = table[:whole] == list(range(table[0], table[0] + whole))
        tiles = []
        at = length - new
        while at < length:
            end = min(rounded(at + 1, self.tile_tokens), length)
            start = self.tokens + at - (length - new)
            tiles.append(self._tile(slice(start, start + end - at), at, end))
            at = end
        self._spans.append(Span(pages, table[0] if in_a_row else None, length, tuple(tiles)))

    def _tile(self, queries: slice, first: int, end: int) -> Tile:
        keys = rounded(end, TILE)
        places = torch.arange(first, end, device=self._device).repeat(self._groups)
        rows = rounded(len(places), ROWS)
        places = torch.cat([places, places[:1].expand(rows - len(places))])
        mask = torch.zeros(rows, keys, dtype=self._dtype, device=self._device)
        unseen = torch.arange(keys, device=self._device) > places[:, None]
        return Tile(queries, keys, mask.masked_fill_(unseen, -torch.inf))

    def answer(self, layer: int, query: Tensor, scale: float) -> Tensor:
        _, heads, tokens, dim = query.shape
        grouped = query.view(heads // self._groups, self._groups, tokens, dim)
        result = query.new_empty(1, tokens, heads, dim)
        shared = result.view(tokens, len(grouped), self._groups, dim)
        for span in self._spans:
            for part in self._shares(span):
                keys, values = self._read(layer, span, part)
                for tile in span.tiles:
                    answer = scaled_dot_product_attention(
                        _asked(grouped[part], tile)[None],
                        keys[None, :, : tile.keys],
                        values[None, :, : tile.keys],
                        attn_mask=tile.mask,
                        scale=scale,
                    )[0]
                    shared[tile.queries, part] = _shared_out(answer, self._groups, tile)
        return result

    def _shares(self, span: Span) -> list[slice]:
        """The kv_heads of a request that are read together."""
        heads, dim = self._cache.shape[2], self._cache.shape[-1]
        if self._is_kept_whole:
            return [slice(0, heads)]
        head_bytes = 2 * rounded(span.length, TILE) * dim * self._dtype.itemsize
        parts = min(heads, -(-heads * head_bytes // COPIED_BYTES))
        count = -(-heads // parts)
        return [slice(first, first + count) for first in range(0, heads, count)]

    def _read(self, layer: int, span: Span, heads: slice) -> tuple[Tensor, Tensor]:
        """(heads, keys, head_dim) keys and values of a request, any numbers at unused places.

        They may lie in a buffer, and stay until the next call.
        """
        both, rows = self._of(layer)[:, heads], rounded(span.length, TILE)
        if span.first is None:
            return self._gathered(both, span)
        start = span.first * both.shape[3]
        part = both.flatten(2, 3)[:, :, start : start + rows]
        if not self._is_kept_whole:
            part = self._scratch.buffer(part.shape, self._dtype, part.device).copy_(part)
        return part[0], part[1]

    def _gathered(self, cache: Tensor, span: Span) -> tuple[Tensor, Tensor]:
        """(heads, keys, head_dim) keys and values out of (2, heads, pages, tokens, head_dim)."""
        _, heads, _, size, dim = cache.shape
        rows = rounded(span.length, TILE)
        result = self._scratch.buffer((2, heads, rows, dim), self._dtype, cache.device)
        found = cache.index_select(2, span.pages).view(2, heads, -1, dim)
        result[:, :, : len(span.pages) * size] = found
        # What an earlier request left there may not be a number, and 0 times that is none.
        result[:, :, span.length :].zero_()
        return result[0], result[1]


def _asked(grouped: Tensor, tile: Tile) -> Tensor:
    """(kv_heads, rows, head_dim): who shares keys is asked as one row of queries."""
    part = grouped[:, :, tile.queries].flatten(1, 2)
    return pad(part, (0, 0, 0, len(tile.mask) - part.shape[1]))


def _shared_out(answer: Tensor, groups: int, tile: Tile) -> Tensor:
    """(queries, kv_heads, groups, head_dim) of a tile's (kv_heads, rows, head_dim)."""
    count = tile.queries.stop - tile.queries.start
    shares = answer[:, : groups * count].reshape(len(answer), groups, count, -1)
    return shares.permute(2, 0, 1, 3)
