"""RMS norms on CPUs in one pass over each row, compiled by numba, where PyTorch takes six."""

import inspect
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn

from hermes_ui.generation import openmp
from hermes_ui.generation.openmp import FAST, Program, Record, compiled, floats

CALL = Record("rows width x weight result", "eps")
ALIKE = 1e-5  # of a row's largest number, by which ours may be off
LOUDNESS = (1.0, 30.0, 1e-3)  # of the rows that are tried; the last is as quiet as eps


@njit(fastmath=FAST, error_model="numpy")
def _norm(x: Any, weight: Any, eps: Any, result: Any) -> None:
    """One row."""
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    size = np.float32(1) / np.sqrt(total / np.float32(len(x)) + eps)
    for i in range(len(x)):
        result[i] = x[i] * size * weight[i]


@compiled(CALL)
def _norms(call: Any, thread: int, threads: int) -> None:
    x, result = floats(call.x), floats(call.result)
    weight = floats(call.weight)[: call.width]
    for row in range(thread, call.rows, threads):
        own = slice(row * call.width, (row + 1) * call.width)
        _norm(x[own], weight, call.eps, result[own])


class RowNorm(nn.Module):
    """Root mean square norm of float32 rows, each by itself: alike in any company.

    Args:
        weight: (width,), float32.
        eps: Added to the mean of the squares.
    """

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) in and out."""
        width = len(self.weight)
        if x.shape[-1] != width or x.dtype != torch.float32:
            raise ValueError(f"no rows of {width} float32: {tuple(x.shape)}, {x.dtype}")
        x = x.contiguous()
        result = torch.empty_like(x)
        openmp.run(_norms, self._call(x, result), openmp.team(x.numel() // width))
        return result

    def add_to(self, program: Program, x: Tensor, result: Tensor) -> None:
        """Let `program` write the norm of what `x` (rows, width) then holds to `result`."""
        program.add(_norms, self._call(x, result))

    def _call(self, x: Tensor, result: Tensor) -> bytes:
        width = len(self.weight)
        where = (x.data_ptr(), self.weight.data_ptr(), result.data_ptr())
        return CALL.pack(x.numel() // width, width, *where, self.eps)


@torch.no_grad()
def replace_norms(model: nn.Module) -> None:
    """Put `RowNorm` in the place of every float32 norm that computes the same. In place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if (norm := _same(child)) is not None:
                setattr(module, name, norm)


def _same(norm: nn.Module) -> RowNorm | None:
    """A `RowNorm` that gives what `norm` gives, found by trying."""
    weight, eps = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
    if not isinstance(weight, Tensor) or eps is None or weight.dtype != torch.float32:
        return None
    if len(inspect.signature(norm.forward).parameters) != 1:  # a gate, say
        return None
    rows = torch.randn(len(LOUDNESS), len(weight), generator=torch.Generator().manual_seed(0))
    rows *= torch.tensor(LOUDNESS)[:, None]
    own, wanted = RowNorm(weight, eps), norm(rows)
    off = (own(rows) - wanted).abs().amax(1)
    return own if (off <= ALIKE * wanted.abs().amax(1)).all() else None
