"""Matrices of 4-bit weights for CPUs.

Each `GROUP` inputs of an output share a step, which is a whole number times the output's scale.
So with activations of eight bits a product is a sum of integers to its very end; see `products`.
"""

import functools
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from hermes_ui.generation import vectors
from hermes_ui.generation.int4_sums import CODES, GROUP, LANES, ZERO, Loop4
from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.products import ROWS, TINY, Format, Packed, loudest, whole_numbers
from hermes_ui.generation.quantize import STEPS, Take, everything

FINEST = 255  # the largest factor of a group
SHARES = (1.0, 0.9)  # of a group's loudest weight that the codes reach; the better one is taken


class Packed4(Packed):
    """A matrix of 4-bit weights; see `Packed`."""

    def __init__(self, weight: Tensor, take: Take = everything) -> None:
        super().__init__(weight, _format(vectors.width()), take)


@functools.cache
def _format(width: int) -> Format:
    """For vectors of so many bytes."""

    def pack(exact: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codes, factors, scales = _rounded(exact)
        return _in_pairs(codes, width), factors, scales

    return Format(
        unit=GROUP,
        number=np.int8,
        factor=torch.int16,
        groups=lambda units: rounded(units, LANES),
        outputs=(1,) * len(ROWS),
        pack=pack,
        round=_round,
        loop=lambda builder, rows, outputs: Loop4(builder, rows, outputs, width),
        width=width,
    )


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


def _in_pairs(codes: Tensor, width: int) -> Tensor:
    """Two codes a byte, those of one vector and of the next: as the kernel reads them."""
    first, second = codes.view(len(codes), -1, 2, width).unbind(2)
    return (first | second << 4).flatten(1)


@njit(error_model="numpy")
def _round(x: Any, to: Any, apart: int, sums: Any) -> Any:
    """See `Format`; sums are by group."""
    size = loudest(x)
    sums[:] = 0
    for start in range(0, len(x), GROUP):
        group = start // GROUP
        part = to[group * apart :][:GROUP]
        sums[group] = whole_numbers(x[start : start + GROUP], np.float32(STEPS) / size, 0, part)
    return size / np.float32(STEPS)
