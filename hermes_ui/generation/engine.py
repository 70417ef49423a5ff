"""The `Engine` promise: a prompt goes in, a stream of events comes out.

Every engine inherits the contract in `tests/engine_contract.py`.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from hermes_ui.messages import FinishReason, ToolCall
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.build import Prompt
from hermes_ui.prompt.chatml import Pieces

__all__ = [
    "CacheUse",
    "Engine",
    "EngineIdentity",
    "EventStream",
    "Finish",
    "ReasoningDelta",
    "StreamEvent",
    "TextDelta",
    "ToolCall",  # an event as it stands
    "Waiting",
]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The request queues behind `ahead` others; sent at least every 250 ms.

    `Waiting(0)` also comes while the prompt is read or the model takes long over a word.
    """

    ahead: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next part of the reply: never empty, never ending inside a character."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next part of what the model wrote into its scratch pad."""

    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event of every stream.

    Counts are tokens; `cached_tokens` are part of `prompt_tokens`, and 0 where unknown.
    """

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


StreamEvent = Waiting | TextDelta | ReasoningDelta | ToolCall | Finish
EventStream = Generator[StreamEvent, None, None]


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """What a seal must know of the engine so that a reply can be generated again.

    `tokenizer_hash` and `template_hash` are SHA-256 in hex; `revision` is the hub's
    commit or a hash of the weights' file names, sizes and head, empty where unknown.
    `batch_invariant`: a reply comes out the same, bit for bit, alone and in company, and
    with and without a cached prefix. Elsewhere the last bits of a logit may differ, and a
    token that hangs on them with it.
    """

    model_id: str
    revision: str
    dtype: str
    quantization: str
    device: str
    tokenizer_hash: str
    template_hash: str
    batch_invariant: bool = False


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How an engine's memory of keys and values is filled, in tokens.

    `running` belongs to requests that are being generated, `remembered` is kept for prompts
    that begin alike, until room is needed; the rest of `total` is free.
    """

    total: int
    running: int
    remembered: int


class Engine(Protocol):
    """Turns a prompt into a stream of events. Safe to call from many threads."""

    identity: EngineIdentity
    context_length: int  # tokens, prompt and completion together

    @property
    def active(self) -> int:
        """Requests being generated or waiting right now."""
        ...

    @property
    def failure(self) -> str:
        """What ended the engine for good; empty while it works, and when it was closed."""
        ...

    @property
    def cache(self) -> CacheUse | None:
        """How full the memory for prompts is; None for an engine that has none of its own."""
        ...

    def count_tokens(self, pieces: Pieces) -> int:
        """Exact prompt tokens of `pieces`, without BOS."""
        ...

    def token_ids(self, pieces: Pieces) -> list[int]:
        """The ids that the model reads for `pieces`, BOS first where the model wants one."""
        ...

    def stream(self, prompt: Prompt, params: SamplingParams) -> EventStream:
        """Generate until a stop condition; end with exactly one `Finish`.

        Deltas concatenate to the reply. `close()` cancels the request and frees its
        slot before it returns. `params.seed` of None counts as 0: whoever calls draws
        the seed, because the seal records it.

        Raises:
            EngineBusy: before the first event, when the waiting line is full.
            ContextOverflow: before the first event, when the prompt leaves no room.
            EngineError: at any point; what was yielded so far stays valid.
        """
        ...

    def close(self) -> None:
        """Stop all work and free the model. Streams still open end with `EngineError`."""
        ...
