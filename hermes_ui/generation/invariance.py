"""Whether a token's numbers depend on what else is computed with it.

A product of matrices may add up in another order when it has another number of rows. On
CPUs, those of MKL in float32 give the same bits for every multiple of four rows (measured
with 1 to 16 threads, 4 to 640 rows; 1 to 3 rows, and with several threads also 5 to 9, give
others). So a step is padded to such a number, and the layers are tried out once. int8 layers
add up whole numbers, which is exact in any order, and a shortlist of logits row by row: their
steps are not padded.

Activations are divided among threads between a CPU's vectors only (see `Uncut`). Layers of
other kinds, such as the experts of a mixture, are not tried, and a model with them promises
nothing.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

ROWS = 4
TRIED = (1, 2, 3, 4, 8, 12, 20, 64)  # rows
# How many numbers PyTorch gives a thread at least: of SiLU, and of its most costly functions.
GRAIN, FINE_GRAIN = 32_768, 2_048
VECTOR = 64  # numbers; a multiple of what any CPU takes at once
ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")


class Uncut(nn.Module):
    """An activation whose rows come out alike whatever other rows there are.

    PyTorch gives each thread an equal part, which may end inside of a CPU's vector; numbers
    that do not fill one are computed by another exp, whose last bit may differ. Where that
    would be, rows are computed a few at a time, which no thread shares.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation
        self.is_coarse = isinstance(activation, nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        """(…, rows, width) in and out."""
        width = x.shape[-1]
        padded = pad(x, (0, -width % VECTOR)) if width % VECTOR else x
        if self.is_coarse and padded.is_contiguous() and _ends_with_vectors(padded.numel()):
            whole: Tensor = self.activation(padded)
            return whole[..., :width]
        most = GRAIN if self.is_coarse else FINE_GRAIN
        parts = torch.split(padded, max(1, (most - 1) // padded.shape[-1]), dim=-2)
        done = [self.activation(part) for part in parts]
        return (done[0] if len(done) == 1 else torch.cat(done, dim=-2))[..., :width]


def _ends_with_vectors(numbers: int) -> bool:
    """Whether each thread's part of so many is a multiple of `VECTOR`.

    As `at::parallel_for` divides what is done by `GRAIN`.
    """
    parts = min(torch.get_num_threads(), -(-numbers // GRAIN))
    return parts > 0 and -(-numbers // parts) % VECTOR == 0


def leave_activations_uncut(model: nn.Module) -> None:
    """Wrap the activations of a model on a CPU. In place."""
    if next(model.parameters()).device.type != "cpu":
        return
    for module in list(model.modules()):
        if isinstance(module, Uncut):
            continue
        for name, child in module.named_children():
            if type(child).__module__ in ACTIVATIONS:
                setattr(module, name, Uncut(child))


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
    if any(not isinstance(layer, nn.Linear) for layer in _with_matrices(model)):
        return False
    unit = row_unit(model)
    return all(_is_invariant(layer, width, unit) for layer, width in _layers(model))


def row_unit(model: nn.Module) -> int:
    """A step of `model` is to have a multiple of so many rows."""
    is_exact = next(_with_matrices(model), None) is None
    return 1 if is_exact or next(model.parameters()).device.type != "cpu" else ROWS


def _with_matrices(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that multiply with floating weights, as far as one can see from outside."""
    for module in model.modules():
        own = module.parameters(recurse=False)
        if not isinstance(module, nn.Embedding) and any(each.ndim >= 2 for each in own):
            yield module


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
