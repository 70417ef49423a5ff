"""The inner loop of attention on CPUs: rows times a matrix of bfloat16, in LLVM's vectors.

Each number of the result is added up alone and in the matrix's order, so that it is the same
however many rows are multiplied together.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from hermes_ui.generation.vectors import FLOAT, INTEGER, SHORT, WORD, ask_for, constant, load, splat

ROWS = (6, 3, 1)  # that are multiplied together, as many as there still are
NARROW = 8  # columns that are added up together where no more are left
FUSED = ("contract",)  # a product and its sum are one instruction, where the CPU has it


def adding(columns: int) -> Any:
    """Compiled code that adds the product of two matrices to a third, so many columns at a time.

    It takes the addresses of rows (float32), of a matrix (bfloat16) and of the result (float32),
    each with how many numbers lie from one row to the next; how many rows there are, how many
    numbers a row has, and how many columns the matrix, a multiple of `NARROW`; and how many
    bytes behind the matrix that one lies which is needed next, and is asked for.
    """
    wide, narrow = _of_width(columns), _of_width(NARROW)

    @njit
    def add(
        left: Any, left_step: Any, right: Any, right_step: Any, result: Any, result_step: Any,
        rows: Any, count: Any, width: Any, ahead: Any,
    ) -> None:  # fmt: skip
        column = 0
        while column + columns <= width:
            wide(left, left_step, right + 2 * column, right_step, result + 4 * column,
                 result_step, rows, count, ahead)  # fmt: skip
            column += columns
        while column < width:
            narrow(left, left_step, right + 2 * column, right_step, result + 4 * column,
                   result_step, rows, count, ahead)  # fmt: skip
            column += NARROW

    return add


def _of_width(columns: int) -> Any:
    """The same for exactly so many columns."""
    add_many, add_some, add_one = (_of_rows(rows, columns) for rows in ROWS)
    many, some, one = ROWS

    @njit
    def add(
        left: Any, left_step: Any, right: Any, right_step: Any, result: Any, result_step: Any,
        rows: Any, count: Any, ahead: Any,
    ) -> None:  # fmt: skip
        row = 0
        while row < rows:
            at, to = left + 4 * row * left_step, result + 4 * row * result_step
            if row + many <= rows:
                add_many(at, left_step, right, right_step, to, result_step, count, ahead)
                row += many
            elif row + some <= rows:
                add_some(at, left_step, right, right_step, to, result_step, count, ahead)
                row += some
            else:
                add_one(at, left_step, right, right_step, to, result_step, count, ahead)
                row += one

    return add


def _of_rows(rows: int, columns: int) -> Any:
    """The same for exactly so many rows and columns: an intrinsic."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _write(builder, rows, columns, *values)
        return context.get_dummy_value()

    @intrinsic
    def add(
        typing: Any, left: Any, left_step: Any, right: Any, right_step: Any, result: Any,
        result_step: Any, count: Any, ahead: Any,
    ) -> Any:  # fmt: skip
        return types.void(*[types.int64] * 8), generate

    return add


def _write(
    build: Any, rows: int, columns: int, left: Any, left_step: Any, right: Any, right_step: Any,
    result: Any, result_step: Any, count: Any, ahead: Any,
) -> None:  # fmt: skip
    """The loop over the matrix's rows, with all totals in registers."""
    vector = ir.VectorType(FLOAT, columns)
    lefts = [_moved(build, left, left_step, row, 4) for row in range(rows)]
    results = [_moved(build, result, result_step, row, 4) for row in range(rows)]
    totals = [cgutils.alloca_once_value(build, load(build, at, vector)) for at in results]
    with cgutils.for_range(build, count) as loop:
        at = _moved(build, right, right_step, loop.index, 2)
        numbers = _widened(build, at, columns)
        ask_for(build, build.add(at, ahead))
        for place, total in zip(lefts, totals, strict=True):
            number = load(build, _moved(build, place, loop.index, 1, 4), FLOAT)
            product = build.fmul(splat(build, number, columns), numbers, flags=FUSED)
            build.store(build.fadd(build.load(total), product, flags=FUSED), total)
    for at, total in zip(results, totals, strict=True):
        build.store(build.load(total), build.inttoptr(at, vector.as_pointer()), align=4)


def _moved(build: Any, address: Any, step: Any, times: Any, size: int) -> Any:
    """The address so many steps further, of numbers of so many bytes."""
    times = times if isinstance(times, ir.Value) else WORD(times)
    return build.add(address, build.mul(build.mul(step, times), WORD(size)))


def _widened(build: Any, address: Any, columns: int) -> Any:
    """The bfloat16 numbers at an address as float32, of which they are the upper half."""
    integers = ir.VectorType(INTEGER, columns)
    narrow = load(build, address, ir.VectorType(SHORT, columns))
    moved = build.shl(build.zext(narrow, integers), constant(integers, 16))
    return build.bitcast(moved, ir.VectorType(FLOAT, columns))
