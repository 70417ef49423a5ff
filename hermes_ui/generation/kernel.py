"""Attention of int8 models on CPUs: one kernel for all requests, compiled by numba.

It reads each request's own pages where they are, which with PyTorch's attention takes a copy
in every layer. Keys and values are kept in bfloat16, in half of float32's memory, and widened
as they are read; all sums are in float32. Against float16 that changes the likeliest token of
Hermes Mini in int8 about once in 2,000 times.

Each query is added up alone, in an order that its place in the text decides, so that its
numbers are the same in any company, on any number of threads, and however a prompt was cut.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import carray, njit
from torch import Tensor, nn

from hermes_ui.generation import openmp, vectors
from hermes_ui.generation.attention import Step
from hermes_ui.generation.elementwise import replace_silu
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.kernel_sums import NARROW, adding
from hermes_ui.generation.norms import replace_norms
from hermes_ui.generation.openmp import (
    ENDLESS,
    FAST,
    Compiled,
    Program,
    Record,
    compiled,
    floats,
    integers,
    pointer,
)
from hermes_ui.generation.vectors import LOG2_E, as_bits, from_order, in_order, power_of_two

QUERIES = 8  # of a request that are answered together, at most
# What a layer's call is told: sizes, strides of the query in numbers, and addresses.
ANSWERING = Record(
    "kv_heads groups dim page_tokens pages query_head query_token query result cache "
    "longest room runs plan scratch",
    "scale",
)
PLAN = ("longest", "room", "runs", "plan", "scratch")  # of these, what a step's requests decide
# The same of what is written; `places` are the tokens' in the pages laid side by side.
WRITING = Record(
    "kv_heads dim page_tokens pages tokens key_head key_token value_head value_token "
    "key value cache places"
)
# Queries of one request: their first token in the batch and in the text, how many, and where
# the numbers of the request's pages lie.
RUN = np.dtype([(name, np.int64) for name in ("token", "place", "count", "table")])

ZERO, ONE, NO_NUMBER = np.float32(0), np.float32(1), np.float32(np.nan)
LEAST = np.int32(-(2**31))
KEPT_MOST = np.uint32(0x7F7F0000)  # the bits of bfloat16's largest number, as a float32
ENDLESS_BITS, ODD_BITS = np.uint32(0x7F800000), np.uint16(0x7FC0)  # of infinity; of no number


def is_available(width: int) -> bool:
    """Whether heads of this width can be attended to here."""
    return width % NARROW == 0 and openmp.is_available()


@njit(fastmath=FAST, error_model="numpy")
def _softmax(scores: Any, scale: Any) -> None:
    """Of `scores` times `scale`, in place. One that is no number makes all of them none."""
    most, odd = LEAST, np.int32(0)
    for i in range(len(scores)):
        most = max(most, in_order(scores[i]))
        odd = np.int32(odd | np.int32(scores[i] != scores[i]))  # so is only what is no number
    largest, total = from_order(most), NO_NUMBER if odd else ZERO
    for i in range(len(scores)):
        weight = power_of_two((scores[i] - largest) * (scale * LOG2_E))
        scores[i] = weight
        total += weight
    for i in range(len(scores)):
        scores[i] *= ONE / total


@njit
def _address(call: Any, head: Any, page: Any) -> Any:
    """Where the keys of a head in a page begin."""
    return call.cache + 2 * (head * call.pages + page) * call.page_tokens * call.dim


@njit
def _table(call: Any, run: Any) -> Any:
    """The numbers of the pages that a run reads."""
    count = (run.place + run.count + call.page_tokens - 1) // call.page_tokens
    return carray(pointer(run.table), (count,), np.int64)


@njit
def _page(call: Any, head: Any, table: Any, number: Any) -> Any:
    """Where the keys of a head in a run's page begin, and how far behind lie those of the next."""
    page = _address(call, head, table[number])
    return page, _address(call, head, table[min(number + 1, len(table) - 1)]) - page


@njit
def _asked(call: Any, run: Any, head: Any, row: Any) -> Any:
    """Where the query of a row of a run begins, in numbers."""
    token, group = row // call.groups, row % call.groups
    return (head * call.groups + group) * call.query_head + (run.token + token) * call.query_token


@njit
def _answered(call: Any, run: Any, head: Any, row: Any) -> Any:
    """Where the result of a row of a run begins, in numbers."""
    token, group = row // call.groups, row % call.groups
    heads = call.kv_heads * call.groups
    return ((run.token + token) * heads + head * call.groups + group) * call.dim


@njit(error_model="numpy")
def _score(call: Any, run: Any, head: Any, queries: Any, scores: Any, add: Any) -> None:
    """Add to the scores of all queries their products with all keys."""
    dim, size = call.dim, call.page_tokens
    table = _table(call, run)
    for number in range(len(table)):
        page, ahead = _page(call, head, table, number)
        to = scores.ctypes.data + 4 * number * size
        add(queries.ctypes.data, dim, page, size, to, call.longest,
            call.groups * run.count, dim, size, ahead)  # fmt: skip


@njit(error_model="numpy")
def _mix(call: Any, run: Any, head: Any, weights: Any, results: Any, add: Any) -> None:
    """Add to the results of all queries the values by their weights.

    Where a query's text ends its values do: what is no number times zero would be none.
    """
    dim, size, groups = call.dim, call.page_tokens, call.groups
    behind_keys = 2 * call.kv_heads * call.pages * size * dim
    table = _table(call, run)
    for number in range(len(table)):
        page, ahead = _page(call, head, table, number)
        of, to = weights.ctypes.data + 4 * number * size, results.ctypes.data
        seen = run.place + 1 - number * size  # of the page, by the run's first token
        if seen >= size:
            add(of, call.longest, page + behind_keys, dim, to, dim,
                groups * run.count, size, dim, ahead)  # fmt: skip
            continue
        for token in range(max(0, 1 - seen), run.count):
            row = token * groups
            add(of + 4 * row * call.longest, call.longest, page + behind_keys, dim,
                to + 4 * row * dim, dim, groups, min(size, seen + token), dim, ahead)  # fmt: skip


@njit(error_model="numpy")
def _answer(call: Any, run: Any, head: Any, scratch: Any, add: Any) -> None:
    """A run of queries of one request, for one head of keys."""
    dim, longest, rows = call.dim, call.longest, call.groups * run.count
    end = len(_table(call, run)) * call.page_tokens
    query, result = floats(call.query), floats(call.result)
    queries, results = scratch[: rows * dim], scratch[rows * dim : 2 * rows * dim]
    scores = scratch[2 * rows * dim :]
    results[:] = ZERO
    for row in range(rows):
        at = _asked(call, run, head, row)
        queries[row * dim : (row + 1) * dim] = query[at : at + dim]
        scores[row * longest : row * longest + end] = ZERO
    _score(call, run, head, queries, scores, add)
    for row in range(rows):
        first = row * longest
        last = first + run.place + row // call.groups + 1
        _softmax(scores[first:last], call.scale)
    _mix(call, run, head, scores, results, add)
    for row in range(rows):
        to = _answered(call, run, head, row)
        result[to : to + dim] = results[row * dim : (row + 1) * dim]


@njit
def _kept(number: Any) -> Any:
    """The bits of a float32 in bfloat16; what is too large for it becomes its largest."""
    bits = np.uint32(as_bits(number))
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    if size > ENDLESS_BITS:
        return ODD_BITS
    size = min(size, KEPT_MOST)
    size = np.uint32(size + np.uint32(0x7FFF) + ((size >> np.uint32(16)) & np.uint32(1)))
    return np.uint16((size | (bits & np.uint32(0x80000000))) >> np.uint32(16))


@compiled(WRITING)
def writing(call: Any, thread: int, threads: int) -> None:
    """Writes keys and values to the cache."""
    key, value, places = floats(call.key), floats(call.value), integers(call.places)
    cache = carray(pointer(call.cache), (ENDLESS,), np.uint16)
    size, dim = call.page_tokens, call.dim
    for token in range(thread, call.tokens, threads):
        page, slot = places[token] // size, places[token] % size
        for head in range(call.kv_heads):
            keys = (head * call.pages + page) * size * dim
            values = keys + call.kv_heads * call.pages * size * dim + slot * dim
            of_key = head * call.key_head + token * call.key_token
            of_value = head * call.value_head + token * call.value_token
            for i in range(dim):
                cache[keys + i * size + slot] = _kept(key[of_key + i])
                cache[values + i] = _kept(value[of_value + i])


@functools.cache
def answering() -> Compiled:
    """Answers all runs of queries. Compiles for seconds, once."""
    add = adding(vectors.width() // 2 or NARROW)  # two vectors of numbers

    def part(call: Any, thread: int, threads: int) -> None:
        """This thread's share: of all heads of all runs, every one that it comes to in turn."""
        runs = carray(pointer(call.plan), (call.runs,), RUN)
        own = floats(call.scratch)[thread * call.room : (thread + 1) * call.room]
        for task in range(thread, call.runs * call.kv_heads, threads):
            _answer(call, runs[task // call.kv_heads], task % call.kv_heads, own, add)

    return Compiled(part, ANSWERING)


class KernelStep(Step):
    """A step that is answered at once.

    Queries, keys and values are float32, heads have a multiple of 8 numbers, and pages hold a
    multiple of 8 tokens. A page keeps its keys with its tokens side by side, one number of all of
    them after the other: so a query's products with them are added up in vectors.
    """

    is_compiled = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._runs: list[tuple[int, int, int, int]] = []
        self._tables: list[Tensor] = []  # kept until the step is over
        self._longest = 0

    @staticmethod
    def prepare(model: nn.Module) -> None:
        """Such models are of integers, where PyTorch's small operations are felt."""
        replace_norms(model)
        replace_silu(model)

    @staticmethod
    def kept_as(dtype: torch.dtype) -> torch.dtype:
        return torch.bfloat16

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """See `Step.write`; padding is not written at all."""
        key, value = (each if each.stride(-1) == 1 else each.contiguous() for each in (key, value))
        call = _write_call(self._of(layer), key, value, self.tokens)
        openmp.run(writing, WRITING.pack(*call, self.places), openmp.team(self.tokens))

    @property
    def places(self) -> int:
        """The address of the new tokens' places, in the pages laid side by side."""
        return int(self._written.ctypes.data)

    @functools.cached_property
    def _written(self) -> Any:
        return np.array(self._places, dtype=np.int64)

    def _plan(self, table: list[int], new: int, length: int) -> None:
        pages = torch.tensor(table)
        self._tables.append(pages)
        for done in range(0, new, QUERIES):
            count = min(QUERIES, new - done)
            place = length - new + done
            self._runs.append((self.tokens + done, place, count, pages.data_ptr()))
        self._longest = max(self._longest, rounded(length, self._allocator.tokens_per_page))

    @functools.cached_property
    def _planned(self) -> Any:
        return np.array(self._runs, dtype=RUN)

    def answer(self, layer: int, query: Tensor, scale: float) -> Tensor:
        _, heads, tokens, dim = query.shape
        if query.stride(-1) != 1:
            query = query.contiguous()
        result = query.new_empty(1, tokens, heads, dim)
        call = _answer_call(self._of(layer), query, result)
        told = ANSWERING.pack(*call, *self.plan(heads, dim), scale)
        openmp.run(answering(), told, torch.get_num_threads())
        return result

    def plan(self, heads: int, dim: int) -> tuple[int, int, int, int, int]:
        """What is asked, for so many heads of queries: the last integers of `ANSWERING`."""
        runs, threads = self._planned, torch.get_num_threads()
        groups = heads // self._of(0).shape[1]
        room = int(runs["count"].max()) * groups * (2 * dim + self._longest)
        scratch = self._scratch.buffer((threads, room), torch.float32, self._device)
        return self._longest, room, len(runs), runs.ctypes.data, scratch.data_ptr()


class Calls:
    """What `KernelStep` does in each layer, as calls of a `Program` for steps of one size.

    Args:
        cache: (layers, 2, kv_heads, pages, tokens, head_dim).
        tokens: Of a step.
    """

    def __init__(self, cache: Tensor, tokens: int) -> None:
        self._cache, self._tokens = cache, tokens
        self._writing = np.zeros(len(cache), WRITING.dtype)
        self._answering = np.zeros(len(cache), ANSWERING.dtype)

    def add_to(
        self, program: Program, layer: int, heads: Sequence[Tensor], scale: float, result: Tensor
    ) -> None:
        """Write keys and values and answer queries: `heads` are these three.

        Each is (tokens, heads, head_dim) and read where it lies, as often as `program` runs;
        `result` has the shape of the queries, and its tokens one behind the other.
        """
        query, key, value = (each.transpose(0, 1)[None] for each in heads)
        written = _write_call(self._cache[layer], key, value, self._tokens)
        self._writing[layer] = (*written, 0)
        self._answering[layer] = (*_answer_call(self._cache[layer], query, result), *[0] * 5, scale)
        program.add(writing, self._writing[layer : layer + 1])
        program.add(answering(), self._answering[layer : layer + 1])
        self._shape = query.shape[1], query.shape[3]

    def lay(self, step: KernelStep) -> None:
        """Let the next run do what `step` plans."""
        self._writing["places"] = step.places
        for name, value in zip(PLAN, step.plan(*self._shape), strict=True):
            self._answering[name] = value


def _write_call(cache: Tensor, key: Tensor, value: Tensor, tokens: int) -> tuple[int, ...]:
    """`WRITING` but for the places, for (1, kv_heads, tokens, head_dim) keys and values."""
    _, kv_heads, pages, size, dim = cache.shape
    if (
        key.shape != value.shape
        or (key.shape[1], key.shape[3]) != (kv_heads, dim)
        or ({key.dtype, value.dtype} != {torch.float32})
    ):
        raise ValueError(f"no keys of {tuple(key.shape)}, {key.dtype} for this cache")
    return (
        kv_heads, dim, size, pages, tokens, *key.stride()[1:3], *value.stride()[1:3],
        key.data_ptr(), value.data_ptr(), cache.data_ptr(),
    )  # fmt: skip


def _answer_call(cache: Tensor, query: Tensor, result: Tensor) -> tuple[int, ...]:
    """The beginning of `ANSWERING`, for (1, heads, tokens, head_dim) queries."""
    _, heads, _, dim = query.shape
    _, kv_heads, pages, size, kept_dim = cache.shape
    is_odd = heads % kv_heads or dim % NARROW or size % NARROW
    if is_odd or dim != kept_dim or (query.dtype, cache.dtype) != (torch.float32, torch.bfloat16):
        raise ValueError(f"no query of {tuple(query.shape)}, {query.dtype} for this cache")
    return (
        kv_heads, heads // kv_heads, dim, size, pages, *query.stride()[1:3],
        query.data_ptr(), result.data_ptr(), cache.data_ptr(),
    )  # fmt: skip
