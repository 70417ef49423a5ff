"""Attention over the paged cache, one request at a time.

The library's own path for CPUs masks over the keys of all running requests, and copies them
in every layer, so that a step costs as much as everybody's context together. Here a request
reads its own pages: in tiles, with PyTorch's attention (`tiles.py`), or for int8 on CPUs in one
kernel over all requests (`kernel.py`).

Where a CPU computes in float32, a query's numbers depend on its own text alone, bit for bit. So
it makes no difference how a prompt was cut into steps, what was found in the cache, and who
else is served.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.paging import layered, trash_place

NAME = "hermes_paged"


class Scratch:
    """Memory for what a layer computes with, used over and over."""

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    def buffer(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Any numbers in `shape`."""
        size = math.prod(shape)
        if self._memory.numel() < size or self._memory.dtype != dtype:
            self._memory = torch.empty(rounded(size, 1 << 20), dtype=dtype, device=device)
        return self._memory[:size].view(shape)


class Step(ABC):
    """What all layers of one step read and write."""

    is_recordable: ClassVar[bool] = False  # by `graphs.py`
    is_compiled: ClassVar[bool] = False  # in `kernel_rows.py` with all of a step

    def __init__(self, allocator: Any, scratch: Scratch, groups: int, dtype: torch.dtype) -> None:
        """`groups` query heads share the keys of one head; queries come in `dtype`."""
        self._allocator = allocator
        self._scratch = scratch
        self._groups = groups
        self._dtype = dtype
        self._device = allocator.cache_tensor.device
        self._cache = layered(allocator)
        self._places: list[int] = []
        self._where: Tensor | None = None
        self.tokens = 0

    @staticmethod  # noqa: B027  # most ask for nothing
    def prepare(model: nn.Module) -> None:
        """Make ready a model whose steps are all of this kind. In place."""

    @staticmethod
    @abstractmethod
    def kept_as(dtype: torch.dtype) -> torch.dtype:
        """The format in which the cache keeps what a model computes in `dtype`."""

    def add(self, request_id: str, new: int, length: int) -> None:
        """The next request of the batch: `new` tokens, with which it has `length`."""
        table: list[int] = self._allocator.block_table[request_id]
        size = self._allocator.tokens_per_page
        self._places += [table[i // size] * size + i % size for i in range(length - new, length)]
        self._plan(table, new, length)
        self.tokens += new

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Put the new (1, kv_heads, tokens, head_dim) keys and values into the cache."""
        if self._where is None:
            padding = [trash_place(self._allocator)] * (key.shape[2] - self.tokens)
            self._where = torch.tensor(self._places + padding, device=self._device)
        keys, values = self._of(layer)
        keys.flatten(1, 2).index_copy_(1, self._where, _kept(key[0], keys.dtype))
        values.flatten(1, 2).index_copy_(1, self._where, _kept(value[0], values.dtype))

    @abstractmethod
    def answer(self, layer: int, query: Tensor, scale: float) -> Tensor:
        """(1, tokens, heads, head_dim) for a query of (1, heads, tokens, head_dim).

        Of padding, which follows the tokens, any numbers.
        """

    @abstractmethod
    def _plan(self, table: list[int], new: int, length: int) -> None:
        """Make ready for a request whose pages are `table`."""

    def _of(self, layer: int) -> Tensor:
        """(2, kv_heads, pages, tokens, head_dim) of one layer, unless keys lie otherwise."""
        return self._cache[self._allocator.layer_indices.index(layer)]


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
    result = step.answer(layer, query, query.shape[-1] ** -0.5 if scaling is None else scaling)
    result[:, step.tokens :] = 0
    return result, None


AttentionInterface.register(NAME, attend)
