"""What a reply's token passes through on a GPU besides attention: what Triton compiles.

A step of one token reads every weight once and computes next to nothing, so it is as fast as
the weights come. Small kernels between the products would take longer than they do: norms,
activations and sums are done where their numbers are read or written.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from hermes_ui.generation.gpu_kernel import keep

OUTPUTS = 4  # of a product that a program works out
INPUTS = 1024  # that it reads at a time
WARPS = 4


def product(
    x: Tensor,
    weight: Tensor,
    *,
    norm: Tensor | None = None,
    eps: float = 0.0,
    residual: Tensor | None = None,
    is_gated: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Rows times a matrix, and what comes before and after: a single row in one kernel.

    Args:
        x: (rows, inputs).
        weight: (outputs, inputs), contiguous; gated (2 · outputs, inputs), the gates first.
        norm: (inputs,), by which the root mean square norm of `x` is scaled before the product.
        residual: (rows, outputs), added to the result.
        is_gated: The result is SiLU(gate) · the other half.
        dtype: Of the result; by default that of `x`.

    Returns:
        (rows, outputs).
    """
    if len(x) > 1:
        return _of_rows(x, weight, norm, eps, residual, is_gated).to(dtype or x.dtype)
    inputs = weight.shape[1]
    outputs = len(weight) // (2 if is_gated else 1)
    result = torch.empty(1, outputs, dtype=dtype or x.dtype, device=x.device)
    _product[triton.cdiv(outputs, OUTPUTS),](
        x, weight, norm, residual, result, eps,
        IS_NORMED=norm is not None, IS_GATED=is_gated, IS_ADDED=residual is not None,
        ALL_INPUTS=inputs, ALL_OUTPUTS=outputs,
        OUTPUTS=OUTPUTS, INPUTS=min(INPUTS, triton.next_power_of_2(inputs)), num_warps=WARPS,
    )  # fmt: skip
    return result


def _of_rows(
    x: Tensor,
    weight: Tensor,
    norm: Tensor | None,
    eps: float,
    residual: Tensor | None,
    is_gated: bool,
) -> Tensor:
    """`product` of several rows, by PyTorch's."""
    if norm is not None:
        x = F.rms_norm(x, norm.shape, norm, eps)
    if residual is not None:
        return torch.addmm(residual, x, weight.t())
    result = F.linear(x, weight)
    if not is_gated:
        return result
    gate, rest = result.chunk(2, -1)
    return F.silu(gate) * rest


def turn_and_write(
    qkv: Tensor, cos: Tensor, sin: Tensor, cache: Tensor, places: Tensor, heads: int
) -> None:
    """Turn queries and keys by their positions, and put keys and values into the cache.

    Args:
        qkv: (rows, heads + 2 · kv_heads, head_dim), contiguous: queries, keys and values. The
            queries are turned in place.
        cos, sin: (rows, head_dim), of which the second half repeats the first.
        cache: (2, kv_heads, pages, tokens, head_dim), contiguous. What is too large for its type
            becomes its largest.
        places: (rows,) int64, of each row in the pages laid side by side.
    """
    rows, each, dim = qkv.shape
    _turn[rows, each](
        qkv, cos, sin, cache, places, cache.stride(0), cache.stride(1),
        torch.finfo(cache.dtype).max,
        HEADS=heads, KV_HEADS=cache.shape[1], HALF=dim // 2,
        WIDTH=triton.next_power_of_2(dim // 2),
    )  # fmt: skip


@triton.jit
def _product(
    x, weight, norm, residual, result, eps,
    IS_NORMED: tl.constexpr, IS_GATED: tl.constexpr, IS_ADDED: tl.constexpr,
    ALL_INPUTS: tl.constexpr, ALL_OUTPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    out = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    lane = tl.arange(0, INPUTS)
    row = weight + tl.minimum(out, ALL_OUTPUTS - 1).to(tl.int64)[:, None] * ALL_INPUTS
    total = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    other = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    squares = tl.zeros((INPUTS,), tl.float32)
    for first in tl.static_range(0, ALL_INPUTS, INPUTS):
        at = first + lane
        is_in = at < ALL_INPUTS
        if first + INPUTS <= ALL_INPUTS:
            part = tl.load(row + at)
        else:
            part = tl.load(row + at, mask=is_in[None, :], other=0.0)
        number = tl.load(x + at, mask=is_in, other=0.0).to(tl.float32)
        if IS_NORMED:
            squares += number * number
            number *= tl.load(norm + at, mask=is_in, other=0.0).to(tl.float32)
        total += part.to(tl.float32) * number
        if IS_GATED:
            second = row + ALL_OUTPUTS * ALL_INPUTS + at
            if first + INPUTS <= ALL_INPUTS:
                part = tl.load(second)
            else:
                part = tl.load(second, mask=is_in[None, :], other=0.0)
            other += part.to(tl.float32) * number
    answer = tl.sum(total, 1)
    scale = 1.0
    if IS_NORMED:
        scale = tl.rsqrt(tl.sum(squares, 0) / ALL_INPUTS + eps)
        answer *= scale
    if IS_GATED:
        answer = answer * tl.sigmoid(answer) * tl.sum(other, 1) * scale
    is_out = out < ALL_OUTPUTS
    if IS_ADDED:
        answer += tl.load(residual + out, mask=is_out, other=0.0).to(tl.float32)
    tl.store(result + out, answer.to(result.dtype.element_ty), mask=is_out)


@triton.jit
def _turn(
    qkv, cos, sin, cache, places, cache_values, cache_head, most,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HALF: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """One head of one row; its halves are turned against each other."""
    row, head = tl.program_id(0), tl.program_id(1)
    lane = tl.arange(0, WIDTH)
    is_used = lane < HALF
    source = qkv + (row * (HEADS + 2 * KV_HEADS) + head) * 2 * HALF + lane
    first = tl.load(source, mask=is_used).to(tl.float32)
    second = tl.load(source + HALF, mask=is_used).to(tl.float32)
    if head < HEADS + KV_HEADS:
        angle = row * 2 * HALF + lane
        c = tl.load(cos + angle, mask=is_used).to(tl.float32)
        s = tl.load(sin + angle, mask=is_used).to(tl.float32)
        first, second = first * c - second * s, second * c + first * s
    if head < HEADS:
        tl.store(source, first.to(qkv.dtype.element_ty), mask=is_used)
        tl.store(source + HALF, second.to(qkv.dtype.element_ty), mask=is_used)
    else:
        kept = (head - HEADS) % KV_HEADS
        target = cache + kept * cache_head + tl.load(places + row) * 2 * HALF + lane
        if head >= HEADS + KV_HEADS:
            target += cache_values
        keep(first, target, most, is_used)
        keep(second, target + HALF, most, is_used)
