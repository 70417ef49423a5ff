"""What a model has read, kept for a text that begins with it: a conversation's next turn."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, StaticCache

KEPT_TOKENS = 200_000  # in all; of Hermes Mini 7 KB each


@dataclass(slots=True)
class Batch:
    """Rows that are read together: what is known of each, then the rest, both padded before."""

    ids: Tensor  # (rows, length)
    mask: Tensor  # (rows, length), 1 where there is a token
    width: int  # columns of what is known
    cache: StaticCache  # holds these

    def read(self, row: int, said: int = 0) -> Tensor:
        """Keys and values of a row, and of so many tokens that were said after it."""
        length = self.mask.shape[1]
        after = torch.arange(length, length + said, device=self.mask.device)
        places = torch.cat((self.mask[row].nonzero().flatten(), after))
        return torch.stack([
            torch.stack((layer.keys[row, :, places], layer.values[row, :, places]))
            for layer in self.cache.layers
        ])  # fmt: skip


class Prefixes:
    """Keys and values of texts that end where a turn does, found by their ids.

    Those of a text are (layers, 2, heads, tokens, head size). The least recently used leave first.

    Args:
        end: The id of the token that ends a turn.
    """

    def __init__(self, end: int) -> None:
        self.end = end
        self._kept: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self._tokens = 0

    def closed(self, ids: Sequence[int]) -> Sequence[int]:
        """`ids` up to where their last turn ends."""
        return ids[: max(place for place, token in enumerate(ids) if token == self.end)]

    def known(self, ids: Sequence[int]) -> int:
        """How many tokens `ids` begins with need not be read again."""
        return _tokens(self._find(ids))

    def keep(self, ids: Sequence[int], both: Tensor) -> None:
        """Remember `ids`, after which a turn ended."""
        if tuple(ids) in self._kept:
            return
        self._kept[tuple(ids)] = both
        self._tokens += len(ids)
        while self._tokens > KEPT_TOKENS:
            gone, _ = self._kept.popitem(last=False)
            self._tokens -= len(gone)

    def batch(
        self, rows: Sequence[Sequence[int]], model: LlamaForCausalLM, pad: int, room: int = 0
    ) -> Batch:
        """`rows` as `model` reads them, with room for so many tokens after them."""
        found = [self._find(row) for row in rows]
        known = [_tokens(both) for both in found]
        width = max(known)
        length = width + max(len(row) - own for row, own in zip(rows, known, strict=True))
        ids = torch.full((len(rows), length), pad)
        mask = torch.zeros_like(ids)
        for number, (row, own) in enumerate(zip(rows, known, strict=True)):
            for end, part in ((width, row[:own]), (length, row[own:])):
                ids[number, end - len(part) : end] = torch.tensor(part, dtype=torch.long)
                mask[number, end - len(part) : end] = 1
        cache = StaticCache(model.config, max_cache_len=length + room)
        if width:
            _fill(cache, found, width)
        return Batch(ids.to(model.device), mask.to(model.device), width, cache)

    def _find(self, ids: Sequence[int]) -> Tensor | None:
        """Those of the longest beginning of `ids` that is known."""
        for place in range(len(ids) - 1, 0, -1):
            if ids[place] == self.end and (known := tuple(ids[:place])) in self._kept:
                self._kept.move_to_end(known)
                return self._kept[known]
        return None


def _tokens(both: Tensor | None) -> int:
    return 0 if both is None else both.shape[-2]


def _fill(cache: StaticCache, found: Sequence[Tensor | None], width: int) -> None:
    """Put what is known of each row into the empty `cache`, up to column `width`."""
    one = next(both for both in found if both is not None)
    layers, _, heads, _, size = one.shape
    every = one.new_zeros(layers, 2, len(found), heads, width, size)
    for row, both in enumerate(found):
        if both is not None:
            every[:, :, row, :, width - both.shape[-2] :] = both
    for layer, (keys, values) in enumerate(every):
        cache.update(keys, values, layer)
