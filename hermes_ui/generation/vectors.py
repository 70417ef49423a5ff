"""What loops that are written in LLVM's vectors have in common. `build` is an `IRBuilder`."""

from typing import Any

from llvmlite import ir

WORD, INTEGER, SHORT, BYTE = (ir.IntType(bits) for bits in (64, 32, 16, 8))
FLOAT = ir.FloatType()


def load(build: Any, address: Any, kind: Any, align: int = 1) -> Any:
    """What lies at an address, of which no more is known than `align`."""
    return build.load(build.inttoptr(address, kind.as_pointer()), align=align)


def same(kind: Any, value: int) -> Any:
    """A constant with `value` in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def in_all(build: Any, value: Any, lanes: int) -> Any:
    """`value` in every lane."""
    nothing = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = build.insert_element(nothing, value, INTEGER(0))
    return build.shuffle_vector(first, nothing, same(ir.VectorType(INTEGER, lanes), 0))


def ask_for(build: Any, address: Any) -> None:
    """Prefetch a line of memory, to be read soon."""
    where = build.inttoptr(address, BYTE.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [where.type, INTEGER, INTEGER, INTEGER])
    function = build.module.declare_intrinsic("llvm.prefetch", [where.type], kind)
    build.call(function, [where, INTEGER(0), INTEGER(3), INTEGER(1)])
