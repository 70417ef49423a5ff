"""DRY, "don't repeat yourself": tokens that would prolong a repetition become less likely.

After p-e-w's sampler in text-generation-webui. For each earlier passage that equals the end
of the text, the token that followed it then is penalised by how long the passage is.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from hermes_ui.generation.vocabulary import Vocabulary
from hermes_ui.params import SamplingParams

LONGEST = 60  # tokens beyond the allowed length; base to that power is still a float32


class Dry:
    """Follows one text, token by token, and knows all earlier passages that its end equals.

    Reading the prompt takes time linear in its length (the Z algorithm); a step takes time
    linear in how often its token came before.
    """

    def __init__(
        self,
        ids: Sequence[int],
        params: SamplingParams,
        vocabulary: Vocabulary,
        control: Collection[int] = (),
    ) -> None:
        """`ids` is the prompt; a passage never runs across a token of `control`."""
        self._params = params
        self._vocabulary = vocabulary
        self._control = control
        self._breakers = [text.encode().lower() for text in params.dry_sequence_breakers]
        self._overlap = max((len(text) for text in self._breakers), default=1) - 1
        self._ids: list[int] = []
        self._places: dict[int, list[int]] = defaultdict(list)
        self._lengths: dict[int, int] = {}  # where an equal passage ends, and how long it is
        self._tail = b""
        self._unbroken = 0  # tokens since the last breaker
        for token in ids:
            self._read(token)
        self._lengths = self._equal_passages()

    def add(self, token: int) -> None:
        """Go on after `token`."""
        earlier = self._places.get(token, ())
        before, self._lengths = self._lengths, {}
        if self._read(token):
            self._lengths = {i: before.get(i - 1, 0) + 1 for i in earlier if i < len(self._ids) - 1}

    def penalties(self) -> dict[int, float]:
        """What to take from the logit of each token that would prolong a repetition."""
        params = self._params
        if self._unbroken < params.dry_allowed_length or params.dry_penalty_last_n == 0:
            return {}
        count = len(self._ids)
        start = 0 if params.dry_penalty_last_n < 0 else max(0, count - params.dry_penalty_last_n)
        longest: dict[int, int] = {}
        for end, length in self._lengths.items():
            seen = min(length, self._unbroken, end - start + 1)
            follower = self._ids[end + 1]
            if seen >= params.dry_allowed_length and seen > longest.get(follower, 0):
                longest[follower] = seen
        return {
            token: params.dry_multiplier
            * params.dry_base ** min(length - params.dry_allowed_length, LONGEST)
            for token, length in longest.items()
            if not self._breaks(token, b"")
        }

    def _read(self, token: int) -> bool:
        """Append `token`; whether a passage may run across it."""
        self._places[token].append(len(self._ids))
        self._ids.append(token)
        is_broken = self._breaks(token, self._tail)
        self._unbroken = 0 if is_broken else self._unbroken + 1
        text = self._tail + self._vocabulary.text(token)
        self._tail = text[-self._overlap :] if self._overlap else b""
        return not is_broken

    def _breaks(self, token: int, tail: bytes) -> bool:
        """Whether a breaker ends in `token`, which comes after `tail`."""
        if token in self._control:
            return True
        text = tail + self._vocabulary.text(token)
        return any(
            breaker in text[max(0, len(tail) - len(breaker) + 1) :] for breaker in self._breakers
        )

    def _equal_passages(self) -> dict[int, int]:
        """For each earlier place of the last token, how far back the text equals its end."""
        if not self._unbroken:
            return {}
        last = len(self._ids) - 1
        common = _z(self._ids[::-1])
        return {last - i: common[i] for i in range(1, len(common)) if common[i]}


def _z(text: Sequence[int]) -> list[int]:
    """For each place of `text`, how many tokens from there on equal its beginning."""
    common = [0] * len(text)
    left = right = 0
    for i in range(1, len(text)):
        length = min(right - i, common[i - left]) if i < right else 0
        while i + length < len(text) and text[length] == text[i + length]:
            length += 1
        if i + length > right:
            left, right = i, i + length
        common[i] = length
    return common
