"""Token ids as the bytes that they write, and which ids begin with or contain given bytes."""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

REMEMBERED = 512  # texts whose ids are kept


class Vocabulary:
    """What each id of a model writes, in lower case (a to z alone; other letters as they are).

    Hidden ids write nothing. Ids from `size` on are left out: the model has no logit for them.
    """

    def __init__(self, backend: Tokenizer, hidden: Collection[int], size: int) -> None:
        self._texts = [b""] * size
        for id_, text in _written(backend).items():
            if id_ < size and id_ not in hidden:
                self._texts[id_] = text.lower()
        self._order = sorted(range(size), key=self._texts.__getitem__)
        self._sorted = [self._texts[id_] for id_ in self._order]
        self._blob = b"".join(self._texts)
        self._ends = list(itertools.accumulate(map(len, self._texts)))
        self.starting_with = lru_cache(REMEMBERED)(self._starting_with)
        self.containing = lru_cache(REMEMBERED)(self._containing)

    def text(self, id_: int) -> bytes:
        """What `id_` writes; empty for an id that is hidden or unknown."""
        return self._texts[id_] if id_ < len(self._texts) else b""

    def _starting_with(self, start: bytes) -> Tensor:
        """(n,) int64 ids of all tokens that begin with `start`, which is not empty."""
        first = bisect_left(self._sorted, start)
        last = bisect_right(self._sorted, start, lo=first, key=lambda text: text[: len(start)])
        return torch.tensor(self._order[first:last], dtype=torch.int64)

    def _containing(self, text: bytes) -> Tensor:
        """(n,) int64 ids of all tokens that have `text`, which is not empty, in them."""
        ids: list[int] = []
        at = self._blob.find(text)
        while at >= 0:
            id_ = bisect_right(self._ends, at)
            if at + len(text) <= self._ends[id_]:
                ids.append(id_)
                at = self._ends[id_] - 1
            at = self._blob.find(text, at + 1)
        return torch.tensor(ids, dtype=torch.int64)


def _written(backend: Tokenizer) -> dict[int, bytes]:
    """The bytes of every id, by the two ways in which vocabularies spell them."""
    added: dict[int, Any] = backend.get_added_tokens_decoder()
    spells_bytes = "ByteLevel" in repr(backend.decoder)
    byte_of = {sign: byte for byte, sign in bytes_to_unicode().items()}
    texts: dict[int, bytes] = {}
    for spelling, id_ in backend.get_vocab(with_added_tokens=True).items():
        if id_ in added:
            texts[id_] = added[id_].content.encode()
        elif spells_bytes:
            texts[id_] = bytes(byte_of[sign] for sign in spelling if sign in byte_of)
        elif len(spelling) == 6 and spelling.startswith("<0x"):
            texts[id_] = bytes([int(spelling[3:5], 16)])
        else:
            texts[id_] = spelling.replace("▁", " ").encode()
    return texts
