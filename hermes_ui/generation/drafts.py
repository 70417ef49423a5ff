"""Guesses of the next tokens, taken from the text itself: one step then checks them all.

What followed the last words when they stood there before often follows them again (prompt
lookup decoding, Saxena 2023). On a CPU a step of eight tokens costs about 1.7 times a step of
one, so that a few right guesses pay. A guess is kept only when the dice draw that very token,
so drafts change no reply.
"""

from collections.abc import Iterable

LONGEST = 7  # tokens of a draft
STEP_ROWS = 8  # tokens of a step with drafts, of all replies together: more rows cost too much
MATCHED = (3, 2)  # tokens that have to stand before, the longer match first
PAUSES = (4, 256)  # tokens without a draft after refused ones, at first and at last


class Drafter:
    """Follows one text and guesses how it goes on; rests where its guesses are refused."""

    def __init__(self, ids: Iterable[int], longest: int = LONGEST) -> None:
        """`ids` is the prompt, and a draft has no more than `longest` tokens; 0: there is none."""
        self._longest = longest
        self._ids: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}  # where the text went on last time
        self._length = 2
        self._pause = PAUSES[0]
        self._rest = 0  # tokens until the next draft
        for token in ids:
            self.add(token)

    def add(self, token: int) -> None:
        """Go on after `token`."""
        place = len(self._ids)
        for count in MATCHED:
            if place >= count:
                self._followers[tuple(self._ids[-count:])] = place
        self._ids.append(token)
        self._rest = max(0, self._rest - 1)

    def draft(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next, none where there is nothing to go by."""
        most = min(most, self._longest)
        if self._rest or most < 1:
            return []
        for count in MATCHED:
            place = self._followers.get(tuple(self._ids[-count:]))
            if place is not None:
                # A passage that reaches the end goes on with its own beginning.
                period = len(self._ids) - place
                return [self._ids[place + i % period] for i in range(min(most, self._length))]
        return []

    def judge(self, drafted: int, right: int) -> None:
        """Learn that `right` of `drafted` tokens came: longer drafts, shorter ones, or a rest."""
        if right == drafted:
            self._length = min(self._longest, 2 * self._length)
        else:
            self._length = max(1, right)
        if right:
            self._pause = PAUSES[0]
        else:
            self._rest = self._pause
            self._pause = min(2 * self._pause, PAUSES[1])
