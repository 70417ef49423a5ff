"""int8 linear layers for CPUs, in which a row's numbers do not depend on the other rows.

Weights have one symmetric scale per output, activations one per token. The products are sums
of integers, hence exact in any order, and what follows is done element by element: the same
row gives the same bits alone and in any batch. (PyTorch's own `linear_dynamic` does not: its
activation scale spans the batch.) The kernels are fbgemm's, and for weights of 4 bits our own.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

Bits = Literal[7, 8]
_Take = Callable[[Tensor], Tensor]

STEPS = 127  # of an activation, on either side of zero
ZERO = 128  # where fbgemm's unsigned activations have their zero
TINY = 1e-30  # a row of zeros is divided by this and stays zero
BLOCK_ROWS = 8192  # outputs packed at once, so that packing a head takes little memory


def is_available() -> bool:
    """Whether this build of PyTorch has the kernels: on x86, not on ARM."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def weight_bits() -> Bits:
    """How many bits a weight may have on this CPU, found by trying.

    Without VNNI the kernels add two products in 16 bits, and 255 × 127 twice does not fit:
    the sum is silently wrong. Weights of 7 bits fit.
    """
    width = 64
    packed = Packed(torch.ones(width, width), bits=8)
    is_exact = packed.product(torch.ones(1, width))[0, 0].item() > 0.99 * width
    return 8 if is_exact else 7


class _Product(Protocol):
    """A matrix that is packed for products."""

    def product(self, rows: Tensor) -> Tensor: ...


class Packed:
    """An (outputs, inputs) matrix of int8 in fbgemm's own layout.

    Args:
        weight: Any floating dtype; read a block at a time, and not kept.
        bits: 7 keeps the weights within ±63; see `weight_bits`.
        take: What of each block is packed.
    """

    def __init__(self, weight: Tensor, bits: Bits, take: _Take = lambda block: block) -> None:
        self.outputs = weight.shape[0]
        self._blocks = [_pack(take(weight[part]), bits) for part in _blocks(self.outputs)]

    def product(self, rows: Tensor) -> Tensor:
        """`rows` (n, inputs), float32, times the matrix: (n, outputs), float32."""
        multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        size = _loudest(rows)
        scaled = rows / size
        parts = [multiply(scaled, 1 / STEPS, ZERO, block) for block in self._blocks]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)).mul_(size)


class PackedFine:
    """A `Packed` with 15 bits for weights and activations, in three products of 8 bits."""

    def __init__(self, weight: Tensor, bits: Bits) -> None:
        self._main = Packed(weight, bits)
        self._rest = Packed(weight, bits, lambda block: _rounding(block, bits))

    def product(self, rows: Tensor) -> Tensor:
        """See `Packed.product`."""
        size = _loudest(rows)
        coarse = (rows / size * STEPS).round_().div_(STEPS).mul_(size)
        fine = self._main.product(rows - coarse)
        return fine.add_(self._main.product(coarse)).add_(self._rest.product(rows))


class Int8Linear(nn.Module):
    """Stands in for an `nn.Linear`.

    Args:
        weight: (outputs, inputs).
        outliers: Inputs that are much louder than the rest. They get a matrix of their own,
            of 15 bits, or else the rest would drown in their rounding. None: there are none.
        is_fine: Spend 15 bits on all inputs.
        is_coarse: Spend 4 bits on the weights of all but the outliers; see `int4`.
    """

    bias: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        bits: Bits,
        outliers: Tensor | None = None,
        is_fine: bool = False,
        is_coarse: bool = False,
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.outliers = outliers
        self.is_fine = is_fine
        self.is_coarse = is_coarse
        self._loud: PackedFine | None = None
        pack: Callable[..., _Product] = _packed4 if is_coarse else partial(Packed, bits=bits)
        if outliers is not None:
            self._loud = PackedFine(weight[:, outliers], bits)
            self._main = pack(weight, take=lambda block: block.index_fill(1, outliers, 0))
        else:
            self._main = PackedFine(weight, bits) if is_fine else pack(weight)
        self.register_buffer("bias", None if bias is None else bias.float())

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…, outputs), in the dtype of `x`."""
        rows = x.reshape(-1, self.in_features).float()
        if self.outliers is None or self._loud is None:
            out = self._main.product(rows)
        else:
            out = self._main.product(rows.index_fill(1, self.outliers, 0))
            out += self._loud.product(rows[:, self.outliers])
        if self.bias is not None:
            out += self.bias
        return out.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        kind = "15 bits" if self.is_fine else "4 bits" if self.is_coarse else "8 bits"
        loud = 0 if self.outliers is None else len(self.outliers)
        return f"{self.in_features}, {self.out_features}, {kind}, outliers={loud}"


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
        for part in _blocks(weight.shape[0]):
            self.rows[part], self.scales[part] = _whole_numbers(weight[part], STEPS)

    def forward(self, ids: Tensor) -> Tensor:
        """(…) ids → (…, width)."""
        return (self.rows[ids] * self.scales[ids]).to(self._dtype)


def _packed4(weight: Tensor, **options: Any) -> _Product:
    from hermes_ui.generation.int4 import Packed4  # noqa: PLC0415  # not on every machine

    return Packed4(weight, **options)


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_ROWS) for start in range(0, rows, BLOCK_ROWS))


def _whole_numbers(weight: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """int8 within ±`most`, and the scale of each row (rows, 1), float32."""
    exact = weight.to(torch.float32, copy=True)
    # As `_loudest`, without a second copy of what may be 100 MB.
    highest, lowest = exact.amax(-1, keepdim=True), exact.amin(-1, keepdim=True)
    scales = torch.maximum(highest, lowest.neg_()).clamp_min_(TINY).div_(most)
    return exact.div_(scales).round_().to(torch.int8), scales


def _loudest(rows: Tensor) -> Tensor:
    """The largest absolute value of each row (rows, 1), never 0."""
    return rows.abs().amax(dim=-1, keepdim=True).clamp_min_(TINY)


def _rounding(weight: Tensor, bits: Bits) -> Tensor:
    """What rounding to `bits` takes away, float32."""
    whole, scales = _whole_numbers(weight, _most(bits))
    return weight.float() - whole * scales


def _most(bits: Bits) -> int:
    return 127 if bits == 8 else 63


def _pack(weight: Tensor, bits: Bits) -> Any:
    whole, scales = _whole_numbers(weight, _most(bits))
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
