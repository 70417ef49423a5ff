"""Attention on a GPU: tokens of replies as rows of one kernel, prompts in tiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hermes_ui.generation import gpu_kernel
from hermes_ui.generation.tiles import TiledStep

FEW = 32  # new tokens of a request that are rows; more are read faster in tiles


@dataclass(frozen=True, slots=True)
class Row:
    """A token that is answered by itself: who asks, the request's pages, the keys it sees."""

    request_id: str
    table: Sequence[int]
    length: int


class RowStep(TiledStep):
    """A step whose requests of few new tokens are answered together."""

    is_recordable = True
    tile_tokens = 4096  # a GPU is fastest with all of a prompt at once

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[Row] = []
        self._row_tokens: list[int] = []  # which of the step's tokens they are
        self._asked: tuple[Tensor, Tensor, Tensor] | None = None
        self._request_id = ""

    @property
    def is_all_rows(self) -> bool:
        """Whether no prompt is read in tiles."""
        return not self._spans

    @property
    def places(self) -> list[int]:
        """Where the new tokens' keys and values go, in the pages laid side by side."""
        return self._places

    def add(self, request_id: str, new: int, length: int) -> None:
        self._request_id = request_id
        super().add(request_id, new, length)

    def _plan(self, table: list[int], new: int, length: int) -> None:
        if new > FEW:
            super()._plan(table, new, length)
            return
        self._row_tokens += range(self.tokens, self.tokens + new)
        self.rows += [
            Row(self._request_id, table, seen) for seen in range(length - new + 1, length + 1)
        ]

    def answer(self, layer: int, query: Tensor, scale: float) -> Tensor:
        result = super().answer(layer, query, scale)
        if self.rows:
            self._asked = self._asked or self._on_device()
            tokens, tables, lengths = self._asked
            asked = query[0].transpose(0, 1)[tokens]
            seen = gpu_kernel.answer(asked, self._of(layer), tables, lengths, scale)
            result[0].index_copy_(0, tokens, seen)
        return result

    def _on_device(self) -> tuple[Tensor, Tensor, Tensor]:
        """Which tokens are rows, their tables and their lengths."""
        tables = tables_of(self.rows, max(len(row.table) for row in self.rows))
        return (
            torch.tensor(self._row_tokens, device=self._device),
            tables.to(self._device),
            torch.tensor([row.length for row in self.rows], device=self._device),
        )


class Buffered:
    """A step that can be recorded: it writes and reads what buffers on the device say.

    Args:
        cache: (layers, 2, kv_heads, pages, tokens, head_dim).
        tables: (rows, most pages of a request) int32.
        lengths: (rows,) int64, of the keys that a row sees.
        places: (rows,) int64, where its own go, in the pages laid side by side.
    """

    def __init__(self, cache: Tensor, tables: Tensor, lengths: Tensor, places: Tensor) -> None:
        self.cache, self.tables = cache, tables
        self.lengths, self.places = lengths, places
        self.tokens = len(places)

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        new = key[0].transpose(0, 1), value[0].transpose(0, 1)
        gpu_kernel.write(*new, self.cache[layer], self.places)

    def answer(self, layer: int, query: Tensor, scale: float) -> Tensor:
        asked = query[0].transpose(0, 1)
        cache = self.cache[layer]
        return gpu_kernel.answer(asked, cache, self.tables, self.lengths, scale)[None]


def tables_of(rows: Sequence[Row], pages: int) -> Tensor:
    """(rows, pages) int32: each row's pages, zeros behind."""
    result = torch.zeros(len(rows), pages, dtype=torch.int32)
    last: tuple[Sequence[int], Tensor] | None = None
    for number, row in enumerate(rows):
        if last is None or last[0] is not row.table:
            last = row.table, torch.tensor(row.table[:pages], dtype=torch.int32)
        result[number, : len(last[1])] = last[1]
    return result
