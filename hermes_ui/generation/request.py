"""One request between the caller's thread and the engine's."""

import queue
import threading
from typing import Any

from hermes_ui.generation.penalties import Tally
from hermes_ui.params import SamplingParams


class Request:
    """What both threads know of it; the engine's thread alone draws."""

    def __init__(self, id_: str, params: SamplingParams, tally: Tally) -> None:
        self.id = id_
        self.params = params
        self.tally = tally
        self.step = 0  # tokens drawn so far
        self.cached_tokens = 0  # of the prompt, found in the cache
        self.error = ""
        self.outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()  # GenerationOutput
        self.is_open = True
        self.is_free = threading.Event()  # it holds no block any more

    def draw(self, token: int) -> None:
        """Take note of the token that was drawn for it."""
        self.tally.add(token)
        self.step += 1


Requests = dict[str, Request]
