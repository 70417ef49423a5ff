"""Our parts in transformers' continuous batching: who is told what, how tokens are drawn.

The library schedules requests and pages their keys and values. Three of its seams are used:
a router that hands each output to its own request, a scheduler that says when a request
has let go of its blocks, and a logits processor that draws with the request's own dice.
"""

import logging
import threading
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import (
    ContinuousBatchingManager,
    OutputRouter,
)
from transformers.generation.continuous_batching.model_runner import ModelRunner
from transformers.generation.continuous_batching.utils import stream_context

from hermes_ui.generation import attention
from hermes_ui.generation.engine import CacheUse
from hermes_ui.generation.invariance import rounded, row_unit
from hermes_ui.generation.paging import free_blocks, layered, trash_place
from hermes_ui.generation.request import Request, Requests
from hermes_ui.generation.sampling import broken_rows, next_tokens

READY_S = 60.0
OUT_OF_MEMORY = (
    "the machine ran out of memory while it generated; try again, with a shorter conversation, "
    "or set HERMES_MAX_ACTIVE, HERMES_CACHE_TOKENS or HERMES_CONTEXT_LENGTH lower"
)
NOT_A_NUMBER = "the model's output is not a number"

_log = logging.getLogger(__name__)


class Router(OutputRouter):  # type: ignore[misc]
    """Hands each output to the outbox of its request, from the engine's thread."""

    def __init__(self, requests: Requests) -> None:
        super().__init__()
        self._requests = requests

    def deliver(self, output: Any) -> None:
        request = self._requests.get(output.request_id)
        if request is not None:
            request.outbox.put(output)

    def deliver_batch(self, outputs: list[Any]) -> None:
        for output in outputs:
            self.deliver(output)


class Dice(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Draws the next tokens; `Runner` takes them from `tokens`."""

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012
    ignored_kwargs: tuple[str, ...] = ()

    def __init__(self, requests: Requests, stop_ids: Collection[int], spared: Collection[int]):
        self._requests = requests
        self._stop_ids = stop_ids
        self._end_id = min(stop_ids)  # ends a request that cannot go on
        self._spared = spared
        self._asked: list[tuple[Request | None, int]] = []  # who, and how many rows
        self.tokens = torch.empty(0, dtype=torch.int64)

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> Tensor:
        self._asked = [
            (self._requests.get(each.state.request_id), _wanted(each))
            for each in requests_with_new_token
        ]
        return torch.zeros(len(self._asked), dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """Draw for all that have a request, and on while what they draw was guessed.

        `scores` have a row for each request and each of its guesses, in a row, and padding
        behind. They are used up.
        """
        broken = set(broken_rows(scores))
        places: list[tuple[int, Request]] = []
        row = 0
        for request, rows in self._asked:
            if request is not None:
                request.drawn = []
                places.append((row, request))
            row += rows
        while places:
            for row, request in places:
                if row in broken:
                    request.error = NOT_A_NUMBER
            places = [(row, request) for row, request in places if row not in broken]
            self._draw(scores, places)
            places = [(row + 1, request) for row, request in places if self._goes_on(request)]
        self._settle(scores.device)
        return scores

    @property
    def asking(self) -> list[Request]:
        """Who is drawn for in the current step."""
        return [request for request, _ in self._asked if request is not None]

    def take(self, drawn: Sequence[Sequence[int]]) -> None:
        """Take for all that are `asking` what a burst drew, up to where each reply ends."""
        for request, tokens in zip(self.asking, drawn, strict=True):
            request.drawn = []
            for token in tokens[: len(request.draft) + 1]:
                if token < 0:
                    request.error = NOT_A_NUMBER
                    break
                request.draw(token)
                if token in self._stop_ids:
                    break
        self._settle(torch.device("cpu"))

    def _settle(self, device: torch.device) -> None:
        """Lay out the last token that was drawn for each."""
        self.tokens = torch.tensor(
            [each.drawn[-1] if each and each.drawn else self._end_id for each, _ in self._asked],
            device=device,
        )

    def _draw(self, scores: Tensor, places: list[tuple[int, Request]]) -> None:
        """One token for each request, out of its row."""
        if not places:
            return
        rows, live = zip(*places, strict=True)
        tokens = next_tokens(
            scores[: len(rows)] if rows[-1] == len(rows) - 1 else scores[list(rows)],
            [each.params for each in live],
            [each.tally for each in live],
            [each.step for each in live],
            spared=self._spared,
            in_place=True,
        )
        for request, token in zip(live, tokens.tolist(), strict=True):
            request.draw(token)

    def _goes_on(self, request: Request) -> bool:
        return request.goes_on() and request.drawn[-1] not in self._stop_ids


class Runner(ModelRunner):  # type: ignore[misc]
    """The library's runner, with our attention's plan of each step and our dice.

    A step has a multiple of `row_unit`, so that no token's numbers depend on how many there are.
    """

    def __init__(self, processor: Any, dice: Dice, row_unit: int, graphs: Any) -> None:
        """`graphs` are called for the model, and for bursts of steps, where there are any."""
        super().__init__(
            logit_processor=processor.logit_processor,
            cb_config=processor.cb_config,
            inputs_and_outputs=processor.inputs_and_outputs,
            cache=processor.cache,
            do_sample=processor.do_sample,
            return_logprobs=processor.return_logprobs,
        )
        self._dice = dice
        self._graphs = graphs
        self._scheduler = processor.scheduler
        self._scratch = attention.Scratch()
        self._dtype = processor.model_dtype
        self._step_class = processor.cb_config.step
        self._heads = int(processor.config.num_attention_heads)
        self._row_unit = row_unit
        self.pad_inputs = row_unit > 1

    def maybe_pad_inputs(
        self, num_q_tokens: int, max_kv_read: int, use_decode_fast_path: bool
    ) -> tuple[int, int]:
        return rounded(num_q_tokens, self._row_unit), max_kv_read

    def compute_batch(self, model: nn.Module, batch_data: dict[str, Any]) -> None:
        batch = self.inputs_and_outputs.requests_in_batch
        if self._scheduler.burst:
            self._compute_burst(batch, batch_data)
        else:
            step = batch_data["step"] = self._new_step()
            for each in batch:
                step.add(each.state.request_id, each.query_length, each.state.position_offset)
            batch_data["logits_indices"] = self._asked(batch).to(
                batch_data["logits_indices"].device
            )
            super().compute_batch(self._graphs or model, batch_data)
        for each in batch:
            self._scheduler.settle_draft(each)

    def _compute_burst(self, batch: Sequence[Any], batch_data: dict[str, Any]) -> None:
        """Draw for each request in a row, starting with the first of its tokens."""
        step = self._new_step()
        firsts: list[int] = []
        ends: list[int] = []
        tokens = 0
        for each in batch:
            end = each.state.position_offset
            step.add(each.state.request_id, 1, end - each.query_length + 1)
            firsts.append(tokens)
            ends.append(end)
            tokens += each.query_length
        inputs = {name: batch_data[name][:, firsts] for name in ("input_ids", "position_ids")}
        with stream_context(self.inputs_and_outputs.compute_stream):
            drawn = self._graphs.burst(inputs, step, self._dice.asking, ends)
        self._dice.take(drawn)
        *_, output_ids = self.inputs_and_outputs.get_cb_kwargs()
        self._hand_over(output_ids)

    def _new_step(self) -> attention.Step:
        (allocator,) = self.cache.cache_allocators.values()
        groups = self._heads // allocator.num_key_value_heads
        step: attention.Step = self._step_class(allocator, self._scratch, groups, self._dtype)
        return step

    def _asked(self, batch: Sequence[Any]) -> Tensor:
        """The places of the step's tokens whose next token is wanted, and padding."""
        places: list[int] = []
        end = 0
        for each in batch:
            end += each.query_length
            if each.has_new_token:
                places += range(end - _wanted(each), end)
        padding = rounded(len(places), self._row_unit) - len(places)
        return torch.tensor(places + [0] * padding, dtype=torch.int64)

    def _sample(self, scores: Tensor, output_ids: Tensor) -> None:
        self._hand_over(output_ids)

    def _hand_over(self, output_ids: Tensor) -> None:
        """Tell the library what the dice drew."""
        tokens = self._dice.tokens
        output_ids[0, : len(tokens)].copy_(tokens)


def _wanted(each: Any) -> int:
    """Of how many of a request's tokens in a step the next one is wanted.

    The last of a prompt, and of a reply the token that was drawn last and all guesses after it.
    """
    return int(each.query_length) if each.state.generated_len() else 1


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a class for GPUs; on CPUs it raises a RuntimeError that says so."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "out of memory" in text
        or "not enough memory" in text
        or "can't allocate memory" in text
        or "alloc_failed" in text  # cuBLAS and cuDNN
    )


class Batcher(ContinuousBatchingManager):  # type: ignore[misc]
    """The library's manager with our parts in it. Its thread runs from `start` to `stop`."""

    def __init__(
        self,
        model: nn.Module,
        generation_config: GenerationConfig,
        config: ContinuousBatchingConfig,
        stop_ids: Collection[int],
        spared: Collection[int],
    ) -> None:
        """`stop_ids` end a reply; `spared` are left alone by XTC."""
        self.requests: Requests = {}
        self.is_ready = threading.Event()
        super().__init__(model, generation_config, config)
        self.output_router = Router(self.requests)
        self._stop_ids = sorted(stop_ids)
        self._dice = Dice(self.requests, self._stop_ids, spared)
        self.logit_processor = ContinuousBatchingLogitsProcessorList(
            LogitsProcessorList([self._dice])
        )
        self.logit_processor.tensors_required = 1

    def switch_to_cb_friendly_attn(self, model: Any, auto_switch_to_flash: bool = True) -> None:
        """The stock method knows three names only; ours takes the same arguments."""
        if model.config._attn_implementation != attention.NAME:
            self._original_attn_impl = model.config._attn_implementation
            model.set_attn_implementation(attention.NAME)

    def start(self) -> None:
        """Run the loop in a thread that does not keep a program alive that wants to end."""
        self.background_thread_status.clear()
        self._generation_thread = threading.Thread(
            target=self._run_generation_loop, name="hermes-engine", daemon=True
        )
        self._generation_thread.start()
        self.is_ready.wait(READY_S)

    def _run_generation_loop(self) -> None:
        try:
            super()._run_generation_loop()
        finally:
            self.is_ready.set()

    def _generation_step(self) -> None:
        """A step that needs more memory than there is fails its requests, not the engine."""
        try:
            super()._generation_step()
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            _log.warning("out of memory in a step: %s", error)
            self._fail_step(error)

    def _fail_step(self, error: Exception) -> None:
        """End the requests of the step; their part of the cache is free again."""
        processor = self.batch_processor
        for each in processor.inputs_and_outputs.requests_in_batch:
            request = self.requests.get(each.state.request_id)
            if request is not None:
                request.error = OUT_OF_MEMORY
        processor.handle_batch_error(error)
        processor.inputs_and_outputs.requests_in_batch = []
        if self.model.device.type != "cpu":
            torch.get_device_module(self.model.device).empty_cache()

    def _create_batch_processor(self) -> Any:
        processor = super()._create_batch_processor()
        graphs = self._graphs(processor)
        processor.scheduler.requests = self.requests
        processor.scheduler.has_bursts = graphs is not None and graphs.has_bursts
        processor.model_runner = Runner(processor, self._dice, row_unit(self.model), graphs)
        self.is_ready.set()
        return processor

    def _graphs(self, processor: Any) -> Any:
        """The model's recorded steps; None: there are none."""
        config = processor.cb_config
        if not config.graphs:
            return None
        (allocator,) = processor.cache.cache_allocators.values()
        return config.graphs(self.model, trash=trash_place(allocator), cache=layered(allocator))

    def submit(self, request: Request, prompt_ids: list[int], limit: int) -> bool:
        """Start `request`; False when the loop takes none any more."""
        self.requests[request.id] = request
        accepted = self.add_request(
            prompt_ids,
            request_id=request.id,
            max_new_tokens=limit,
            streaming=True,
            eos_token_id=self._stop_ids,
        )
        return accepted is not None

    def release(self, request: Request) -> None:
        """End `request` where it runs; returns when it holds no block any more."""
        request.is_open = False
        if not request.is_free.is_set():
            self.cancel_request(request.id)
            while self.is_running() and not request.is_free.wait(0.5):
                pass
        self.requests.pop(request.id, None)

    @property
    def failure(self) -> str:
        """What ended the loop, empty while it runs or when it was stopped."""
        error = self.background_thread_status.fatal_error
        return "" if error is None else f"{type(error).__name__}: {error}".splitlines()[0]

    @property
    def cache_use(self) -> CacheUse:
        """How full the cache is; nothing is in it before the loop runs and after it ended."""
        processor = self.batch_processor
        if processor is None:
            return CacheUse(0, 0, 0)
        (allocator,) = processor.cache.cache_allocators.values()
        total, page = int(allocator.num_blocks), int(allocator.tokens_per_page)
        remembered = len(allocator.ledger.cached_blocks)
        running = total - remembered - free_blocks(processor.cache, allocator)
        return CacheUse(total * page, running * page, remembered * page)
