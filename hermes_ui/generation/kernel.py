"""Attention of int8 models on CPUs: one kernel for all requests, compiled by numba.

It reads each request's own pages where they are, which with PyTorch's attention takes a copy
in every layer. Keys and values are kept in bfloat16, in half of float32's memory, and widened
as they are read; all sums are in float32. Against float16 that changes the likeliest token of
Hermes Mini in int8 about once in 2,000 times.

Each query is added up alone, in an order that its place in the text decides, so that its
numbers are the same in any company, on any number of threads, and however a prompt was cut.
"""

import functools
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic
from torch import Tensor

from hermes_ui.generation import openmp
from hermes_ui.generation.attention import Step
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.openmp import ENDLESS, FAST, pointer

QUERIES = 8  # of a request that are answered together, at most
NUMBERS = ("kv_heads", "groups", "dim", "page_tokens", "pages", "query_head", "query_token",
           "longest", "room", "runs", "query", "result", "cache", "plan", "scratch")  # fmt: skip
# What a layer's call is told: sizes, strides of the query in numbers, and addresses.
CALL = np.dtype([*((name, np.int64) for name in NUMBERS), ("scale", np.float32)])
# Queries of one request: their first token in the batch and in the text, how many, and where
# the numbers of the request's pages lie.
RUN = np.dtype([(name, np.int64) for name in ("token", "place", "count", "table")])

ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(1.4426950408889634)
SMALLEST = np.float32(-126)  # the exponent of the smallest normal number
# 2 ** x for x of 0 to 1: its interpolation in six Chebyshev nodes, off by 1e-7 at most.
POWER = tuple(map(np.float32, (0.99999990, 0.69315449, 0.24014182, 0.05586034, 0.00894959,
                               0.00189375)))  # fmt: skip


@intrinsic
def _as_float(typing: Any, bits: Any) -> Any:
    """The float32 of these bits."""
    return types.float32(types.uint32), lambda _, builder, __, values: builder.bitcast(
        values[0], ir.FloatType()
    )


@intrinsic
def _as_bits(typing: Any, number: Any) -> Any:
    """The bits of a float32."""
    return types.int32(types.float32), lambda _, builder, __, values: builder.bitcast(
        values[0], ir.IntType(32)
    )


@intrinsic
def _prefetch(typing: Any, address: Any) -> Any:
    """Ask for the memory at an address, which is read soon."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer] + [number] * 3)
        )
        where = builder.inttoptr(values[0], pointer)
        builder.call(function, [where, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@njit
def _ask_ahead(address: Any, size: Any, part: Any, parts: Any) -> None:
    """Prefetch one of so many parts of `size` bytes, so that memory and sums go on together."""
    for line in range(size * part // parts // 64 * 64, size * (part + 1) // parts, 64):
        _prefetch(address + line)


@njit(fastmath=FAST, error_model="numpy")
def _widen(narrow: Any, wide: Any) -> None:
    """bfloat16, as its bits, to float32."""
    for i in range(len(narrow)):
        wide[i] = _as_float(np.uint32(narrow[i]) << np.uint32(16))


@njit
def _row(rows: Any, number: int, dim: int) -> Any:
    """One of the `rows` of `dim` that lie in a row."""
    return rows[number * dim : (number + 1) * dim]


@njit(fastmath=FAST, error_model="numpy")
def _products(query: Any, keys: Any, scores: Any) -> None:
    """`scores` of a query for each of the keys that lie in a row, a multiple of four."""
    dim = len(query)
    for j in range(0, len(scores), 4):
        a, b, c, d = ZERO, ZERO, ZERO, ZERO
        k0, k1 = _row(keys, j, dim), _row(keys, j + 1, dim)
        k2, k3 = _row(keys, j + 2, dim), _row(keys, j + 3, dim)
        for i in range(dim):
            a += query[i] * k0[i]
            b += query[i] * k1[i]
            c += query[i] * k2[i]
            d += query[i] * k3[i]
        scores[j], scores[j + 1], scores[j + 2], scores[j + 3] = a, b, c, d


@njit(fastmath=FAST, error_model="numpy")
def _softmax(scores: Any, scale: Any) -> None:
    """Of `scores` times `scale`, in place."""
    most = scores[0]
    for i in range(len(scores)):
        most = max(most, scores[i])
    total = ZERO
    for i in range(len(scores)):
        power = max((scores[i] - most) * (scale * LOG2_E), SMALLEST)
        whole = np.floor(power)
        x = power - whole
        part = POWER[3] + x * (POWER[4] + x * POWER[5])
        part = POWER[0] + x * (POWER[1] + x * (POWER[2] + x * part))
        weight = _as_float(np.uint32(_as_bits(part) + (np.int32(whole) << np.int32(23))))
        scores[i] = weight
        total += weight
    for i in range(len(scores)):
        scores[i] *= ONE / total


@njit(fastmath=FAST, error_model="numpy")
def _mix(weights: Any, values: Any, result: Any) -> None:
    """Add the values, which lie in a row, by their weights, eight at a time."""
    dim, count = len(result), len(weights)
    eights = count // 8 * 8
    for j in range(0, eights, 8):
        w = weights[j : j + 8]
        w0, w1, w2, w3, w4, w5, w6, w7 = w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7]
        v0, v1 = _row(values, j, dim), _row(values, j + 1, dim)
        v2, v3 = _row(values, j + 2, dim), _row(values, j + 3, dim)
        v4, v5 = _row(values, j + 4, dim), _row(values, j + 5, dim)
        v6, v7 = _row(values, j + 6, dim), _row(values, j + 7, dim)
        for i in range(dim):
            first = (w0 * v0[i] + w1 * v1[i]) + (w2 * v2[i] + w3 * v3[i])
            last = (w4 * v4[i] + w5 * v5[i]) + (w6 * v6[i] + w7 * v7[i])
            result[i] += first + last
    for j in range(eights, count):
        weight, row = weights[j], _row(values, j, dim)
        for i in range(dim):
            result[i] += weight * row[i]


@njit
def _start(call: Any, head: Any, page: Any) -> Any:
    """Where the keys of a head in a page begin in the cache, in numbers."""
    return (head * call.pages + page) * call.page_tokens * call.dim


@njit
def _asked(call: Any, run: Any, head: Any, row: Any) -> Any:
    """Where the query of a row of a run begins, in numbers."""
    group, token = row // run.count, row % run.count
    return (head * call.groups + group) * call.query_head + (run.token + token) * call.query_token


@njit
def _answered(call: Any, run: Any, head: Any, row: Any) -> Any:
    """Where the result of a row of a run begins, in numbers."""
    group, token = row // run.count, row % run.count
    heads = call.kv_heads * call.groups
    return ((run.token + token) * heads + head * call.groups + group) * call.dim


@njit(error_model="numpy")
def _answer(call: Any, run: Any, head: Any, scratch: Any) -> None:
    """A run of queries of one request, for one head of keys."""
    dim, size, longest, place = call.dim, call.page_tokens, call.longest, run.place
    width, rows = size * dim, call.groups * run.count
    values = call.kv_heads * call.pages * width  # they lie behind all keys
    page, scores = scratch[:width], scratch[width:]
    cache = carray(pointer(call.cache), (2 * values,), np.uint16)
    table = carray(pointer(run.table), (place + run.count,), np.int64)
    query = carray(pointer(call.query), (ENDLESS,), np.float32)
    result = carray(pointer(call.result), (ENDLESS,), np.float32)
    pages = (place + run.count + size - 1) // size
    for number in range(pages):
        at, before = _start(call, head, table[number]), number * size
        ahead = _start(call, head, table[min(number + 1, pages - 1)])
        _widen(cache[at : at + width], page)
        for row in range(rows):
            _ask_ahead(call.cache + 2 * ahead, 2 * width, row, rows)
            if before <= place + row % run.count:
                asks, to = _asked(call, run, head, row), row * longest + before
                _products(query[asks : asks + dim], page, scores[to : to + size])
    for row in range(rows):
        at, to = row * longest, _answered(call, run, head, row)
        _softmax(scores[at : at + place + row % run.count + 1], call.scale)
        result[to : to + dim] = ZERO
    for number in range(pages):
        at, before = values + _start(call, head, table[number]), number * size
        ahead = values + _start(call, head, table[min(number + 1, pages - 1)])
        _widen(cache[at : at + width], page)
        for row in range(rows):
            _ask_ahead(call.cache + 2 * ahead, 2 * width, row, rows)
            used = min(size, place + row % run.count + 1 - before)
            if used > 0:
                at, to = row * longest + before, _answered(call, run, head, row)
                _mix(scores[at : at + used], page, result[to : to + dim])


@functools.cache
def _compiled() -> Any:
    """Answers the call at an address, in each of some threads. Compiles for seconds, once."""
    thread_number, thread_count = openmp.numbers()

    @cfunc(types.void(types.voidptr))
    def part(data: Any) -> None:
        """This thread's share: of all heads of all runs, every one that it comes to in turn."""
        call = carray(data, (1,), CALL)[0]
        runs = carray(pointer(call.plan), (call.runs,), RUN)
        number, count = thread_number(), thread_count()
        scratch = carray(pointer(call.scratch), (count * call.room,), np.float32)
        own = scratch[number * call.room : (number + 1) * call.room]
        for task in range(number, call.runs * call.kv_heads, count):
            _answer(call, runs[task // call.kv_heads], task % call.kv_heads, own)

    return part


class KernelStep(Step):
    """A step that is answered at once. Queries are float32, and pages hold 4 · n tokens."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        _compiled()
        self._runs: list[tuple[int, int, int, int]] = []
        self._tables: list[Tensor] = []  # kept until the step is over
        self._longest = 0

    @staticmethod
    def kept_as(dtype: torch.dtype) -> torch.dtype:
        return torch.bfloat16

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
        cache, runs = self._of(layer), self._planned
        _, heads, tokens, dim = query.shape
        _, kv_heads, pages, size, kept_dim = cache.shape
        groups, odd = divmod(heads, kv_heads)
        if odd or dim != kept_dim or (query.dtype, cache.dtype) != (torch.float32, torch.bfloat16):
            raise ValueError(f"no query of {tuple(query.shape)}, {query.dtype} for this cache")
        if query.stride(-1) != 1:
            query = query.contiguous()
        result = query.new_empty(1, tokens, heads, dim)
        threads = torch.get_num_threads()
        room = size * dim + int(runs["count"].max()) * groups * self._longest
        scratch = self._scratch.buffer((threads, room), torch.float32, query.device)
        call = np.array((
            kv_heads, groups, dim, size, pages, query.stride(1), query.stride(2),
            self._longest, room, len(runs), query.data_ptr(), result.data_ptr(),
            cache.data_ptr(), runs.ctypes.data, scratch.data_ptr(), scale,
        ), dtype=CALL)  # fmt: skip
        openmp.run(_compiled(), call.ctypes.data, threads)
        return result
