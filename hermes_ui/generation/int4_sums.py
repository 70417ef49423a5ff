"""The inner loop of products with 4-bit weights, in the CPU's own instructions.

Unsigned codes times signed activations are added in sixteen bits, where a group of sums fits,
and times the group's factor in thirty-two. The instructions are AVX2's, twice as wide with
AVX-512, and none is newer.
"""

from typing import Any

from numba.core import cgutils

from hermes_ui.generation.vectors import LINE, SHORT, WORD, Loop, ask_for, constant, load, splat

GROUP = 128  # inputs that share a factor; with this many, sums fit sixteen bits
LANES = 32  # factors, and sums of activations by group, are read so many at a time
CODES, ZERO = 16, 8  # values of a weight, and the one that stands for nothing

AHEAD = 4096  # bytes of codes that are asked for before they are needed
# Bytes times bytes, by the width of vectors, added in pairs.
PRODUCTS = {32: "llvm.x86.avx2.pmadd.ub.sw", 64: "llvm.x86.avx512.pmaddubs.w.512"}


class Loop4(Loop):
    """Its units are groups. Of an output factors are kept, of a row sums of its numbers."""

    taken = GROUP

    def line(
        self, codes: Any, step: Any, factors: Any, unit: Any, whole: Any, sums: list[Any]
    ) -> None:
        """Add code · number · factor to each row's total."""
        build, parts = self.builder, self._codes(codes)
        factor = load(build, build.add(factors, build.mul(unit, WORD(2))), SHORT)
        factor = splat(build, factor, self.shorts.count)
        for row, total in enumerate(sums):
            at = build.add(whole, WORD(GROUP * row))
            products = [
                self.call(PRODUCTS[self.width], self.shorts, part, self.load(at, self.bytes, place))
                for place, part in enumerate(parts)
            ]
            group = products[0]
            for product in products[1:]:
                group = build.add(group, product)
            self.increase(total, self.in_pairs(group, factor))

    def finish(self, factors: Any, sums: Any, totals: Any, groups: Any) -> Any:
        """Each row's sum, less what the codes are too large by, which are unsigned."""
        build = self.builder
        rest = [
            cgutils.alloca_once_value(build, self.load(totals, self.integers, row))
            for row in range(self.rows)
        ]
        with cgutils.for_range(build, build.udiv(groups, WORD(self.shorts.count))) as loop:
            factor = self.load(factors, self.shorts, loop.index)
            for row, total in enumerate(rest):
                own = build.add(sums, build.mul(groups, WORD(2 * row)))
                of_groups = self.load(own, self.shorts, loop.index)
                excess = build.mul(self.in_pairs(factor, of_groups), constant(self.integers, ZERO))
                build.store(build.sub(build.load(total), excess), total)
        return self.sums([build.load(total) for total in rest])

    def _codes(self, address: Any) -> list[Any]:
        """The codes of a group, in vectors of bytes: lower halves of some, then upper ones."""
        build, mask, parts = self.builder, constant(self.bytes, CODES - 1), []
        ask_for(build, build.add(address, WORD(AHEAD)))
        for place in range(LINE // self.width):
            pairs = self.load(address, self.bytes, place)
            moved = build.lshr(build.bitcast(pairs, self.shorts), constant(self.shorts, 4))
            parts += [build.and_(pairs, mask), build.and_(build.bitcast(moved, self.bytes), mask)]
        return parts
