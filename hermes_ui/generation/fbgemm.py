"""Matrices of 8-bit weights in PyTorch's own products, fbgemm's: for where ours do not run.

Their sums are of integers as well, and a row's numbers are the same alone and in any batch.
(PyTorch's `linear_dynamic` cannot promise that: its activation scale spans the batch.)
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hermes_ui.generation.quantize import (
    STEPS,
    Take,
    blocks,
    everything,
    in_whole_numbers,
    largest,
    loudest,
)
from hermes_ui.generation.threads import in_own_thread

ZERO = 128  # where fbgemm's unsigned activations have their zero


def is_available() -> bool:
    """Whether this build of PyTorch has the products, and this CPU AVX2 for them."""
    return "fbgemm" in torch.backends.quantized.supported_engines


@functools.cache
@in_own_thread  # as it multiplies
def weight_bits() -> int:
    """How many bits a weight may have on this CPU, found by trying: 7 or 8.

    Without VNNI the kernels add two products in 16 bits, and 255 × 127 twice does not fit:
    the sum is silently wrong. Weights of 7 bits fit.
    """
    width = 64
    packed = Packed(torch.ones(width, width), bits=8)
    is_exact = packed.product(torch.ones(1, width))[0, 0].item() > 0.99 * width
    return 8 if is_exact else 7


class Packed:
    """An (outputs, inputs) matrix of int8 in fbgemm's own layout.

    Args:
        weight: Any floating dtype; read a block at a time, and not kept.
        take: What of each block is packed.
        bits: Of a weight; 0: as many as `weight_bits`.
    """

    def __init__(self, weight: Tensor, take: Take = everything, bits: int = 0) -> None:
        self.outputs, inputs = weight.shape
        # So that no sum of products leaves 32 bits.
        most = min(largest(bits or weight_bits()), (2**31 - 1) // ((ZERO + STEPS) * inputs))
        self._blocks = [_pack(take(weight[part]), most) for part in blocks(self.outputs)]

    def product(self, rows: Tensor) -> Tensor:
        """`rows` (n, inputs), float32, times the matrix: (n, outputs), float32."""
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        size = loudest(rows)
        scaled = rows / size
        parts = [multiply(scaled, 1 / STEPS, ZERO, block) for block in self._blocks]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)).mul_(size)


def _pack(weight: Tensor, most: int) -> Any:
    whole, scales = in_whole_numbers(weight, most)
    with _fbgemm():
        quantized = torch._make_per_channel_quantized_tensor(
            whole, scales[:, 0].double(), torch.zeros(len(whole), dtype=torch.int64), 0
        )
        return torch.ops.quantized.linear_prepack(quantized, None)


@contextmanager
def _fbgemm() -> Iterator[None]:
    """Pack for fbgemm: by itself PyTorch may pack for oneDNN, which lacks the product we use."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            # Packing takes a quantized tensor, a type that PyTorch means to give up one day.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            yield
    finally:
        torch.backends.quantized.engine = before
