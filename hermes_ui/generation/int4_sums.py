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


def adding(rows: int, width: int) -> Any:
    """An intrinsic: adds up the products of an output's codes and of so many rows' numbers.

    It takes the addresses of the output's codes and factors, of the rows' whole numbers, a group
    of each row after the other, and of the totals, a vector for each row; how many groups there
    are; and whether the totals begin with these.

    Args:
        rows: Of activations; each code is loaded once for all.
        width: Bytes of a vector, 32 or 64.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _Loop(builder, rows, width).add(*values)
        return context.get_dummy_value()

    @intrinsic
    def add(
        typing: Any, codes: Any, factors: Any, whole: Any, totals: Any, count: Any, is_first: Any
    ) -> Any:
        return types.void(*[types.int64] * 5, types.boolean), generate

    return add


def finishing(rows: int, width: int) -> Any:
    """An intrinsic: for each of so many rows, the sum of an output's products, int32.

    It takes the addresses of the output's factors, of the first row's sums by group, and of the
    totals that `adding` has left; and how many sums a row has, a multiple of `LANES`.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        sums = _Loop(builder, rows, width).finish(*values)
        return context.make_tuple(builder, signature.return_type, sums)

    @intrinsic
    def finish(typing: Any, factors: Any, sums: Any, totals: Any, groups: Any) -> Any:
        return types.UniTuple(types.int32, rows)(*[types.int64] * 4), generate

    return finish


class _Loop:
    """Writes the loop. Vectors are of bytes, of shorts or of integers, all of one width."""

    def __init__(self, builder: Any, rows: int, width: int) -> None:
        self.builder, self.rows, self.width = builder, rows, width
        self.products, self.pairs = PRODUCTS[width], PAIRS[width]
        self.bytes = ir.VectorType(BYTE, width)
        self.shorts = ir.VectorType(SHORT, width // 2)
        self.integers = ir.VectorType(INTEGER, width // 4)

    def add(
        self, codes: Any, factors: Any, whole: Any, totals: Any, count: Any, is_first: Any
    ) -> None:
        """Add code · number · factor to each row's total."""
        build, zero = self.builder, constant(self.integers, 0)
        before = [self._load(totals, self.integers, row) for row in range(self.rows)]
        sums = [
            cgutils.alloca_once_value(build, build.select(is_first, zero, each)) for each in before
        ]
        with cgutils.for_range(build, count) as loop:
            parts = self._codes(build.add(codes, build.mul(loop.index, WORD(GROUP // 2))))
            factor = load(build, build.add(factors, build.mul(loop.index, WORD(2))), SHORT)
            factor = splat(build, factor, self.shorts.count)
            numbers = build.add(whole, build.mul(loop.index, WORD(GROUP * self.rows)))
            for row, total in enumerate(sums):
                at = build.add(numbers, WORD(GROUP * row))
                products = [
                    self._call(self.products, self.shorts, part, self._load(at, self.bytes, place))
                    for place, part in enumerate(parts)
                ]
                group = products[0]
                for product in products[1:]:
                    group = build.add(group, product)
                more = self._call(self.pairs, self.integers, group, factor)
                build.store(build.add(build.load(total), more), total)
        for row, total in enumerate(sums):
            where = build.inttoptr(
                build.add(totals, WORD(self.width * row)), self.integers.as_pointer()
            )
            build.store(build.load(total), where, align=1)

    def finish(self, factors: Any, sums: Any, totals: Any, groups: Any) -> list[Any]:
        """Each row's sum, less what the codes are too large by, which are unsigned."""
        build = self.builder
        rest = [
            cgutils.alloca_once_value(build, self._load(totals, self.integers, row))
            for row in range(self.rows)
        ]
        with cgutils.for_range(build, build.udiv(groups, WORD(self.shorts.count))) as loop:
            factor = self._load(factors, self.shorts, loop.index)
            for row, total in enumerate(rest):
                own = build.add(sums, build.mul(groups, WORD(2 * row)))
                of_groups = self._load(own, self.shorts, loop.index)
                excess = self._call(self.pairs, self.integers, factor, of_groups)
                excess = build.mul(excess, constant(self.integers, ZERO))
                build.store(build.sub(build.load(total), excess), total)
        name = f"llvm.vector.reduce.add.v{self.integers.count}i32"
        return [self._call(name, INTEGER, build.load(total)) for total in rest]

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
