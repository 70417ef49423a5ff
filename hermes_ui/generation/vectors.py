"""What compiled loops have in common that run in vectors, those in LLVM's own words too.

Of floats numba finds the largest one by one, of whole numbers in vectors: hence their bits.
"""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WORD, INTEGER, SHORT, BYTE = (ir.IntType(bits) for bits in (64, 32, 16, 8))
FLOAT = ir.FloatType()
LINE = 64  # bytes that a CPU reads at once from memory
# Shorts times shorts, by the width of vectors, added in pairs.
PAIRS = {32: "llvm.x86.avx2.pmadd.wd", 64: "llvm.x86.avx512.pmaddw.d.512"}
MAGNITUDE = np.int32(0x7FFFFFFF)  # all bits of a float but its sign
SMALLEST, LARGEST = np.float32(-126), np.float32(127)  # exponents of normal numbers
LOG2_E = np.float32(1.4426950408889634)
# 2 ** x for x of 0 to 1: its interpolation in six Chebyshev nodes, off by 1e-7 at most.
POWER = tuple(map(np.float32, (0.99999990, 0.69315449, 0.24014182, 0.05586034, 0.00894959,
                               0.00189375)))  # fmt: skip


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


@njit(error_model="numpy")
def power_of_two(exponent: Any) -> Any:
    """2 ** exponent, float32, in the same operations anywhere; never 0 and never infinite."""
    exponent = min(max(exponent, SMALLEST), LARGEST)
    whole = np.floor(exponent)
    x = exponent - whole
    part = POWER[3] + x * (POWER[4] + x * POWER[5])
    part = POWER[0] + x * (POWER[1] + x * (POWER[2] + x * part))
    return as_float(np.uint32(as_bits(part) + (np.int32(whole) << np.int32(23))))


def width() -> int:
    """Bytes of the vectors that PyTorch uses here: 64 or 32; 0: they are shorter."""
    return {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability(), 0)


def has_dot() -> bool:
    """Whether this CPU adds up products of bytes in 32 bits, in vectors of 64: VNNI."""
    return width() == 64 and torch.cpu._is_vnni_supported()


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


class Loop:
    """Writes the inner loop of products. Vectors are of bytes, shorts or integers, of one width.

    Args:
        rows: Of activations; each weight is loaded once for all.
        outputs: That are worked out together.
        width: Bytes of a vector, 32 or 64.
    """

    taken: int  # bytes of a row's numbers that go with a line of codes

    def __init__(self, builder: Any, rows: int, outputs: int, width: int) -> None:
        self.builder, self.rows, self.outputs, self.width = builder, rows, outputs, width
        self.bytes = ir.VectorType(BYTE, width)
        self.shorts = ir.VectorType(SHORT, width // 2)
        self.integers = ir.VectorType(INTEGER, width // 4)

    def line(
        self, codes: Any, step: Any, factors: Any, unit: Any, whole: Any, sums: list[Any]
    ) -> None:
        """Add the products of a line of codes to the sums; see `add`, which has them in memory."""
        raise NotImplementedError

    def finish(self, factors: Any, sums: Any, totals: Any, groups: Any) -> Any:
        """Each row's sum of an output's products: a vector of so many integers.

        Takes the addresses of what is kept of the output and of the rows, so many numbers of each,
        and of the totals that `add` has left.
        """
        raise NotImplementedError

    def add(
        self, codes: Any, factors: Any, whole: Any, totals: Any, begin: Any, count: Any, step: Any
    ) -> None:
        """Add up the products of an output's units, or of a few outputs'.

        Args:
            codes: The address of the first line of codes; each has its own unit.
            factors: Of what is kept of the output beside its codes.
            whole: Of the rows' numbers, a unit of each row after the other.
            totals: Of a vector for each row of each output, which the first unit begins.
            begin: The number of the first unit here.
            count: How many there are.
            step: Bytes from an output's codes to those of the next.
        """
        build, zero, size = self.builder, constant(self.integers, 0), self.rows * self.taken
        is_first = build.icmp_signed("==", begin, WORD(0))
        sums = []
        for place in range(self.rows * self.outputs):
            before = self.load(totals, self.integers, place)
            sums.append(cgutils.alloca_once_value(build, build.select(is_first, zero, before)))
        with cgutils.for_range(build, count) as loop:
            self.line(
                build.add(codes, build.mul(loop.index, WORD(LINE))),
                step,
                factors,
                build.add(begin, loop.index),
                build.add(whole, build.mul(loop.index, WORD(size))),
                sums,
            )
        for place, total in enumerate(sums):
            self.store(build.load(total), build.add(totals, WORD(self.width * place)))

    def load(self, address: Any, kind: Any, place: Any) -> Any:
        """The vector at a place, counted in vectors."""
        build = self.builder
        place = place if isinstance(place, ir.Value) else WORD(place)
        size = WORD(kind.count * kind.element.width // 8)
        return load(build, build.add(address, build.mul(place, size)), kind)

    def store(self, vector: Any, address: Any) -> None:
        """Write a vector to memory."""
        where = self.builder.inttoptr(address, vector.type.as_pointer())
        self.builder.store(vector, where, align=1)

    def call(self, name: str, result: Any, *taken: Any) -> Any:
        """What one of LLVM's own functions makes of vectors."""
        kind = ir.FunctionType(result, [each.type for each in taken])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, taken)

    def in_pairs(self, left: Any, right: Any) -> Any:
        """Shorts times shorts, added in pairs: integers."""
        return self.call(PAIRS[self.width], self.integers, left, right)

    def increase(self, total: Any, more: Any) -> None:
        """Add a vector to what a variable holds."""
        self.builder.store(self.builder.add(self.builder.load(total), more), total)

    def sums(self, vectors: list[Any]) -> Any:
        """Of all that are in each of some vectors, in one: 1, 2, 4 … of no fewer lanes."""
        while vectors[0].type.count > len(vectors):
            vectors = [self._folded(each) for each in vectors]
        block = len(vectors)  # lanes that belong to one of them
        while len(vectors) > 1:
            half = len(vectors) // 2
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [self._joined(left, right, block) for left, right in pairs]
            block //= 2
        return vectors[0]

    def _folded(self, vector: Any) -> Any:
        """Its first half and its second one, added up."""
        half = vector.type.count // 2
        return self._picked_sum(vector, vector, list(range(half)), half)

    def _joined(self, left: Any, right: Any, block: int) -> Any:
        """Both of them in one, with the halves of each block added up."""
        count, places = left.type.count, []
        for start in range(0, count, block):
            first = range(start, start + block // 2)
            places += [*first, *(count + place for place in first)]
        return self._picked_sum(left, right, places, block // 2)

    def _picked_sum(self, left: Any, right: Any, places: list[int], apart: int) -> Any:
        """What is at some places of two vectors in a row, and so much further on, added up."""
        kind = ir.VectorType(INTEGER, len(places))
        first, second = (
            self.builder.shuffle_vector(
                left, right, ir.Constant(kind, [place + more for place in places])
            )
            for more in (0, apart)
        )
        return self.builder.add(first, second)
