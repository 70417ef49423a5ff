"""Play a stored branch back at the speed at which it was said."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from storage.errors import NotFound
from storage.rows import MessageRow
from storage.store import Store

UPDATES_PER_SECOND = 15
LONGEST_PAUSE_S = 3.0  # nobody wants to watch a slow model think
READING_PAUSE_S = 0.6  # before a message that has no recorded times


@dataclass(frozen=True, slots=True)
class Played:
    """One message as far as it has been played."""

    message: MessageRow
    text: str
    done: bool


def play(owner: str, store: Store, conversation_id: str, *, speed: float = 1.0) -> Iterator[Played]:
    """Play the conversation's current branch, oldest message first, in real time.

    Args:
        speed: 2 plays twice as fast; `float("inf")` does not wait at all.

    Yields:
        Growing texts, at most `UPDATES_PER_SECOND` a second, and each message once with
        `done`. Messages without recorded times appear whole.
    """
    conversation = store.conversation(owner, conversation_id)
    if conversation.leaf_id is None:
        return
    for message in store.path(owner, conversation.leaf_id):
        yield from _play_message(message, _chunks(owner, store, message), speed)
        yield Played(message, message.content, done=True)


def _chunks(owner: str, store: Store, message: MessageRow) -> list[tuple[float, int]]:
    try:
        recorded = store.seal(owner, message.id).chunks
    except NotFound:  # greetings, user messages and edits were never generated
        return []
    return [(ms / 1000, n_chars) for ms, n_chars in recorded]


def _play_message(
    message: MessageRow, chunks: list[tuple[float, int]], speed: float
) -> Iterator[Played]:
    if not chunks:
        time.sleep(READING_PAUSE_S / speed)
        return
    shown, clock, drawn_at = message.prefix_chars, 0.0, float("-inf")
    for at, n_chars in chunks:
        pause = min(max(at - clock, 0.0), LONGEST_PAUSE_S) / speed
        clock = max(clock, at)
        if pause:
            time.sleep(pause)
        shown += n_chars
        now = time.monotonic()
        if now - drawn_at >= 1 / UPDATES_PER_SECOND:
            drawn_at = now
            yield Played(message, message.content[:shown], done=False)
