"""One request between the caller's thread and the engine's."""

import queue
import threading
from typing import Any

from hermes_ui.generation.drafts import Drafter
from hermes_ui.generation.penalties import Tally
from hermes_ui.params import SamplingParams


class Request:
    """What both threads know of it; the engine's thread alone draws."""

    def __init__(self, id_: str, params: SamplingParams, tally: Tally, drafter: Drafter) -> None:
        self.id = id_
        self.params = params
        self.tally = tally
        self.drafter = drafter
        self.draft: list[int] = []  # guesses that the current step checks
        self.drawn: list[int] = []  # in the current step: the guesses that were right, and one more
        self.step = 0  # tokens drawn so far
        self.cached_tokens = 0  # of the prompt, found in the cache
        self.error = ""
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()  # GenerationOutput
        self.is_open = True
        self.is_free = threading.Event()  # it holds no block any more

    @property
    def may_burst(self) -> bool:
        """Whether a GPU can draw for it by itself: it asks for nothing that only the host can."""
        tally = self.tally
        return not (
            self.params.xtc_probability or self.params.logit_bias or tally.dry or tally.bans
        )

    def draw(self, token: int) -> None:
        """Take note of the token that was drawn for it."""
        self.tally.add(token)
        self.drafter.add(token)
        self.drawn.append(token)
        self.step += 1

    @property
    def refused(self) -> int:
        """Guesses of the current step that were wrong."""
        return len(self.draft) - max(0, len(self.drawn) - 1)

    def goes_on(self) -> bool:
        """Whether all that was drawn in the current step was guessed, and there is a next guess."""
        count = len(self.drawn)
        return count <= len(self.draft) and self.drawn == self.draft[:count]


Requests = dict[str, Request]
