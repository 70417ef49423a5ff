"""What a layer on a CPU does to single numbers, compiled by numba.

No number depends on where it lies: each is computed in the same operations, which no compiler
may contract, and with PyTorch's rounding after each.
"""

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from hermes_ui.generation import openmp
from hermes_ui.generation.invariance import Uncut
from hermes_ui.generation.openmp import Program, Record, compiled, floats, integers
from hermes_ui.generation.vectors import LOG2_E, power_of_two

PART = 512  # numbers that one task works out
# `step` lies from one row of what is read to the next; of results there is nothing between rows.
GATE = Record("rows width step gate up result")
TURN = Record("rows heads dim step x cos sin")
SUM = Record("count total more")
SPLIT = Record("rows width count x places rest picked")
ZERO, ONE = np.float32(0), np.float32(1)


@njit(error_model="numpy")
def _silu(x: Any) -> Any:
    return x / (ONE + power_of_two(-x * LOG2_E))


@compiled(GATE)
def _gating(call: Any, thread: int, threads: int) -> None:
    """SiLU of the gates; times `up`, which may be none, 0."""
    gates, ups, result = floats(call.gate), floats(call.up), floats(call.result)
    parts = (call.width + PART - 1) // PART
    for task in range(thread, call.rows * parts, threads):
        row, first = task // parts, task % parts * PART
        count = min(PART, call.width - first)
        gate = gates[row * call.step + first :][:count]
        own = result[row * call.width + first :][:count]
        for i in range(count):
            own[i] = _silu(gate[i])
        if call.up:
            up = ups[row * call.step + first :][:count]
            for i in range(count):
                own[i] *= up[i]


class RowSiLU(nn.Module):
    """x · sigmoid(x) of float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in and out."""
        if x.dtype != torch.float32:
            raise ValueError(f"no float32: {x.dtype}")
        x = x.contiguous()
        result = torch.empty_like(x)
        count = x.numel()
        call = GATE.pack(1, count, count, x.data_ptr(), 0, result.data_ptr())
        openmp.run(_gating, call, openmp.team(-(-count // PART)))
        return result


def add_gate(program: Program, gate: Tensor, up: Tensor, result: Tensor) -> None:
    """Let `program` write SiLU(gate) · up of what these (rows, width) then hold to `result`."""
    call = GATE.pack(*gate.shape, gate.stride(0), *(each.data_ptr() for each in (gate, up, result)))
    program.add(_gating, call)


def add_turn(program: Program, x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Let `program` turn the halves of heads (rows, heads, dim) by angles (rows, dim). In place."""
    where = (each.data_ptr() for each in (x, cos, sin))
    program.add(_turning, TURN.pack(*x.shape, x.stride(0), *where))


def add_sum(program: Program, total: Tensor, more: Tensor) -> None:
    """Let `program` add to `total` what `more` then holds; both contiguous."""
    program.add(_adding, SUM.pack(total.numel(), total.data_ptr(), more.data_ptr()))


def add_split(program: Program, x: Tensor, places: Tensor, rest: Tensor, picked: Tensor) -> None:
    """Let `program` write some columns of `x` (rows, width) to `picked`, all others to `rest`.

    Where they were in `rest` are zeros. `places` are their numbers, int64.
    """
    where = (each.data_ptr() for each in (x, places, rest, picked))
    program.add(_splitting, SPLIT.pack(*x.shape, len(places), *where))


@compiled(TURN)
def _turning(call: Any, thread: int, threads: int) -> None:
    """As `apply_rotary_pos_emb` of transformers, a head a task."""
    numbers, cosines, sines = floats(call.x), floats(call.cos), floats(call.sin)
    dim, half = call.dim, call.dim // 2
    for task in range(thread, call.rows * call.heads, threads):
        row, head = task // call.heads, task % call.heads
        x = numbers[row * call.step + head * dim :][:dim]
        cos, sin = cosines[row * dim :][:dim], sines[row * dim :][:dim]
        for i in range(half):
            first, second = x[i], x[half + i]
            x[i] = first * cos[i] + -second * sin[i]
            x[half + i] = second * cos[half + i] + first * sin[half + i]


@compiled(SUM)
def _adding(call: Any, thread: int, threads: int) -> None:
    total, more = floats(call.total), floats(call.more)
    parts = (call.count + PART - 1) // PART
    for task in range(thread, parts, threads):
        for i in range(task * PART, min(task * PART + PART, call.count)):
            total[i] += more[i]


@compiled(SPLIT)
def _splitting(call: Any, thread: int, threads: int) -> None:
    numbers, rests, picked = floats(call.x), floats(call.rest), floats(call.picked)
    places = integers(call.places)
    for row in range(thread, call.rows, threads):
        x = numbers[row * call.width :][: call.width]
        rest = rests[row * call.width :][: call.width]
        rest[:] = x
        for i in range(call.count):
            picked[row * call.count + i] = x[places[i]]
            rest[places[i]] = ZERO


def replace_silu(model: nn.Module) -> None:
    """Put `RowSiLU` in the place of every SiLU. In place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            inner = child.activation if isinstance(child, Uncut) else child
            if isinstance(inner, nn.SiLU | SiLUActivation):
                setattr(module, name, RowSiLU())
