"""The inner loops of products with 8-bit weights, in the CPU's own instructions.

Without VNNI, sums of products of bytes do not fit sixteen bits. Weights are widened to shorts
then, and two inputs are multiplied at once, after Winograd: x·w + y·v = (x + v) · (y + w) -
x·y - w·v. The last two are worked out once, for a row and for an output.
"""

from typing import Any

from llvmlite import ir

from hermes_ui.generation.vectors import BYTE, INTEGER, LINE, WORD, Loop, ask_for, load, splat

DOT = "llvm.x86.avx512.vpdpbusd.512"  # bytes times bytes, added to integers in fours


class _Loop8(Loop):
    """A unit is a line. Of a row and of an output is kept by how much the sums are too large."""

    def finish(self, factors: Any, sums: Any, totals: Any, groups: Any) -> Any:
        """See `Loop`."""
        build, kind = self.builder, ir.VectorType(INTEGER, self.rows)
        own = splat(build, load(build, factors, INTEGER), self.rows)
        excess = build.add(own, load(build, sums, kind))
        whole = self.sums([self.load(totals, self.integers, row) for row in range(self.rows)])
        return build.sub(whole, excess)

    def _lines(self, codes: Any, step: Any) -> list[Any]:
        """The outputs' addresses; the same line of those that come next is asked for."""
        build = self.builder
        places = [
            build.add(codes, build.mul(step, WORD(output))) for output in range(2 * self.outputs)
        ]
        for place in places[self.outputs :]:
            ask_for(build, place)
        return places[: self.outputs]


class WidenedLoop(_Loop8):
    """Activations are shorts; those of a vector and of the next one are multiplied together."""

    taken = 2 * LINE

    def line(
        self, codes: Any, step: Any, factors: Any, unit: Any, whole: Any, sums: list[Any]
    ) -> None:
        """See `Loop`."""
        build, lines = self.builder, self._lines(codes, step)
        narrow = ir.VectorType(BYTE, self.shorts.count)
        for first in range(0, LINE // self.shorts.count, 2):
            both = first, first + 1
            weights = [
                [build.sext(self.load(line, narrow, place), self.shorts) for place in both]
                for line in lines
            ]
            for row in range(self.rows):
                own = build.add(whole, WORD(self.taken * row))
                x, y = (self.load(own, self.shorts, place) for place in both)
                for output, (w, v) in enumerate(weights):
                    more = self.in_pairs(build.add(x, v), build.add(y, w))
                    self.increase(sums[output * self.rows + row], more)


class DotLoop(_Loop8):
    """Activations are bytes without a sign, weights such with one."""

    taken = LINE

    def line(
        self, codes: Any, step: Any, factors: Any, unit: Any, whole: Any, sums: list[Any]
    ) -> None:
        """See `Loop`."""
        build = self.builder
        weights = [self.load(line, self.integers, 0) for line in self._lines(codes, step)]
        for row in range(self.rows):
            numbers = self.load(whole, self.integers, row)
            for output, own in enumerate(weights):
                total = sums[output * self.rows + row]
                build.store(self.dot(build.load(total), numbers, own), total)

    def dot(self, total: Any, numbers: Any, weights: Any) -> Any:
        """`total` and the products of bytes, four of them in each integer."""
        return self.call(DOT, self.integers, total, numbers, weights)
