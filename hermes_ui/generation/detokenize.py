"""Token ids to text, as they come, never cutting a character."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from hermes_ui.generation.text import TAGS

LONGEST_CHARACTER = 12  # tokens that may be held back; a character has at most 4 bytes
UNFINISHED = "\ufffd"
NUL = "\0"  # PostgreSQL holds none


def hidden_ids(backend: Tokenizer) -> frozenset[int]:
    """The ids that are never shown: control tokens, but not tags that the text is split at."""
    added: dict[int, Any] = backend.get_added_tokens_decoder()
    return frozenset(
        id_
        for id_, token in added.items()
        if (token.special and token.content not in TAGS) or _is_control(token.content)
    )


def _is_control(content: str) -> bool:
    return content.startswith("<|") and content.endswith("|>")


class Detokenizer:
    """The text of a growing list of ids.

    The library's decode stream waits as long as the text ends inside a character. It would
    wait forever, and ever more slowly, for bytes that never become one: those are given out
    as U+FFFD, and so is NUL.

    Args:
        hidden: Ids that have no text.
        before: What the text goes on from; without it a first word may lose its blank.
    """

    def __init__(
        self, backend: Tokenizer, hidden: frozenset[int], before: Sequence[int] = ()
    ) -> None:
        self._backend = backend
        self._hidden = hidden
        self._stream = self._going_on_from(before)
        self._pending: list[int] = []

    def feed(self, token: int) -> str:
        """The text that is certain after `token`."""
        if token in self._hidden:
            return ""
        self._pending.append(token)
        try:
            text = self._stream.step(self._backend, token)
        except Exception:  # no narrower one: single bytes read otherwise with what comes next
            return self._given_up()
        if text is not None:
            self._pending.clear()
            return str(text).replace(NUL, UNFINISHED)
        return self._given_up() if len(self._pending) >= LONGEST_CHARACTER else ""

    def flush(self) -> str:
        """The rest, without a character that was cut off."""
        return self._given_up().rstrip(UNFINISHED)

    def _given_up(self) -> str:
        text: str = self._backend.decode(self._pending, skip_special_tokens=False)
        self._stream = self._going_on_from(self._pending)
        self._pending.clear()
        return text.replace(NUL, UNFINISHED)

    def _going_on_from(self, before: Sequence[int]) -> DecodeStream:
        last = list(before[-1:])
        is_cut = UNFINISHED in self._backend.decode(last, skip_special_tokens=False)
        return DecodeStream(ids=[] if is_cut else last, skip_special_tokens=False)
