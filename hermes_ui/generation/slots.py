"""The waiting line in front of an engine: who is served, and who stands where."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hermes_ui.errors import EngineBusy
from hermes_ui.generation.engine import Waiting

NOTICE_S = 0.2  # a waiting caller gets a word in this often; the promise is 250 ms


class Place:
    """One request's place. `size` is what it takes of the line's `room` once it is served."""

    __slots__ = ("is_served", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_served = False


class WaitingLine:
    """First come, first served: at most `max_active` requests and `room` units at once.

    Safe to use from many threads. The room bounds what the served requests may ever need,
    so that none of them has to be put out again for another.
    """

    def __init__(self, max_active: int, max_waiting: int, room: int | None = None) -> None:
        self._max_active = max_active
        self._max_waiting = max_waiting
        self._room = room
        self._served: set[Place] = set()
        self._waiting: list[Place] = []
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Requests that are served or wait."""
        with self._changed:
            return len(self._served) + len(self._waiting)

    @contextmanager
    def place(self, size: int = 0) -> Iterator[Place]:
        """A place in the line until the block is left.

        Raises:
            EngineBusy: the request cannot be served at once and the line is full.
        """
        place = Place(size)
        with self._changed:
            self._waiting.append(place)
            self._advance()
            if not place.is_served and len(self._waiting) > self._max_waiting:
                self._waiting.remove(place)
                raise EngineBusy(len(self._waiting))
        try:
            yield place
        finally:
            with self._changed:
                self._served.discard(place)
                if place in self._waiting:
                    self._waiting.remove(place)
                self._advance()
                self._changed.notify_all()

    def notices(self, place: Place) -> Iterator[Waiting]:
        """A `Waiting` now and then, until `place` is served."""
        while not place.is_served:
            with self._changed:
                ahead = self._waiting.index(place) if place in self._waiting else 0
            yield Waiting(ahead)
            with self._changed:
                self._changed.wait_for(lambda: place.is_served, NOTICE_S)

    def _advance(self) -> None:
        while self._waiting and len(self._served) < self._max_active:
            taken = sum(place.size for place in self._served)
            if (
                self._room is not None
                and self._served
                and taken + self._waiting[0].size > self._room
            ):
                return
            place = self._waiting.pop(0)
            place.is_served = True
            self._served.add(place)
            self._changed.notify_all()
