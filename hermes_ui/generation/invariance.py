"""Whether a token's numbers depend on what else is computed with it.

A product of matrices may add up in another order when it has another number of rows. On
CPUs, those of MKL in float32 give the same bits for every multiple of four rows (measured
with 1 to 16 threads, 4 to 640 rows; 1 to 3 rows, and with several threads also 5 to 9, give
others). So a step is padded to such a number, and the layers are tried out once.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

ROWS = 4
TRIED = (4, 8, 12, 20, 64)  # rows


def rounded(count: int, unit: int) -> int:
    """The smallest multiple of `unit` that is at least `count`."""
    return -(-count // unit) * unit


@torch.no_grad()
def is_batch_invariant(model: nn.Module) -> bool:
    """Whether each layer gives a row the same bits in products of any `ROWS` rows.

    False for every device but CPUs and for every format but float32, where attention was
    not found to keep that up.
    """
    parameter = next(model.parameters())
    if parameter.device.type != "cpu" or getattr(model, "dtype", None) != torch.float32:
        return False
    return all(_is_invariant(layer, width) for layer, width in _layers(model))


def _layers(model: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """One linear layer of each shape, and how wide its input is."""
    seen: set[tuple[int, int]] = set()
    for layer in model.modules():
        width, out = getattr(layer, "in_features", None), getattr(layer, "out_features", None)
        if isinstance(width, int) and isinstance(out, int) and (width, out) not in seen:
            seen.add((width, out))
            yield layer, width


def _is_invariant(layer: nn.Module, width: int) -> bool:
    dice = torch.Generator().manual_seed(0)
    rows = torch.randn(max(TRIED), width, generator=dice)
    # A vocabulary is wide: fewer rows are enough to tell.
    tried = TRIED if getattr(layer, "out_features", 0) < 2**15 else TRIED[:3]
    whole: Tensor = layer(rows[: tried[-1]])
    return all(torch.equal(layer(rows[:count]), whole[:count]) for count in tried[:-1])
