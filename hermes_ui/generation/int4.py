"""Matrices of 4-bit weights for CPUs, and their products, compiled by numba.

Each `GROUP` inputs of an output share a step, which is a whole number times the output's scale.
So with activations of eight bits, one scale per token, a product is a sum of integers to its
very end: exact in any order, and a row's numbers are the same alone and in any batch.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import carray, cfunc, njit, types
from torch import Tensor

from hermes_ui.generation import openmp, vectors
from hermes_ui.generation.int4_sums import CODES, GROUP, LANES, ZERO, adding, finishing
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.openmp import ENDLESS, FAST, Record, pointer
from hermes_ui.generation.quantize import STEPS
from hermes_ui.generation.vectors import MAGNITUDE, as_bits, as_float

FINEST = 255  # the largest factor of a group
SHARES = (1.0, 0.9)  # of a group's loudest weight that the codes reach; the better one is taken
ROWS = (8, 4, 1)  # of activations that are multiplied together, as many as there still are
OUTPUTS = 64  # that one task works out, so that their weights stay in the cache
# Whole numbers of rows multiplied together that all of a task's outputs read before the next
# ones are read: they stay in the nearest cache. A multiple of GROUP times each of ROWS.
NEAR = 24_576
PACKED_ROWS = 1024  # outputs packed at once, which takes little memory
TINY = np.float32(1e-30)  # a row of zeros is divided by this and stays zero
CALL = Record(
    "rows inputs padded groups outputs x whole sums sizes totals codes factors scales result"
)


def is_available() -> bool:
    """Whether this CPU has the instructions, and PyTorch the threads that the kernel runs in."""
    return vectors.width() > 0 and openmp.is_available()


class Packed4:
    """An (outputs, inputs) matrix of 4-bit weights.

    Args:
        weight: Any floating dtype; read a block at a time, and not kept.
        take: What of each block is packed.
    """

    def __init__(
        self, weight: Tensor, take: Callable[[Tensor], Tensor] = lambda block: block
    ) -> None:
        self.outputs, self.inputs = weight.shape
        padded = rounded(self.inputs, GROUP)
        groups = rounded(padded // GROUP, LANES)
        self._codes = torch.empty(self.outputs, padded // 2, dtype=torch.uint8)
        self._factors = torch.zeros(self.outputs, groups, dtype=torch.int16)
        self._scales = torch.empty(self.outputs)
        for start in range(0, self.outputs, PACKED_ROWS):
            part = slice(start, start + PACKED_ROWS)
            exact = torch.zeros(len(self._scales[part]), padded)
            exact[:, : self.inputs] = take(weight[part])
            codes, factors, self._scales[part] = _rounded(exact)
            self._codes[part] = _in_pairs(codes)
            self._factors[part, : padded // GROUP] = factors

    def product(self, rows: Tensor) -> Tensor:
        """`rows` (n, inputs), float32, times the matrix: (n, outputs), float32."""
        rows = rows.contiguous()
        count, padded, groups = len(rows), 2 * self._codes.shape[1], self._factors.shape[1]
        threads, width = torch.get_num_threads(), vectors.width()
        result = torch.empty(count, self.outputs)
        # Of 8, 16 and 32 bits one behind the other; GROUP and LANES keep them in their places.
        room = threads * OUTPUTS * min(count, ROWS[0]) * width
        scratch = torch.empty(count * (padded + 2 * groups + 4) + room, dtype=torch.uint8)
        totals = scratch.data_ptr()
        whole = totals + room
        sums = whole + count * padded
        sizes = sums + 2 * count * groups
        call = CALL.pack(
            count, self.inputs, padded, groups, self.outputs,
            rows.data_ptr(), whole, sums, sizes, totals,
            *(each.data_ptr() for each in (self._codes, self._factors, self._scales, result)),
        )  # fmt: skip
        rounding, multiplying = _compiled(width)
        openmp.run(rounding, call, openmp.team(count))
        openmp.run(multiplying, call, threads)
        return result


def _rounded(exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (outputs, inputs) uint8, factors (outputs, groups) int16, scales (outputs,).

    A weight is (code - ZERO) · factor · scale. The loudest of a group is the code 0 or near it,
    as one more lies on that side of zero; hence the factor's sign.
    """
    groups = exact.view(len(exact), -1, GROUP)
    loudest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    # So that no sum of products leaves 32 bits.
    most = max(1, min(FINEST, (2**31 - 1) // (ZERO * STEPS * exact.shape[1])))
    scales = loudest.abs().amax(1, keepdim=True).div_(ZERO * most).clamp_min_(float(TINY))
    codes, factors = torch.zeros_like(groups), torch.zeros_like(loudest)
    least = torch.full_like(loudest, torch.inf)
    for share in SHARES:
        factor = (loudest * (-share / ZERO) / scales).round_()
        steps = factor * scales
        code = (groups / steps.where(steps != 0, torch.inf)).round_()
        code.clamp_(-ZERO, CODES - 1 - ZERO)
        error = (code * steps).sub_(groups).square_().sum(2, keepdim=True)
        better = error < least
        codes, factors = code.where(better, codes), factor.where(better, factors)
        least = error.where(better, least)
    whole = codes.add_(ZERO).to(torch.uint8).view_as(exact)
    return whole, factors[..., 0].to(torch.int16), scales[:, 0, 0]


def _in_pairs(codes: Tensor) -> Tensor:
    """Two codes a byte, those of one vector and of the next: as the kernel reads them."""
    first, second = codes.view(len(codes), -1, 2, vectors.width()).unbind(2)
    return (first | second << 4).flatten(1)


@njit(fastmath=FAST, error_model="numpy")
def _round(x: Any, whole: Any, apart: int, sums: Any) -> Any:
    """A row of activations in whole numbers, groups so far `apart`, and their sums by group.

    Returns the row's step.

    Where something is no number or has no end, that step is none or has none.
    """
    most = as_bits(TINY)
    for i in range(len(x)):
        most = max(most, np.int32(as_bits(x[i]) & MAGNITUDE))
    loudest = as_float(np.uint32(most))
    for group in range(len(sums)):
        part, total = x[group * GROUP : (group + 1) * GROUP], np.int32(0)
        to = whole[group * apart : group * apart + GROUP]
        for i in range(len(part)):
            number = np.int8(np.rint(part[i] * (np.float32(STEPS) / loudest)))
            to[i] = number
            total += np.int32(number)
        sums[group] = total
        if len(part):
            to[len(part) :] = 0
    return loudest / np.float32(STEPS)


@njit
def _tile(row: int, rows: int) -> Any:
    """The first of the rows that are multiplied together with a row, and how many they are."""
    first = 0
    for together in ROWS:
        count = (rows - first) // together * together
        if row < first + count:
            return row - (row - first) % together, together
        first += count
    return row, 1


@njit
def _finish(call: Any, row: int, output: int, totals: Any, finish: Any) -> None:
    """Write down one output of the rows from `row` on."""
    sizes = carray(pointer(call.sizes), (call.rows,), np.float32)
    scales = carray(pointer(call.scales), (call.outputs,), np.float32)
    result = carray(pointer(call.result), (call.rows * call.outputs,), np.float32)
    factors = call.factors + output * (call.groups * 2)
    sums = finish(factors, call.sums + row * (call.groups * 2), totals, call.groups)
    for i in range(len(sums)):
        scale = sizes[row + i] * scales[output]
        result[(row + i) * call.outputs + output] = np.float32(sums[i]) * scale


@njit
def _multiply(call: Any, first: int, row: int, rows: int, totals: Any, kernel: Any) -> Any:
    """A task's outputs of so many rows at once, from `row` on; the row that comes next."""
    add, finish, size = kernel
    last, near = min(first + OUTPUTS, call.outputs), NEAR // rows
    for start in range(row, call.rows - rows + 1, rows):
        whole = call.whole + start * call.padded
        for begin in range(0, call.padded, near):
            count = min(near, call.padded - begin)
            for output in range(first, last):
                own = totals + (output - first) * size
                add(
                    call.codes + (output * call.padded + begin) // 2,
                    call.factors + 2 * (output * call.groups + begin // GROUP),
                    whole + begin * rows,
                    own,
                    count // GROUP,
                    begin == 0,
                )
                if begin + count == call.padded:
                    _finish(call, start, output, own, finish)
    return row + (call.rows - row) // rows * rows


@functools.cache
def _compiled(width: int) -> tuple[Any, Any]:
    """The kernel's halves: activations to whole numbers, and these times the matrix."""
    (thread_number, thread_count), record = openmp.numbers(), CALL.dtype
    many, some, one = ROWS
    add_many, add_some, add_one = (adding(rows, width) for rows in ROWS)
    finish_many, finish_some, finish_one = (finishing(rows, width) for rows in ROWS)

    @cfunc(types.void(types.voidptr))
    def rounding(data: Any) -> None:
        call = carray(data, (1,), record)[0]
        x = carray(pointer(call.x), (ENDLESS,), np.float32)
        whole = carray(pointer(call.whole), (ENDLESS,), np.int8)
        sums = carray(pointer(call.sums), (ENDLESS,), np.int16)
        sizes = carray(pointer(call.sizes), (call.rows,), np.float32)
        for row in range(thread_number(), call.rows, thread_count()):
            first, together = _tile(row, call.rows)
            sizes[row] = _round(
                x[row * call.inputs : (row + 1) * call.inputs],
                whole[first * call.padded + (row - first) * GROUP :],
                together * GROUP,
                sums[row * call.groups : (row + 1) * call.groups],
            )

    @cfunc(types.void(types.voidptr))
    def multiplying(data: Any) -> None:
        call = carray(data, (1,), record)[0]
        totals = call.totals + thread_number() * (OUTPUTS * min(call.rows, many) * width)
        for first in range(thread_number() * OUTPUTS, call.outputs, thread_count() * OUTPUTS):
            row = _multiply(call, first, 0, many, totals, (add_many, finish_many, many * width))
            row = _multiply(call, first, row, some, totals, (add_some, finish_some, some * width))
            _multiply(call, first, row, one, totals, (add_one, finish_one, width))

    return rounding, multiplying
