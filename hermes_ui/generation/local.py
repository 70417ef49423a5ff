"""`TransformersEngine`: a model in this process, many replies at once."""

import itertools
import logging
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from queue import Empty
from typing import Any

import torch
from transformers import GenerationConfig

from hermes_ui.errors import ContextOverflow, EngineError, ModelError, first_line
from hermes_ui.generation.attention import Step
from hermes_ui.generation.banned import Bans
from hermes_ui.generation.batching import Batcher
from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.detokenize import Detokenizer, hidden_ids
from hermes_ui.generation.drafts import STEP_ROWS, Drafter
from hermes_ui.generation.dry import Dry
from hermes_ui.generation.engine import (
    CacheUse,
    EngineIdentity,
    EventStream,
    Finish,
    StreamEvent,
    Waiting,
)
from hermes_ui.generation.invariance import (
    ROWS,
    is_batch_invariant,
    leave_activations_uncut,
    rounded,
)
from hermes_ui.generation.paging import SCHEDULER, TILE, Settings, kept_shape
from hermes_ui.generation.penalties import Tally
from hermes_ui.generation.quantize import Int8Linear
from hermes_ui.generation.request import Request
from hermes_ui.generation.slots import NOTICE_S, WaitingLine
from hermes_ui.generation.text import ReplyReader
from hermes_ui.generation.tiles import TiledStep
from hermes_ui.generation.vocabulary import Vocabulary
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.build import Prompt
from hermes_ui.prompt.chatml import IM_END, PieceEncoder, Pieces, with_bos

PAGE_TOKENS = 32  # what prompts have in common is found again in steps of this

_log = logging.getLogger(__name__)


class TransformersEngine:
    """Keeps the engine's promise with a transformers model and its fast tokenizer."""

    def __init__(
        self, model: Any, tokenizer: Any, identity: EngineIdentity, capacity: Capacity
    ) -> None:
        _refuse_other_attention(model, capacity.context_length)
        leave_activations_uncut(model)
        step = _attention(model)
        quantization = identity.quantization
        if quantization and step is not TiledStep:
            quantization += ", keys and values in bfloat16"
        step.prepare(model)
        self.identity = replace(
            identity, quantization=quantization, batch_invariant=is_batch_invariant(model)
        )
        self.context_length = capacity.context_length
        self._draft_tokens = capacity.draft_tokens
        self.stop_ids = stop_ids(model, tokenizer)
        self._tokenizer = tokenizer
        self._encoder = PieceEncoder(tokenizer)
        self._hidden = hidden_ids(tokenizer.backend_tokenizer)
        self._vocabulary_size = int(model.config.get_text_config().vocab_size)
        blocks = max(
            -(-capacity.context_length // PAGE_TOKENS),
            capacity.cache_tokens // PAGE_TOKENS - capacity.max_active,
        )
        self._line = WaitingLine(capacity.max_active, capacity.max_waiting, room=blocks)
        self._batcher = Batcher(
            model,
            GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0),
            _settings(step, capacity, blocks + capacity.max_active),
            self.stop_ids,
            spared=self.stop_ids.union(self._encoder.ids(("\n",))),
        )
        self._names = itertools.count()
        self._is_closed = False
        self._closing = threading.Lock()
        self._batcher.start()
        self._check_alive()

    @property
    def active(self) -> int:
        """Requests being generated or waiting right now."""
        return len(self._line)

    @property
    def failure(self) -> str:
        """What ended the engine for good; empty while it works, and when it was closed."""
        # The thread outlives its failure by a moment.
        if self._is_closed or (self._batcher.is_running() and not self._batcher.failure):
            return ""
        return self._batcher.failure or "unknown reason"

    @property
    def cache(self) -> CacheUse:
        """How full the memory for prompts is."""
        return self._batcher.cache_use

    def count_tokens(self, pieces: Pieces) -> int:
        """Exact prompt tokens of `pieces`, without BOS."""
        return self._encoder.count(pieces)

    def token_ids(self, pieces: Pieces) -> list[int]:
        """The ids that the model reads for `pieces`, BOS first where the model wants one."""
        return with_bos(self._encoder.ids(pieces), self._tokenizer)

    def stream(self, prompt: Prompt, params: SamplingParams) -> EventStream:
        """See `Engine.stream`."""
        self._check_alive()
        ids = self.token_ids(prompt.pieces)
        room = self.context_length - len(ids)
        if room < 1:
            raise ContextOverflow(len(ids), self.context_length - 1)
        limit = min(params.max_tokens, room)
        with self._line.place(-(-(len(ids) + limit) // PAGE_TOKENS)) as place:
            for notice in self._line.notices(place):
                yield notice
                self._check_alive()
            with self._running(ids, self._tally(ids, prompt, params), params, limit) as request:
                before = ids[-1:] if prompt.prefill else ()
                text = Detokenizer(self._tokenizer.backend_tokenizer, self._hidden, before)
                reader = _Reading(self, request, text, ReplyReader(prompt, params))
                yield from reader.events()
        yield reader.finish(len(ids))

    def close(self) -> None:
        """Stop all work and free the model. Streams still open end with `EngineError`."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
            self._batcher.stop(block=True, hard_stop=True)
            self._batcher.destroy()

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        """Made when a request first asks for it; made twice, where two ask at once."""
        return Vocabulary(self._tokenizer.backend_tokenizer, self._hidden, self._vocabulary_size)

    def _tally(self, ids: list[int], prompt: Prompt, params: SamplingParams) -> Tally:
        dry = bans = None
        if params.dry_multiplier:
            dry = Dry(ids, params, self._vocabulary, self._hidden | self.stop_ids)
        if params.banned_strings:
            bans = Bans(params.banned_strings, self._vocabulary, prompt.prefill)
        return Tally(ids, dry=dry, bans=bans)

    @contextmanager
    def _running(
        self, ids: list[int], tally: Tally, params: SamplingParams, limit: int
    ) -> Iterator[Request]:
        """A request that generates until the block is left."""
        drafter = Drafter(ids if self._draft_tokens else (), self._draft_tokens)
        request = Request(f"reply-{next(self._names)}", params, tally, drafter)
        if not self._batcher.submit(request, ids, limit):
            self._batcher.requests.pop(request.id, None)
            self._check_alive()
            raise EngineError("the model takes no more requests")
        try:
            yield request
        finally:
            self._batcher.release(request)

    def _check_alive(self) -> None:
        if self._is_closed:
            raise EngineError("the model was closed")
        if self.failure:
            raise EngineError(f"the model stopped: {self.failure}")


class _Reading:
    """Reads one request's tokens as events, in the caller's thread."""

    def __init__(
        self,
        engine: TransformersEngine,
        request: Request,
        detokenizer: Detokenizer,
        reader: ReplyReader,
    ) -> None:
        self._engine = engine
        self._request = request
        self._detokenizer = detokenizer
        self._reader = reader
        self._read = 0  # tokens
        self._complete = False

    def events(self) -> Generator[StreamEvent, None, None]:
        """All events but the last one."""
        spoke = time.monotonic()
        over = False
        while not over:
            tokens, over = self._next_tokens()
            events = self._read_tokens(tokens)
            over = over or self._complete
            if over:
                events += self._ending()
            yield from events
            if events:
                spoke = time.monotonic()
            elif time.monotonic() - spoke >= NOTICE_S:
                yield Waiting(0)
                spoke = time.monotonic()

    def finish(self, prompt_tokens: int) -> Finish:
        """The last event."""
        reason = self._reader.reason(complete=self._complete)
        return Finish(reason, prompt_tokens, self._read, self._request.cached_tokens)

    def _next_tokens(self) -> tuple[list[int], bool]:
        """Tokens not read yet, possibly none after a while, and whether they are the last."""
        outbox = self._request.outbox
        try:
            output = outbox.get(timeout=NOTICE_S)
            while not outbox.empty():
                output = outbox.get_nowait()
        except Empty:
            self._engine._check_alive()
            return [], False
        if self._request.error:
            raise EngineError(self._request.error)
        if output.error is not None:
            self._engine._check_alive()
            raise EngineError(f"the model stopped: {output.error}".splitlines()[0])
        return output.generated_tokens[self._read :], output.is_finished()

    def _read_tokens(self, tokens: list[int]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for token in tokens:
            self._read += 1
            if token in self._engine.stop_ids:
                self._complete = True
                break
            events += self._reader.feed(self._detokenizer.feed(token))
            if self._reader.is_stopped:
                self._complete = True
                break
        return events

    def _ending(self) -> list[StreamEvent]:
        rest = self._detokenizer.flush()
        return [*self._reader.feed(rest), *self._reader.flush(complete=self._complete)]


def _attention(model: Any) -> type[Step]:
    """How the steps of `model` attend."""
    if model.device.type == "cuda":
        return _attention_on_gpu(model)
    if model.dtype != torch.float32 or not any(isinstance(m, Int8Linear) for m in model.modules()):
        return TiledStep
    try:
        from hermes_ui.generation import kernel  # noqa: PLC0415  # takes a second
    except ImportError as error:
        _log.warning("int8 attends slowly here, without numba: %s", first_line(error))
        return TiledStep
    _, width = kept_shape(model.config.get_text_config())
    if kernel.is_available(width):
        return kernel.KernelStep
    _log.warning("int8 attends slowly here: its kernel takes Linux, and heads of 8 · n numbers")
    return TiledStep


def _attention_on_gpu(model: Any) -> type[Step]:
    try:
        from hermes_ui.generation.gpu_kernel import try_out  # noqa: PLC0415  # takes Triton
        from hermes_ui.generation.rows import RowStep  # noqa: PLC0415

        try_out(model.device)
    except Exception as error:  # Triton lacks something: itself, a C compiler, this GPU
        _log.warning("the GPU attends slowly here, without Triton: %s", first_line(error))
        return TiledStep
    return RowStep


def _settings(step: type[Step], capacity: Capacity, blocks: int) -> Settings:
    """What the library's batching is told."""
    return Settings(
        step=step,
        graphs=_graphs(step, capacity),
        page_size=PAGE_TOKENS,
        num_blocks=blocks,
        max_batch_tokens=rounded(max(capacity.step_tokens, capacity.max_active), ROWS),
        max_requests_per_batch=rounded(capacity.max_active, ROWS),
        max_blocks_per_request=0,
        max_memory_percent=1.0,
        use_async_batching=False,
        use_cuda_graph=False,
        auto_switch_to_flash=False,
        scheduler_type=SCHEDULER,
        safety_margin=0.0,
        seed=0,
    )


def _graphs(step: type[Step], capacity: Capacity) -> Any:
    """What makes a model faster in such steps, out of it and the cache; else None."""
    if step.is_compiled:
        from hermes_ui.generation.kernel_rows import kernel_rows  # noqa: PLC0415  # takes numba

        return kernel_rows
    if not step.is_recordable:
        return None
    from hermes_ui.generation.graphs import Graphs  # noqa: PLC0415  # takes Triton

    return partial(
        Graphs,
        most=max(rounded(capacity.max_active, 8), STEP_ROWS),
        pages=rounded(capacity.context_length, TILE) // PAGE_TOKENS,
    )


def _refuse_other_attention(model: Any, context_length: int) -> None:
    """Attention that forgets is not done here; a window that nothing can outgrow is none.

    Raises:
        ModelError: the model attends to a window only, and the context is longer; or in a way
            of its own, with capped scores (Gemma 2) or sinks (gpt-oss).
    """
    config = model.config.get_text_config()
    has_sinks = any(hasattr(module, "sinks") for module in model.modules())
    if has_sinks or getattr(config, "attn_logit_softcapping", None):
        raise ModelError("the model", "attends in a way that is not done here")
    window = getattr(config, "sliding_window", None)
    if window is None:
        return
    if window < context_length:
        raise ModelError(
            "the model",
            f"attends to {window} tokens only; set HERMES_CONTEXT_LENGTH to that or less",
        )
    config.sliding_window = None
    config.layer_types = ["full_attention"] * config.num_hidden_layers


def stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a reply, by either config, the tokenizer or ChatML.

    Hermes 3's generation config names only Llama's own end tokens; a program that trusts it
    alone runs on into the user's turn.
    """
    ids: set[int] = set()
    for named in (
        model.config.eos_token_id,
        model.generation_config.eos_token_id,
        tokenizer.eos_token_id,
        tokenizer.backend_tokenizer.token_to_id(str(IM_END)),
    ):
        if isinstance(named, int):
            ids.add(named)
        elif named is not None:
            ids.update(named)
    return frozenset(ids)
