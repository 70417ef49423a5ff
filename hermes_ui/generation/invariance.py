"""Whether a token's numbers depend on what else is computed with it.

A product of matrices may add up in another order when it has another number of rows. On
CPUs, those of MKL in float32 give the same bits for every multiple of four rows (measured
with 1 to 16 threads, 4 to 640 rows; 1 to 3 rows, and with several threads also 5 to 9, give
others). So a step is padded to such a number, and the layers are tried out once. int8 layers
add up whole numbers, which is exact in any order: their steps are not padded.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

ROWS = 4
TRIED = (1, 2, 3, 4, 8, 12, 20, 64)  # rows


def rounded(count: int, unit: int) -> int:
    """The smallest multiple of `unit` that is at least `count`."""
    return -(-count // unit) * unit


@torch.no_grad()
def is_batch_invariant(model: nn.Module) -> bool:
    """Whether each layer gives a row the same bits in products of any `row_unit` rows.

    False for every device but CPUs and for every format but float32, where attention was
    not found to keep that up.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or getattr(model, "dtype", None) != torch.float32:
        return False
    unit = row_unit(model)
    return all(_is_invariant(layer, width, unit) for layer, width in _layers(model))


def row_unit(model: nn.Module) -> int:
    """A step of `model` is to have a multiple of so many rows."""
    is_exact = not any(isinstance(layer, nn.Linear) for layer in model.modules())
    return 1 if is_exact or next(model.parameters()).device.type != "cpu" else ROWS


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """One linear layer of each shape, and how wide its input is."""
    seen: set[tuple[int, int]] = set()
    for layer in model.modules():
        width, out = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
        if isinstance(width, int) and isinstance(out, int) and (width, out) not in seen:
            seen.add((width, out))
            yield layer, width


def _is_invariant(layer: nn.Module, width: int, unit: int) -> bool:
    dice = torch.Generator().manual_seed(0)
    rows = torch.randn(max(TRIED), width, generator=dice)
    tried = [count for count in TRIED if count % unit == 0]
    if getattr(layer, "out_features", 0) >= 2**15:  # a vocabulary: fewer rows are enough to tell
        tried = tried[:3]
    whole: Tensor = layer(rows[: tried[-1]])
    return all(torch.equal(layer(rows[:count]), whole[:count]) for count in tried[:-1])
