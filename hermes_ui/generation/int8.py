"""Matrices of 8-bit weights for CPUs, one scale per output; see `products`."""

import functools
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hermes_ui.generation import vectors
from hermes_ui.generation.int8_sums import DotLoop, WidenedLoop
from hermes_ui.generation.openmp import FAST
from hermes_ui.generation.products import Format, Packed, loudest, whole_numbers
from hermes_ui.generation.quantize import STEPS, Take, everything, in_whole_numbers
from hermes_ui.generation.vectors import LINE

ZERO = 128  # where unsigned activations have their zero
OUTPUTS = (1, 2, 4)  # with how many rows: see `ROWS`. With one row a product reads four lines


class Packed8(Packed):
    """A matrix of 8-bit weights; see `Packed`."""

    def __init__(self, weight: Tensor, take: Take = everything) -> None:
        form = dotted() if vectors.has_dot() else _widened(vectors.width())
        super().__init__(weight, form, take)


@functools.cache
def dotted(loop: type[DotLoop] = DotLoop) -> Format:
    """For CPUs with VNNI, or whatever `loop` does its product with."""

    def excess(codes: Tensor) -> Tensor:
        return codes.sum(1, dtype=torch.int32) * ZERO

    @njit(error_model="numpy")
    def round_row(x: Any, to: Any, apart: int, sums: Any) -> Any:
        size = loudest(x)
        for start in range(0, len(x), LINE):
            part = to[start // LINE * apart :][:LINE]
            whole_numbers(x[start : start + LINE], np.float32(STEPS) / size, ZERO, part)
        sums[0] = 0
        return size / np.float32(STEPS)

    return _format(np.uint8, excess, round_row, loop, 64)


@functools.cache
def _widened(width: int) -> Format:
    """For others, with vectors of so many bytes."""
    lanes = width // 2

    def excess(codes: Tensor) -> Tensor:
        first, second = codes.view(len(codes), -1, 2, lanes).to(torch.int16).unbind(2)
        return (first * second).sum((1, 2), dtype=torch.int32)

    @njit(fastmath=FAST, error_model="numpy")
    def round_row(x: Any, to: Any, apart: int, sums: Any) -> Any:
        size, excess = loudest(x), np.int32(0)
        for start in range(0, len(x), LINE):
            part = to[start // LINE * apart :][:LINE]
            whole_numbers(x[start : start + LINE], np.float32(STEPS) / size, 0, part)
            for first in range(0, LINE, 2 * lanes):
                for i in range(lanes):
                    product = np.int32(part[first + i]) * np.int32(part[first + lanes + i])
                    excess = np.int32(excess + np.int32(product))
        sums[0] = excess
        return size / np.float32(STEPS)

    return _format(np.int16, excess, round_row, WidenedLoop, width)


def _format(
    number: Any, excess: Any, round_row: Any, loop: type[WidenedLoop | DotLoop], width: int
) -> Format:
    """`excess` is how much the sums of an output are too large, given its weights."""

    def pack(exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # So that no sum of products leaves 32 bits.
        most = min(STEPS, (2**31 - 1) // (STEPS * exact.shape[1]))
        codes, scales = in_whole_numbers(exact, most)
        return codes.view(torch.uint8), excess(codes)[:, None], scales[:, 0]

    return Format(
        unit=LINE,
        number=number,
        factor=torch.int32,
        groups=lambda units: 1,
        outputs=OUTPUTS,
        pack=pack,
        round=round_row,
        loop=lambda builder, rows, outputs: loop(builder, rows, outputs, width),
        width=width,
    )
