"""What compiled loops have in common that run in vectors, those in LLVM's own words too.

Of floats numba finds the largest one by one, of whole numbers in vectors: hence their bits.
"""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

WORD, INTEGER, SHORT, BYTE = (ir.IntType(bits) for bits in (64, 32, 16, 8))
FLOAT = ir.FloatType()
MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float but its sign


@intrinsic
def as_float(typing: Any, bits: Any) -> Any:
    """The float32 of these bits."""
    return types.float32(types.uint32), lambda _, builder, __, values: builder.bitcast(
        values[0], FLOAT
    )


@intrinsic
def as_bits(typing: Any, number: Any) -> Any:
    """The bits of a float32."""
    return types.int32(types.float32), lambda _, builder, __, values: builder.bitcast(
        values[0], INTEGER
    )


@njit
def in_order(number: Any) -> Any:
    """A whole number that is larger where the float32 is; see `from_order`.

    What is no number is larger than all, or smaller where its sign is set.
    """
    return _turned(as_bits(number))


@njit
def from_order(bits: Any) -> Any:
    """The float32 of a whole number of `in_order`."""
    return as_float(np.uint32(_turned(bits)))


@njit
def _turned(bits: Any) -> Any:
    """Negative floats have their bits the other way round."""
    return np.int32(bits ^ np.int32(np.int32(bits >> np.int32(31)) & MAGNITUDE))


def width() -> int:
    """Bytes of the vectors that PyTorch uses here: 64 or 32; 0: they are shorter."""
    return {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 0)


# In the loops below, `build` is an `IRBuilder`.


def load(build: Any, address: Any, kind: Any, align: int = 1) -> Any:
    """What lies at an address, of which no more is known than `align`."""
    return build.load(build.inttoptr(address, kind.as_pointer()), align=align)


def constant(kind: Any, value: int) -> Any:
    """A constant with `value` in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def splat(build: Any, value: Any, lanes: int) -> Any:
    """`value` in every lane."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = build.insert_element(nothing, value, INTEGER(0))
    return build.shuffle_vector(first, nothing, constant(ir.VectorType(INTEGER, lanes), 0))


def ask_for(build: Any, address: Any) -> None:
    """Prefetch a line of memory, to be read soon."""
    where = build.inttoptr(address, BYTE.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [where.type, INTEGER, INTEGER, INTEGER])
    function = build.module.declare_intrinsic("llvm.prefetch", [where.type], kind)
    build.call(function, [where, INTEGER(0), INTEGER(3), INTEGER(1)])
