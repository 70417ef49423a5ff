"""Products with few inputs in float32, compiled by numba: for what integers are too coarse for.

Each number is added up in the order of the inputs, whatever other rows there are.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hermes_ui.generation import openmp
from hermes_ui.generation.openmp import FAST, Program, Record, compiled, floats

OUTPUTS = 512  # that are worked out together, so that their sums stay in the nearest cache
CALL = Record("rows inputs outputs x columns result")


class Loud:
    """An (outputs, inputs) matrix of few inputs.

    Args:
        weight: Any floating dtype; not kept.
    """

    def __init__(self, weight: Tensor) -> None:
        self._columns = weight.T.to(torch.float32, copy=True).contiguous()

    def product(self, rows: Tensor) -> Tensor:
        """`rows` (n, inputs), float32, times the matrix: (n, outputs), float32."""
        rows, outputs = rows.contiguous(), self._columns.shape[1]
        result = torch.empty(len(rows), outputs)
        team = openmp.team(len(rows) * -(-outputs // OUTPUTS))
        openmp.run(_products, self._call(rows, result), team)
        return result

    def add_to(self, program: Program, rows: Tensor, result: Tensor) -> None:
        """Let `program` write the product of what `rows` then hold to `result`."""
        program.add(_products, self._call(rows, result))

    def _call(self, rows: Tensor, result: Tensor) -> bytes:
        where = (each.data_ptr() for each in (rows, self._columns, result))
        return CALL.pack(len(rows), *self._columns.shape, *where)


@njit(fastmath=FAST, error_model="numpy")
def _add(factor: Any, column: Any, result: Any) -> None:
    for i in range(len(result)):
        result[i] += factor * column[i]


@compiled(CALL)
def _products(call: Any, thread: int, threads: int) -> None:
    x, columns, result = floats(call.x), floats(call.columns), floats(call.result)
    parts = (call.outputs + OUTPUTS - 1) // OUTPUTS
    for task in range(thread, call.rows * parts, threads):
        row, first = task // parts, task % parts * OUTPUTS
        last = min(first + OUTPUTS, call.outputs)
        own = result[row * call.outputs + first : row * call.outputs + last]
        own[:] = np.float32(0)
        for i in range(call.inputs):
            column = columns[i * call.outputs + first : i * call.outputs + last]
            _add(x[row * call.inputs + i], column, own)
