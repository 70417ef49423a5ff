"""Fit a conversation into the window.

What must stay is the persona and the newest user message with all that follows it. What
is over goes in this order: lore beyond its share, lowest rank first; example dialogue,
last block first; the oldest messages; at last the rest of the lore. A message is kept
whole or not at all.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from hermes_ui.errors import ContextOverflow
from hermes_ui.messages import Message

STEPS = (8, 4, 2)  # messages by which the drop point moves on


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A message and its place in the conversation, counted from the root's 0."""

    index: int
    message: Message


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is kept: the best `lore` entries, the first `examples` blocks, `items` oldest first."""

    lore: int
    examples: int
    items: tuple[HistoryItem, ...]


class Lookback:
    """A conversation from its newest message back, read no further than it is asked for."""

    def __init__(self, newest_first: Iterable[HistoryItem], cost: Callable[[Message], int]) -> None:
        self._unread: Iterator[HistoryItem] = iter(newest_first)
        self._cost = cost
        self._read: list[tuple[HistoryItem, int]] = []

    def __iter__(self) -> Iterator[tuple[HistoryItem, int]]:
        """Each message with its tokens, newest first."""
        position = 0
        while True:
            if position == len(self._read):
                item = next(self._unread, None)
                if item is None:
                    return
                self._read.append((item, self._cost(item.message)))
            yield self._read[position]
            position += 1

    def newest(self, count: int) -> list[HistoryItem]:
        """The last `count` messages, newest first."""
        return [item for item, _ in islice(self, count)]


def fit(
    history: Lookback,
    *,
    budget: int,
    fixed: int,
    lore: Sequence[int] = (),
    lore_share: int = 0,
    examples: Sequence[int] = (),
) -> Fitted:
    """Choose what goes into a prompt of at most `budget` tokens.

    The oldest message kept moves on in steps of eight places in the conversation, so that
    the prompt begins the same for several turns and a cache of it stays good.

    Args:
        history: Costs turn markers included.
        budget: Tokens of the whole prompt.
        fixed: Tokens of what is always there.
        lore: Tokens of each entry, best first.
        lore_share: Tokens that lore may take before anything else has to go.
        examples: Tokens of each block of example dialogue, in order.

    Raises:
        ContextOverflow: what must stay is over `budget`.
    """
    must = _must_stay(history, budget)
    if fixed + must > budget:
        raise ContextOverflow(fixed + must, budget)
    lore_kept = _longest_start(lore, min(lore_share, budget - fixed - must))
    room = budget - fixed - sum(lore[:lore_kept])
    fitting: list[HistoryItem] = []
    for item, tokens in history:
        if tokens > room:
            return Fitted(lore_kept, 0, _from_a_step(fitting))
        room -= tokens
        fitting.append(item)
    return Fitted(lore_kept, _longest_start(examples, room), tuple(reversed(fitting)))


def _must_stay(history: Lookback, budget: int) -> int:
    """Tokens of the newest user message and all after it, or of the newest message alone."""
    newest = total = 0
    for item, tokens in history:
        total += tokens
        newest = newest or tokens
        if item.message.role == "user" or total > budget:
            return total
    return newest


def _longest_start(costs: Sequence[int], room: int) -> int:
    """How many of `costs`, from the first on, `room` holds."""
    for kept, cost in enumerate(costs):
        room -= cost
        if room < 0:
            return kept
    return len(costs)


def _from_a_step(newest_first: list[HistoryItem]) -> tuple[HistoryItem, ...]:
    """The messages from a step on, oldest first; no step may cost more than a quarter."""
    items = newest_first[::-1]
    last_start = max(
        (place for place, item in enumerate(items) if item.message.role == "user"),
        default=len(items) - 1,
    )
    for step in STEPS:
        start = -items[0].index % step
        if start <= len(items) // 4:
            break
    else:
        start = 0
    start = min(start, last_start)
    while start < last_start and items[start].message.role == "tool":
        start += 1  # its call has been dropped
    return tuple(items[start:])
