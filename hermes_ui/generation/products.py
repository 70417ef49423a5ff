"""Products of activations with matrices of integers, compiled by numba.

Activations become whole numbers, one scale per token, and a product is a sum of integers to its
very end: exact in any order, so that a row's numbers are the same alone and in any batch. How
weights are kept, and multiplied in the CPU's own instructions, is a format's: `int8` or `int4`.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numba import carray, njit, types
from numba.extending import intrinsic
from torch import Tensor

from hermes_ui.generation import openmp, vectors
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.openmp import (
    ENDLESS,
    FAST,
    Compiled,
    Program,
    Record,
    floats,
    integers,
    pointer,
)
from hermes_ui.generation.quantize import Take
from hermes_ui.generation.vectors import LINE, MAGNITUDE, as_bits, as_float

ROWS = (8, 4, 1)  # of activations that are multiplied together, as many as there still are
OUTPUTS = 64  # that one task works out, so that their weights stay in the cache
# Bytes of rows multiplied together that all of a task's outputs read before the next ones are
# read: they stay in the nearest cache.
NEAR = 24_576
PACKED_ROWS = 1024  # outputs packed at once, which takes little memory
TINY = np.float32(1e-30)  # a row of zeros is divided by this and stays zero
CALL = Record(
    "rows inputs outputs units bytes groups step "
    "x whole sums sizes totals taken codes factors scales result"
)


def is_available() -> bool:
    """Whether this CPU has the instructions, and PyTorch the threads that the kernel runs in."""
    return vectors.width() > 0 and openmp.is_available()


@dataclass(frozen=True)
class Format:
    """How weights are kept and multiplied.

    Args:
        unit: So many inputs of an output fill a line of memory, `LINE` bytes.
        number: numpy's type of an activation as a whole number.
        factor: PyTorch's type of what is kept of an output beside its codes and its scale, and
            of what is kept of a row beside its numbers and its scale.
        groups: How many of these an output has, and a row, for so many units.
        outputs: How many are worked out together with so many rows as in `ROWS`.
        pack: Codes, factors and scales of (outputs, inputs), float32, with whole units.
        round: Compiled. Takes a row of activations; where its numbers go, units so far apart;
            and where its sums go. Returns the row's scale.
        loop: A `vectors.Loop` of so many rows and outputs, given a builder for its code.
        width: Bytes of a vector, 32 or 64.
    """

    unit: int
    number: Any
    factor: torch.dtype
    groups: Callable[[int], int]
    outputs: tuple[int, ...]
    pack: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    round: Any
    loop: Callable[[Any, int, int], vectors.Loop]
    width: int


class Packed:
    """An (outputs, inputs) matrix in a format of integers.

    Args:
        weight: Any floating dtype; read a block at a time, and not kept.
        take: What of each block is packed.
    """

    def __init__(self, weight: Tensor, form: Format, take: Take) -> None:
        self.outputs, self.inputs = weight.shape
        self._form = form
        self._units = -(-self.inputs // form.unit)
        whole = rounded(self.outputs, max(form.outputs))
        self._codes = torch.zeros(whole, self._units * LINE, dtype=torch.uint8)
        self._factors = torch.zeros(whole, form.groups(self._units), dtype=form.factor)
        self._scales = torch.empty(self.outputs)
        for start in range(0, self.outputs, PACKED_ROWS):
            part = slice(start, min(start + PACKED_ROWS, self.outputs))
            exact = torch.zeros(len(self._scales[part]), self._units * form.unit)
            exact[:, : self.inputs] = take(weight[part])
            self._codes[part], factors, self._scales[part] = form.pack(exact)
            self._factors[part, : factors.shape[1]] = factors

    def product(self, rows: Tensor) -> Tensor:
        """`rows` (n, inputs), float32, times the matrix: (n, outputs), float32."""
        rows, count = rows.contiguous(), len(rows)
        result = torch.empty(count, self.outputs)
        scratch = torch.empty(self.room(count), dtype=torch.uint8)
        call = self._call(rows, result, scratch)
        rounding, multiplying = _compiled(self._form)
        openmp.run(rounding, call, openmp.team(count))
        openmp.run(multiplying, call, torch.get_num_threads())
        return result

    def add_to(self, program: Program, rows: Tensor, result: Tensor, scratch: Tensor) -> None:
        """Let `program` write the product of what `rows` then hold to `result`.

        `scratch` has `room` for so many rows, which is used for that alone.
        """
        call = self._call(rows, result, scratch)
        for compiled in _compiled(self._form):
            program.add(compiled, call)

    def room(self, count: int) -> int:
        """Bytes that a product with so many rows takes meanwhile."""
        return LINE + sum(self._rooms(count))

    def _rooms(self, count: int) -> tuple[int, int, int, int]:
        """The same: for totals, and for the rows' numbers, what is kept of them, and scales.

        One behind the other, each of them has an end that suits the next one.
        """
        form, threads = self._form, torch.get_num_threads()
        totals = threads * OUTPUTS * min(count, ROWS[0]) * form.width
        numbers = count * self._units * form.unit * form.number().itemsize
        return totals, numbers, count * self._factors[0].nbytes, count * 4

    def _call(self, rows: Tensor, result: Tensor, scratch: Tensor) -> bytes:
        form, (count, _) = self._form, rows.shape
        taken = scratch.data_ptr()
        totals, whole, sums, sizes = accumulate(self._rooms(count)[:3], initial=taken + LINE)
        return CALL.pack(
            count, self.inputs, self.outputs, self._units, form.unit * form.number().itemsize,
            self._factors.shape[1], self._factors[0].nbytes,
            rows.data_ptr(), whole, sums, sizes, totals, taken,
            *(each.data_ptr() for each in (self._codes, self._factors, self._scales, result)),
        )  # fmt: skip


def join(parts: Sequence[Packed]) -> Packed | None:
    """One matrix with the outputs of all `parts`, whose memory they then share.

    None where they differ in format or inputs, or have outputs that make up no whole tasks.
    """
    first = parts[0]
    if any(
        (each._form, each.inputs) != (first._form, first.inputs) or each.outputs != len(each._codes)
        for each in parts
    ):
        return None
    whole = copy.copy(first)
    whole.outputs = sum(each.outputs for each in parts)
    ends = [each.outputs for each in parts]
    for name in ("_codes", "_factors", "_scales"):
        tensor = torch.cat([getattr(each, name) for each in parts])
        setattr(whole, name, tensor)
        for each, part in zip(parts, torch.split(tensor, ends), strict=True):
            setattr(each, name, part)
    return whole


@njit
def loudest(x: Any) -> Any:
    """The largest absolute value of a row, never 0; where one is no number, that is none."""
    most = as_bits(TINY)
    for i in range(len(x)):
        most = max(most, np.int32(as_bits(x[i]) & MAGNITUDE))
    return as_float(np.uint32(most))


@njit(fastmath=FAST, error_model="numpy")
def whole_numbers(x: Any, factor: Any, zero: int, to: Any) -> Any:
    """Write down activations times `factor` as whole numbers, `zero` for 0; returns their sum."""
    total = np.int32(0)
    for i in range(len(x)):
        number = np.int32(np.rint(x[i] * factor))
        to[i] = number + zero
        total = np.int32(total + number)
    to[len(x) :] = zero
    return total


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


def _adding(form: Format, rows: int, outputs: int) -> Any:
    """`Loop.add` as compiled code calls it."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        form.loop(builder, rows, outputs).add(*values)
        return context.get_dummy_value()

    @intrinsic
    def add(
        typing: Any, codes: Any, factors: Any, whole: Any, totals: Any,
        begin: Any, count: Any, step: Any,
    ) -> Any:  # fmt: skip
        return types.void(*[types.int64] * 7), generate

    return add


def _finishing(form: Format, rows: int) -> Any:
    """`Loop.finish` as compiled code calls it, and where it writes the sums."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        *taken, to = values
        loop = form.loop(builder, rows, 1)
        loop.store(loop.finish(*taken), to)
        return context.get_dummy_value()

    @intrinsic
    def finish(typing: Any, factors: Any, sums: Any, totals: Any, groups: Any, to: Any) -> Any:
        return types.void(*[types.int64] * 5), generate

    return finish


def _multiplying(form: Format, rows: int, outputs: int) -> Any:
    """Compiled code that works out a task's outputs of so many rows at once.

    It takes the call, the task's first output, the row to begin with and the address of room for
    totals; it returns the row that comes next.
    """
    add, finish, size = _adding(form, rows, outputs), _finishing(form, rows), rows * form.width

    @njit
    def multiply(call: Any, first: Any, row: Any, totals: Any) -> Any:
        sizes, scales, result = floats(call.sizes), floats(call.scales), floats(call.result)
        last, near = min(first + OUTPUTS, call.outputs), NEAR // (rows * call.bytes)
        for start in range(row, call.rows - rows + 1, rows):
            whole = call.whole + start * call.units * call.bytes
            for begin in range(0, call.units, near):
                for output in range(first, last, outputs):
                    add(
                        call.codes + (output * call.units + begin) * LINE,
                        call.factors + output * call.step,
                        whole + begin * rows * call.bytes,
                        totals + (output - first) * size,
                        begin,
                        min(near, call.units - begin),
                        call.units * LINE,
                    )
            for output in range(first, last):
                finish(
                    call.factors + output * call.step,
                    call.sums + start * call.step,
                    totals + (output - first) * size,
                    call.groups,
                    totals + (output - first) * rows * 4,  # where nothing is needed any more
                )
            done = carray(pointer(totals), (OUTPUTS * rows,), np.int32)
            for place in range(rows):
                begin = (start + place) * call.outputs
                to = result[begin + first : begin + last]
                for i in range(last - first):
                    scale = sizes[start + place] * scales[first + i]
                    to[i] = np.float32(done[i * rows + place]) * scale
        return row + (call.rows - row) // rows * rows

    return multiply


@functools.cache
def _compiled(form: Format) -> tuple[Compiled, Compiled]:
    """The kernel's halves: activations to whole numbers, and these times the matrix."""
    multiply_many, multiply_some, multiply_one = map(_multiplying, [form] * 3, ROWS, form.outputs)
    number, unit, width, round_row = form.number, form.unit, form.width, form.round
    most = ROWS[0]
    factor = torch.empty(0, dtype=form.factor).numpy().dtype.type

    @openmp.compiled(CALL)
    def rounding(call: Any, thread: int, threads: int) -> None:
        x, sizes = floats(call.x), floats(call.sizes)
        whole = carray(pointer(call.whole), (ENDLESS,), number)
        sums = carray(pointer(call.sums), (ENDLESS,), factor)
        if thread == 0:
            integers(call.taken)[0] = 0
        for row in range(thread, call.rows, threads):
            first, together = _tile(row, call.rows)
            sizes[row] = round_row(
                x[row * call.inputs : (row + 1) * call.inputs],
                whole[(first * call.units + row - first) * unit :],
                together * unit,
                sums[row * call.groups : (row + 1) * call.groups],
            )

    @openmp.compiled(CALL)
    def multiplying(call: Any, thread: int, threads: int) -> None:
        totals = call.totals + thread * (OUTPUTS * min(call.rows, most) * width)
        first = openmp.take(call.taken, OUTPUTS)  # a thread that has to wait leaves more to others
        while first < call.outputs:
            row = multiply_many(call, first, 0, totals)
            row = multiply_some(call, first, row, totals)
            multiply_one(call, first, row, totals)
            first = openmp.take(call.taken, OUTPUTS)

    return rounding, multiplying
