"""Linear layers in integers for CPUs, in which a row's numbers do not depend on the other rows.

Weights have a symmetric scale per output, activations one per token. The products are sums of
integers, hence exact in any order, and what follows is done element by element: the same row
gives the same bits alone and in any batch. What multiplies is our own, see `products`, and
for weights of 8 bits PyTorch's where ours does not run, see `fbgemm`.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from hermes_ui.generation.products import Packed

Take = Callable[[Tensor], Tensor]

STEPS = 127  # of an activation, on either side of zero
TINY = 1e-30  # a row of zeros is divided by this and stays zero
BLOCK_ROWS = 8192  # of a matrix that are rounded at once, which takes little memory


@functools.cache  # failing to import takes milliseconds every time
def has_products() -> bool:
    """Whether our own products run here: what int4 takes, and int8 prefers."""
    try:
        from hermes_ui.generation.products import is_available  # noqa: PLC0415  # takes a second
    except ImportError:
        return False
    return is_available()


def is_available(kind: str) -> bool:
    """Whether this machine has what "int8" or "int4" takes."""
    from hermes_ui.generation import fbgemm  # noqa: PLC0415  # it imports from here

    return has_products() or (kind == "int8" and fbgemm.is_available())


def weight_bits() -> int:
    """How many bits a weight of int8 has here."""
    from hermes_ui.generation import fbgemm  # noqa: PLC0415  # it imports from here

    return 8 if has_products() else fbgemm.weight_bits()


def largest(bits: int) -> int:
    """The largest whole number of so many bits, on either side of zero."""
    return (1 << bits - 1) - 1


def everything(block: Tensor) -> Tensor:
    """Take all of a block of weights as it is."""
    return block


class Product(Protocol):
    """A matrix that is packed for products."""

    def product(self, rows: Tensor) -> Tensor: ...


class PackedFine:
    """A matrix with 15 bits for weights and activations, in three products of 8 bits."""

    def __init__(self, weight: Tensor) -> None:
        self._main = _packed8(weight)
        self._rest = _packed8(weight, take=_rounding)

    def product(self, rows: Tensor) -> Tensor:
        """See `Product`."""
        size = loudest(rows)
        coarse = (rows / size * STEPS).round_().div_(STEPS).mul_(size)
        fine = self._main.product(rows - coarse)
        return fine.add_(self._main.product(coarse)).add_(self._rest.product(rows))


class Siblings:
    """Layers that read the same input: a single row is multiplied with all of them at once.

    The first that is asked works for the others too, which are told by the input itself.
    """

    def __init__(self, whole: "Packed", outputs: Sequence[int]) -> None:
        """`whole` has the `outputs` of the layers, so many each, in a row."""
        self.whole = whole
        self._outputs = list(outputs)
        self._read: Tensor | None = None
        self._waiting: dict[int, Tensor] = {}  # by the layer's number

    def product(self, x: Tensor, number: int) -> Tensor:
        """(1, outputs) of the layer of this number, for an `x` of one row."""
        if self._read is not x or number not in self._waiting:
            result = self.whole.product(x.reshape(1, -1).float())
            self._waiting = dict(enumerate(torch.split(result, self._outputs, 1)))
            self._read = x
        return self._waiting.pop(number)


class Int8Linear(nn.Module):
    """Stands in for an `nn.Linear`.

    Args:
        weight: (outputs, inputs).
        outliers: Inputs that are much louder than the rest. They get a matrix of their own, in
            float32 or 15 bits, or else the rest would drown in their rounding. None: there are
            none.
        is_fine: Spend 15 bits on all inputs.
        is_coarse: Spend 4 bits on the weights of all but the outliers; see `int4`.

    Attributes:
        main: The matrix; where there are outliers, of all other inputs.
        loud: That of the outliers.
    """

    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        outliers: Tensor | None = None,
        is_fine: bool = False,
        is_coarse: bool = False,
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.outliers = outliers
        self.is_fine = is_fine
        self.is_coarse = is_coarse
        self.loud: Product | None = None
        self._siblings: tuple[Siblings, int] | None = None
        pack = _packed4 if is_coarse else _packed8
        if outliers is not None:
            self.loud = _exact(weight[:, outliers])
            self.main = pack(weight, take=lambda block: block.index_fill(1, outliers, 0))
        else:
            self.main = PackedFine(weight) if is_fine else pack(weight)
        self.register_buffer("bias", None if bias is None else bias.float())

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs), in the dtype of `x`."""
        rows = x.reshape(-1, self.in_features).float()
        if self._siblings is not None and len(rows) == 1:
            siblings, number = self._siblings
            out = siblings.product(x, number)
        elif self.outliers is None or self.loud is None:
            out = self.main.product(rows)
        else:
            out = self.main.product(rows.index_fill(1, self.outliers, 0))
            out += self.loud.product(rows[:, self.outliers])
        if self.bias is not None:
            out += self.bias
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)

    @property
    def siblings(self) -> Siblings | None:
        """With which others the layer works together."""
        return self._siblings[0] if self._siblings else None

    def extra_repr(self) -> str:
        kind = "15 bits" if self.is_fine else "4 bits" if self.is_coarse else "8 bits"
        loud = 0 if self.outliers is None else len(self.outliers)
        return f"{self.in_features}, {self.out_features}, {kind}, outliers={loud}"


def join(layers: Sequence[Int8Linear]) -> None:
    """Let `layers`, which read the same input, work together where they can. In place."""
    if not has_products():
        return
    from hermes_ui.generation import products  # noqa: PLC0415  # not on every machine

    parts = [
        each.main
        for each in layers
        if each.outliers is None and isinstance(each.main, products.Packed)
    ]
    whole = products.join(parts) if 1 < len(parts) == len(layers) else None
    if whole is not None:
        siblings = Siblings(whole, [each.out_features for each in layers])
        for number, layer in enumerate(layers):
            layer._siblings = siblings, number


class Int8Embedding(nn.Module):
    """Stands in for an `nn.Embedding`: rows of int8, each with its scale.

    Args:
        weight: (rows, width); read a block at a time, and not kept.
        dtype: Of what is looked up.
    """

    rows: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.register_buffer("rows", torch.empty(weight.shape, dtype=torch.int8))
        self.register_buffer("scales", torch.empty(weight.shape[0], 1))
        for part in blocks(weight.shape[0]):
            self.rows[part], self.scales[part] = in_whole_numbers(weight[part], STEPS)

    def forward(self, ids: Tensor) -> Tensor:
        """(…) ids → (…, width)."""
        return (self.rows[ids] * self.scales[ids]).to(self._dtype)


def _exact(weight: Tensor) -> Product:
    """A matrix of few inputs."""
    if not has_products():
        return PackedFine(weight)
    from hermes_ui.generation.loud import Loud  # noqa: PLC0415  # not on every machine

    return Loud(weight)


def _packed8(weight: Tensor, **options: Any) -> Product:
    if not has_products():
        from hermes_ui.generation import fbgemm  # noqa: PLC0415  # it imports from here

        return fbgemm.Packed(weight, **options)
    from hermes_ui.generation.int8 import Packed8  # noqa: PLC0415  # not on every machine

    return Packed8(weight, **options)


def _packed4(weight: Tensor, **options: Any) -> Product:
    from hermes_ui.generation.int4 import Packed4  # noqa: PLC0415  # not on every machine

    return Packed4(weight, **options)


def blocks(rows: int) -> Iterator[slice]:
    """Of so many rows, as many as are rounded at once."""
    return (slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS))


def in_whole_numbers(weight: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """int8 within ±`most`, and the scale of each row (rows, 1), float32."""
    exact = weight.to(torch.float32, copy=True)
    # As `loudest`, without a second copy of what may be 100 MB.
    highest, lowest = exact.amax(-1, keepdim=True), exact.amin(-1, keepdim=True)
    scales = torch.maximum(highest, lowest.neg_()).clamp_min_(TINY).div_(most)
    return exact.div_(scales).round_().to(torch.int8), scales


def loudest(rows: Tensor) -> Tensor:
    """The largest absolute value of each row (rows, 1), never 0."""
    return rows.abs().amax(dim=-1, keepdim=True).clamp_min_(TINY)


def _rounding(weight: Tensor) -> Tensor:
    """What rounding takes away, float32."""
    rounded, scales = in_whole_numbers(weight, largest(weight_bits()))
    return weight.float() - rounded * scales
