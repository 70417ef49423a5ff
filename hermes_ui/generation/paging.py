"""Pages of the cache: who gets which, how they lie, and in which order they are forgotten.

The library's pool of pages is kept. A request takes all that it may need when it starts, side
by side where that can be had: attention in tiles then reads them where they are, without a copy.
"""

import mmap
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import ContinuousBatchingConfig
from transformers.generation.continuous_batching import cache as caching
from transformers.generation.continuous_batching import continuous_api
from transformers.generation.continuous_batching import scheduler as scheduling
from transformers.generation.continuous_batching.requests import RequestStatus

from hermes_ui.generation.drafts import STEP_ROWS
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.request import Requests

SCHEDULER = "hermes_fifo"
BURST = 16  # steps at most; with 2 ms a step nobody sees that words come together
TILE = 64  # tokens that attention answers together; a whole number of pages
# Where a system knows no private mappings, an anonymous one is private.
PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


def kept_shape(config: Any) -> tuple[int, int]:
    """How many heads have keys and values of their own, and how wide they are."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return kv_heads, getattr(config, "head_dim", None) or config.hidden_size // heads


@dataclass
class Settings(ContinuousBatchingConfig):  # type: ignore[misc]
    """The library's, a class of `attention.Step`, which reads and writes the cache, and how to
    make `Graphs` of the model, where that is to be.
    """

    step: Any = None
    graphs: Any = None


class Untouched(TorchFunctionMode):
    """Takes the zeros of a CPU's cache from the system, which gives memory at its first use."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        asked = kwargs or {}
        where, dtype = asked.get("device"), asked.get("dtype")
        if func is torch.zeros and str(where) == "cpu" and dtype == torch.uint8:
            return torch.frombuffer(mmap.mmap(-1, args[0], **PRIVATE), dtype=dtype)
        return func(*args, **asked)


class Cache(caching.PagedAttentionCache):  # type: ignore[misc]
    """The library's, in the format that its steps want, and in memory that is used as it fills."""

    def __init__(self, **kwargs: Any) -> None:
        settings: Settings = kwargs["continuous_batching_config"]
        with Untouched():
            super().__init__(**kwargs | {"dtype": settings.step.kept_as(kwargs["dtype"])})


class Unchecked(caching.PagedAttentionMemoryHandler):  # type: ignore[misc]
    """Takes the sizes that it is given: `Capacity` has measured them against the memory.

    The library looks at the GPU's memory even where the model runs on the CPU beside it.
    """

    def _check_footprint(self, max_batch_tokens: int, num_sectors: int) -> tuple[int, int]:
        return max_batch_tokens, num_sectors


# The manager and the cache make their parts themselves, and take none.
continuous_api.PagedAttentionCache = Cache
caching.PagedAttentionMemoryHandler = Unchecked


def layered(allocator: Any) -> Tensor:
    """The cache as (layers, keys and values, kv_heads, pages, tokens, head_dim).

    The library lays a page's layers and heads side by side. Here all that a head has to read
    lies in a row: attention took 2.5 times as long over rows of (kv_heads, head_dim). In a
    page the kernel for CPUs lays keys as (head_dim, tokens); see `kernel.KernelStep`.
    """
    cache: Tensor = allocator.cache_tensor
    heads, dim = cache.shape[-2:]
    return cache.view(len(allocator.layer_indices), 2, heads, -1, allocator.tokens_per_page, dim)


def trash_place(allocator: Any) -> int:
    """The first place of the page that the library gives to nobody: padding goes there."""
    return int(allocator.blocks_per_sector * allocator.tokens_per_page)


def line_up(free: list[int], count: int, after: int | None) -> None:
    """Order the `free` pages, which are taken from the end, so that the next `count` lie in a row.

    A row that goes on after the page `after` is best, then the shortest that is long enough;
    where there is none, the longest come first.
    """
    runs: list[list[int]] = []
    for page in sorted(free):
        if runs and page == runs[-1][-1] + 1:
            runs[-1].append(page)
        else:
            runs.append([page])
    runs.sort(key=lambda run: (len(run) >= count, -len(run) if len(run) >= count else len(run)))
    following = next((run for run in runs if after is not None and run[0] == after + 1), None)
    if following is not None and len(following) >= count:
        runs.remove(following)
        runs.append(following)
    free[:] = [page for run in runs for page in reversed(run)]


class Scheduler(scheduling.FIFOScheduler):  # type: ignore[misc]
    """First in, first out; says when a request is free, and forgets old prefixes one by one."""

    requests: Requests = {}  # set by the batcher before the first request  # noqa: RUF012
    has_bursts = False  # set by it too
    burst = 0  # steps in a row that the next batch is for; 0: it is one step
    _is_calm = False  # no prompt is to be read

    def add_waiting_request(self, state: Any) -> None:
        """A request may have been cancelled while it lay in the queue before this one."""
        request = self.requests.get(state.request_id)
        if request is not None and request.is_open:
            super().add_waiting_request(state)

    def finish_request(self, request_id: str) -> None:
        self._let_go_from_the_end(request_id)
        super().finish_request(request_id)
        self._tell(request_id)

    def clear_cancelled_requests(self) -> list[Any]:
        cancelled = list(self._requests_to_cancel)
        for request_id in cancelled:
            self._let_go_from_the_end(request_id)
        states: list[Any] = super().clear_cancelled_requests()
        for request_id in cancelled:
            self._tell(request_id)
        return states

    def schedule_batch(self, token_budget: int, cache_budget: int) -> Any:
        """Nothing is read through the library's index of every token, which has a limit."""
        running = self.active_requests.values()
        self._is_calm = not self.waiting_requests and all(
            each.status == RequestStatus.DECODING for each in running
        )
        self.burst = self._longest_burst(token_budget)
        requests, fast, tokens, _ = super().schedule_batch(token_budget, 2**62)
        return requests, fast, tokens, 0

    def _longest_burst(self, token_budget: int) -> int:
        """Steps that running requests may take in a row; 0: a single one."""
        if not (self.has_bursts and self._is_calm and self.active_requests):
            return 0
        asking = [self.requests.get(each) for each in self.active_requests]
        if not all(each is not None and each.may_burst for each in asking):
            return 0
        most = min(BURST, token_budget // len(asking))
        return most if most > 1 else 0

    def _let_go_from_the_end(self, request_id: str) -> None:
        """What is let go first is forgotten first, and a prompt is only found from its start."""
        request = self.requests.get(request_id)
        for allocator in self.cache.cache_allocators.values():
            table = allocator.block_table.get(request_id, [])
            table.reverse()
            if request is not None and request.error:
                _wipe(allocator, table)

    def _tell(self, request_id: str) -> None:
        request = self.requests.get(request_id)
        if request is not None:
            request.is_free.set()

    def _infer_request_tokens(self, state: Any, removed: set[str]) -> list[int]:
        before = state.position_offset
        is_new = state.status == RequestStatus.PENDING
        if state.status == RequestStatus.DECODING:
            self._add_draft(state)
        tokens: list[int] = super()._infer_request_tokens(state, removed)
        if is_new:
            self._reserve(state)
        request = self.requests.get(state.request_id)
        if request is not None and state.position_offset > before:
            request.cached_tokens = state.position_offset
        return tokens

    def _add_draft(self, state: Any) -> None:
        """Let the next step check what the request guesses, while no prompt is to be read.

        In a burst, a place is taken for whatever it will draw.
        """
        request = self.requests.get(state.request_id)
        if request is None:
            return
        left = state.max_new_tokens - state.generated_len() - 1
        most = min(STEP_ROWS // len(self.active_requests) - 1, left) if self._is_calm else 0
        is_burst = self.burst > 0
        request.draft = [0] * min(self.burst - 1, left) if is_burst else request.drafter.draft(most)
        state.tokens_to_process = [*state.tokens_to_process[:1], *request.draft]

    def settle_draft(self, each: Any) -> None:
        """Keep what the dice drew of a request's draft, and give the rest's places back.

        The last token that was drawn is left to the library, which has room for one a step.
        """
        request, state = self.requests.get(each.state.request_id), each.state
        if request is None or not request.draft:
            return
        (allocator,) = self.cache.cache_allocators.values()
        size = allocator.tokens_per_page
        before = (state.position_offset - each.query_length) // size
        state.position_offset -= request.refused
        state.generated_tokens += request.drawn[:-1]
        completed = state.position_offset // size - before
        if completed:  # the library would not keep those of a request that ends with this step
            self.cache.mark_complete_blocks(state, dict.fromkeys(each.complete_blocks, completed))
        each.complete_blocks = {}
        if not self.burst:
            request.drafter.judge(len(request.draft), len(request.draft) - request.refused)

    def _reserve(self, state: Any) -> None:
        """Take all pages that a request may need at once, side by side where that can be had.

        The waiting line has seen to it that there are enough.
        """
        limit = len(state.initial_tokens) + state.max_new_tokens
        pool = self.cache.pool
        for allocator in self.cache.cache_allocators.values():
            held = allocator.block_table.get(state.request_id, [])
            count = rounded(limit, TILE) // allocator.tokens_per_page - len(held)
            pool.try_to_free_sectors()
            _forget_oldest(allocator, count - free_blocks(self.cache, allocator))
            pool.try_to_free_sectors()
            line_up(pool.free_sectors, count, after=held[-1] if held else None)
        self.cache.can_store_request_tokens(state, rounded(limit, TILE) - state.current_len())

    def _try_to_meet_safety_margin(self) -> bool:
        """All that a request may need is reserved before it starts: there is no need for one.

        The stock rule drops all prefixes at once when little of the cache is left.
        """
        return True


scheduling.SCHEDULER_MAPPING[SCHEDULER] = Scheduler


def free_blocks(cache: Any, allocator: Any) -> int:
    """Blocks that hold nothing."""
    return int(cache.compute_free_capacity(relative=False)) // int(allocator.bytes_per_block)


def _forget_oldest(allocator: Any, count: int) -> None:
    """Give up to `count` blocks back that no request uses, the longest unused first."""
    ledger = allocator.ledger
    oldest = list(ledger.cached_blocks)[: max(0, count)]
    for block in oldest:
        del ledger.cached_blocks[block]
        del ledger.hash_to_block[ledger.block_to_hash.pop(block)]
    if oldest:
        allocator.pool.free_blocks(allocator.index, oldest)


def _wipe(allocator: Any, table: list[int]) -> None:
    """Forget and clear the pages of a request that broke, but for those that others use too.

    What is left there may not be a number, and 0 times that is none.
    """
    ledger = allocator.ledger
    own = [page for page in table if page not in ledger.shared_ref_counts]
    for page in own:
        content = ledger.block_to_hash.pop(page, None)
        if content is not None:
            del ledger.hash_to_block[content]
    layered(allocator)[:, :, :, own] = 0
