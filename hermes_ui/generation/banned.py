"""Texts that a reply must not contain: the tokens that would complete one, at every step."""

from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from hermes_ui.generation.vocabulary import Vocabulary


class Bans:
    """Follows what one reply has written and knows which tokens may not come next.

    A token is forbidden when a banned text stands in it, or begins in what was written and
    ends in it. So the reply has none of them, wherever its tokens are cut. Control tokens
    write nothing, and are never forbidden.
    """

    def __init__(self, banned: Sequence[str], vocabulary: Vocabulary, written: str = "") -> None:
        """`written` is what the reply begins with."""
        texts = {text.encode().lower() for text in banned}
        self._vocabulary = vocabulary
        self._always = [vocabulary.containing(text) for text in sorted(texts)]
        self._rests: dict[bytes, list[bytes]] = defaultdict(list)
        for text in texts:
            for cut in range(1, len(text)):
                self._rests[text[:cut]].append(text[cut:])
        self._lengths = sorted({len(start) for start in self._rests})
        self._longest = max(self._lengths, default=0)
        self._tail = self._cut(written.encode().lower())

    def add(self, token: int) -> None:
        """Go on after `token`."""
        self._tail = self._cut(self._tail + self._vocabulary.text(token))

    def forbidden(self) -> list[Tensor]:
        """(n,) int64 ids in parts, some of them more than once."""
        parts = list(self._always)
        for length in self._lengths:
            for rest in self._rests.get(self._tail[-length:], ()):
                parts.append(self._vocabulary.starting_with(rest))
        return parts

    def _cut(self, text: bytes) -> bytes:
        return text[-self._longest :] if self._longest else b""
