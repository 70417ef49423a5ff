"""The inner loop of products with 4-bit weights, in the CPU's own instructions.

Unsigned codes times signed activations are added in sixteen bits, where a group of sums fits,
and times the group's factor in thirty-two. The instructions are AVX2's, twice as wide with
AVX-512, and none is newer.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hermes_ui.generation.vectors import BYTE, INTEGER, SHORT, WORD, ask_for, constant, load, splat

GROUP = 128  # inputs that share a factor; with this many, sums fit sixteen bits
LANES = 32  # factors, and sums of activations by group, are read so many at a time
CODES, ZERO = 16, 8  # values of a weight, and the one that stands for nothing

AHEAD = 4096  # bytes of codes that are asked for before they are needed
# By the width of vectors: bytes times bytes, and shorts times shorts, each added in pairs.
PRODUCTS = {32: "llvm.x86.avx2.pmadd.ub.sw", 64: "llvm.x86.avx512.pmaddubs.w.512"}
PAIRS = {32: "llvm.x86.avx2.pmadd.wd", 64: "llvm.x86.avx512.pmaddw.d.512"}


def sums_of(rows: int, width: int) -> Any:
    """An intrinsic: for each of so many rows, the sum of an output's products, int32.

    It takes the addresses of the output's codes and factors, of the first row's whole numbers
    and of their sums by group; then how many of them a row has, padded: numbers and sums.

    Args:
        rows: Of activations; each is loaded once for all.
        width: Bytes of a vector, 32 or 64.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        loop = _Loop(builder, rows, width)
        loop.multiply(*values)
        return context.make_tuple(builder, signature.return_type, loop.results())

    @intrinsic
    def sums(
        typing: Any, codes: Any, factors: Any, whole: Any, sums: Any, padded: Any, groups: Any
    ) -> Any:
        return types.UniTuple(types.int32, rows)(*[types.int64] * 6), generate

    return sums


class _Loop:
    """Writes the loop. Vectors are of bytes, of shorts or of integers, all of one width."""

    def __init__(self, builder: Any, rows: int, width: int) -> None:
        self.builder, self.width = builder, width
        self.products, self.pairs = PRODUCTS[width], PAIRS[width]
        self.bytes = ir.VectorType(BYTE, width)
        self.shorts = ir.VectorType(SHORT, width // 2)
        self.integers = ir.VectorType(INTEGER, width // 4)
        zero = constant(self.integers, 0)
        self.totals = [cgutils.alloca_once_value(builder, zero) for _ in range(rows)]

    def multiply(
        self, codes: Any, factors: Any, whole: Any, sums: Any, padded: Any, groups: Any
    ) -> None:
        """Add up (code - ZERO) · number · factor, for each row."""
        build = self.builder
        with cgutils.for_range(build, build.udiv(padded, WORD(GROUP))) as loop:
            at = build.mul(loop.index, WORD(GROUP))
            parts = self._codes(build.add(codes, build.udiv(at, WORD(2))))
            factor = load(build, build.add(factors, build.mul(loop.index, WORD(2))), SHORT)
            factor = splat(build, factor, self.shorts.count)
            for number, total in enumerate(self.totals):
                row = build.add(build.add(whole, build.mul(padded, WORD(number))), at)
                products = [
                    self._call(self.products, self.shorts, part, self._load(row, self.bytes, place))
                    for place, part in enumerate(parts)
                ]
                group = products[0]
                for product in products[1:]:
                    group = build.add(group, product)
                self._add(total, self._call(self.pairs, self.integers, group, factor))
        # The codes are unsigned: what they are too large by goes off for whole groups.
        with cgutils.for_range(build, build.udiv(groups, WORD(self.shorts.count))) as loop:
            factor = self._load(factors, self.shorts, loop.index)
            for number, total in enumerate(self.totals):
                row = build.add(sums, build.mul(groups, WORD(2 * number)))
                of_groups = self._load(row, self.shorts, loop.index)
                excess = self._call(self.pairs, self.integers, factor, of_groups)
                self._add(total, build.mul(excess, constant(self.integers, -ZERO)))

    def results(self) -> list[Any]:
        """The sum of each row's total."""
        name = f"llvm.vector.reduce.add.v{self.integers.count}i32"
        return [self._call(name, INTEGER, self.builder.load(total)) for total in self.totals]

    def _codes(self, address: Any) -> list[Any]:
        """The codes of a group, in vectors of bytes: lower halves of some, then upper ones."""
        build, mask, parts = self.builder, constant(self.bytes, CODES - 1), []
        ask_for(build, build.add(address, WORD(AHEAD)))
        for place in range(GROUP // (2 * self.width)):
            pairs = self._load(address, self.bytes, place)
            moved = build.lshr(build.bitcast(pairs, self.shorts), constant(self.shorts, 4))
            parts += [build.and_(pairs, mask), build.and_(build.bitcast(moved, self.bytes), mask)]
        return parts

    def _load(self, address: Any, kind: Any, place: Any) -> Any:
        """The vector at a place, counted in vectors."""
        build = self.builder
        place = place if isinstance(place, ir.Value) else WORD(place)
        return load(build, build.add(address, build.mul(place, WORD(self.width))), kind)

    def _call(self, name: str, result: Any, *taken: Any) -> Any:
        """What one of LLVM's own functions makes of vectors."""
        kind = ir.FunctionType(result, [each.type for each in taken])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, taken)

    def _add(self, total: Any, more: Any) -> None:
        self.builder.store(self.builder.add(self.builder.load(total), more), total)
