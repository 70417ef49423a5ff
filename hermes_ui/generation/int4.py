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
from hermes_ui.generation.int4_sums import CODES, GROUP, LANES, ZERO, sums_of
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.openmp import ENDLESS, FAST, Record, pointer
from hermes_ui.generation.quantize import STEPS
from hermes_ui.generation.vectors import MAGNITUDE, as_bits, as_float

FINEST = 255  # the largest factor of a group
SHARES = (1.0, 0.9)  # of a group's loudest weight that the codes reach; the better one is taken
ROWS = (8, 4, 1)  # of activations that are multiplied together, as many as there still are
OUTPUTS = 64  # that one task works out, so that their weights stay in the cache
PACKED_ROWS = 1024  # outputs packed at once, which takes little memory
TINY = np.float32(1e-30)  # a row of zeros is divided by this and stays zero
CALL = Record("rows inputs padded groups outputs x whole sums sizes codes factors scales result")


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
        result = torch.empty(count, self.outputs)
        # Of 8, 16 and 32 bits one behind the other; GROUP and LANES keep them in their places.
        scratch = torch.empty(count * (padded + 2 * groups + 4), dtype=torch.uint8)
        whole = scratch.data_ptr()
        sums = whole + count * padded
        sizes = sums + 2 * count * groups
        call = CALL.pack(
            count, self.inputs, padded, groups, self.outputs, rows.data_ptr(), whole, sums, sizes,
            *(each.data_ptr() for each in (self._codes, self._factors, self._scales, result)),
        )  # fmt: skip
        rounding, multiplying = _compiled(vectors.width())
        openmp.run(rounding, call, openmp.team(count))
        openmp.run(multiplying, call, torch.get_num_threads())
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
def _round(x: Any, whole: Any, sums: Any) -> Any:
    """A row of activations in whole numbers, and their sums by group; returns its step.

    Where something is no number or has no end, that step is none or has none.
    """
    most = as_bits(TINY)
    for i in range(len(x)):
        most = max(most, np.int32(as_bits(x[i]) & MAGNITUDE))
    loudest = as_float(np.uint32(most))
    for i in range(len(x)):
        whole[i] = np.int8(np.rint(x[i] * (np.float32(STEPS) / loudest)))
    whole[len(x) :] = 0
    for group in range(len(sums)):
        part, total = whole[group * GROUP : (group + 1) * GROUP], np.int32(0)
        for i in range(len(part)):
            total += np.int32(part[i])
        sums[group] = total
    return loudest / np.float32(STEPS)


@njit
def _multiply(call: Any, row: int, output: int, sums: Any) -> None:
    """One output of the rows from `row` on, as many as `sums` adds up."""
    sizes = carray(pointer(call.sizes), (call.rows,), np.float32)
    scales = carray(pointer(call.scales), (call.outputs,), np.float32)
    result = carray(pointer(call.result), (call.rows * call.outputs,), np.float32)
    totals = sums(
        call.codes + output * (call.padded // 2),
        call.factors + output * (call.groups * 2),
        call.whole + row * call.padded,
        call.sums + row * (call.groups * 2),
        call.padded,
        call.groups,
    )
    for i in range(len(totals)):
        scale = sizes[row + i] * scales[output]
        result[(row + i) * call.outputs + output] = np.float32(totals[i]) * scale


@njit
def _multiply_rows(call: Any, first: int, row: int, rows: int, sums: Any) -> Any:
    """A task's outputs of so many rows at once, from `row` on; the row that comes next."""
    for start in range(row, call.rows - rows + 1, rows):
        for output in range(first, min(first + OUTPUTS, call.outputs)):
            _multiply(call, start, output, sums)
    return row + (call.rows - row) // rows * rows


@functools.cache
def _compiled(width: int) -> tuple[Any, Any]:
    """The kernel's halves: activations to whole numbers, and these times the matrix."""
    (thread_number, thread_count), record = openmp.numbers(), CALL.dtype
    sums_of_many, sums_of_some, sums_of_one = (sums_of(rows, width) for rows in ROWS)
    many, some, one = ROWS

    @cfunc(types.void(types.voidptr))
    def rounding(data: Any) -> None:
        call = carray(data, (1,), record)[0]
        x = carray(pointer(call.x), (ENDLESS,), np.float32)
        whole = carray(pointer(call.whole), (ENDLESS,), np.int8)
        sums = carray(pointer(call.sums), (ENDLESS,), np.int16)
        sizes = carray(pointer(call.sizes), (call.rows,), np.float32)
        for row in range(thread_number(), call.rows, thread_count()):
            sizes[row] = _round(
                x[row * call.inputs : (row + 1) * call.inputs],
                whole[row * call.padded : (row + 1) * call.padded],
                sums[row * call.groups : (row + 1) * call.groups],
            )

    @cfunc(types.void(types.voidptr))
    def multiplying(data: Any) -> None:
        call = carray(data, (1,), record)[0]
        for first in range(thread_number() * OUTPUTS, call.outputs, thread_count() * OUTPUTS):
            row = _multiply_rows(call, first, 0, many, sums_of_many)
            row = _multiply_rows(call, first, row, some, sums_of_some)
            _multiply_rows(call, first, row, one, sums_of_one)

    return rounding, multiplying
