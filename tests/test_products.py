"""Matrices of integers, ours and PyTorch's: how exact, how independent of company and machine."""

import math
from importlib import import_module

import pytest
import torch

from hermes_ui.generation import fbgemm
from hermes_ui.generation.quantize import everything
from tests.matrices import need_products, random
from tests.required import skip_or_fail

PACKED = {"int8": "Packed8", "int4": "Packed4", "fbgemm": "Packed"}
ERRORS = {"int8": 0.015, "int4": 0.12, "fbgemm": 0.02}  # of products, relative; fbgemm's of 7 bits


@pytest.fixture(params=list(PACKED))
def kind(request):
    """A module with matrices of integers."""
    if request.param != "fbgemm":
        need_products()
    elif not fbgemm.is_available():
        skip_or_fail("fbgemm")
    return request.param


@pytest.fixture
def pack(kind):
    """What turns weights into a matrix of integers."""
    return getattr(import_module(f"hermes_ui.generation.{kind}"), PACKED[kind])


@pytest.fixture
def int8():
    """The module, which not every machine can import."""
    need_products()
    return import_module("hermes_ui.generation.int8")


def relative_error(said, exact):
    return ((said - exact).norm() / exact.norm()).item()


def whole_numbers(*shape, seed):
    """From -127 to 127, which they reach in every row, so that rounding leaves them alone."""
    dice = torch.Generator().manual_seed(seed)
    numbers = torch.randint(-127, 128, shape, generator=dice)
    numbers[:, 7] = 127
    return numbers


@pytest.mark.parametrize("inputs", [32, 128, 515, 3072])
@pytest.mark.parametrize("rows", [1, 3, 4, 131])
def test_the_product_is_near_the_exact_one(kind, pack, inputs, rows):
    weight, x = random(203, inputs), random(rows, inputs, seed=2)

    assert relative_error(pack(weight).product(x), x @ weight.T) < ERRORS[kind]


def test_the_product_is_exact_in_the_weights_and_rows_as_rounded(pack):
    packed = pack(random(70, 300))
    weight = packed.product(torch.eye(300)).T.double()
    x = whole_numbers(9, 300, seed=3).double()

    assert relative_error(packed.product(x.float()).double(), x @ weight.T) < 1e-6


@pytest.mark.parametrize("inputs", [8, 64, 100, 300, 5000])
@pytest.mark.parametrize("outputs", [1, 2, 5, 64, 131])
def test_products_of_whole_numbers_of_8_bits_are_exact(int8, inputs, outputs):
    weight, x = whole_numbers(outputs, inputs, seed=1), whole_numbers(15, inputs, seed=2)

    said = int8.Packed8(weight.float()).product(x.float())

    assert torch.equal(said.long(), x @ weight.T)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inputs", [16_384, 200_000])
def test_the_largest_sums_do_not_overflow(pack, inputs, sign):
    weight = torch.full((3, inputs), sign * 0.5)

    product = pack(weight).product(torch.ones(5, inputs))

    assert product == pytest.approx(sign * inputs / 2, rel=0.02)


def test_numbers_are_the_same_on_any_number_of_threads(pack, threads):
    packed, x = pack(random(333, 515)), random(37, 515, seed=2)
    said = []
    for number in (1, 2, 3, 5):
        threads(number)
        said.append(packed.product(x))

    assert all(torch.equal(each, said[0]) for each in said)


@pytest.mark.parametrize("kind", ["int8", "int4"], indirect=True)
def test_numbers_are_the_same_with_narrower_vectors(pack, monkeypatch):
    weight, x = random(333, 515), random(7, 515, seed=2)
    wide = pack(weight).product(x)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")

    assert torch.equal(pack(weight).product(x), wide)


def test_numbers_are_the_same_with_the_instruction_of_vnni(int8):
    """Which is spelled out here, so that every machine tests what is around it."""
    from llvmlite import ir  # noqa: PLC0415  # not on every machine

    from hermes_ui.generation.products import Packed  # noqa: PLC0415

    integer, byte = ir.IntType(32), ir.IntType(8)

    class SpelledOut(int8.DotLoop):
        def dot(self, total, numbers, weights):
            build, wide = self.builder, ir.VectorType(integer, 64)
            left, right = (
                build.bitcast(each, ir.VectorType(byte, 64)) for each in (numbers, weights)
            )
            product = build.mul(build.zext(left, wide), build.sext(right, wide))
            for first in range(4):
                places = ir.Constant(total.type, [first + 4 * lane for lane in range(16)])
                total = build.add(total, build.shuffle_vector(product, product, places))
            return total

    weight, x = random(333, 515), random(15, 515, seed=2)

    said = Packed(weight, int8.dotted(SpelledOut), everything).product(x)

    assert torch.equal(said, int8.Packed8(weight).product(x))


@pytest.mark.parametrize("inputs", [96, 4096, 5000, 16384])
def test_rows_have_the_same_bits_alone_and_together(pack, inputs):
    """Some are too wide for the nearest cache; all kinds of tiles are in 15 rows."""
    packed, x = pack(random(70, inputs)), random(15, inputs, seed=2)
    alone = torch.cat([packed.product(row[None]) for row in x])

    for count in range(2, 16):
        assert torch.equal(packed.product(x[:count]), alone[:count])


def test_only_what_is_taken_of_a_block_is_packed(pack):
    weight, x = random(1500, 96), random(3, 96, seed=2)

    taken = pack(weight, take=lambda block: block / 2).product(x)

    assert torch.equal(taken, pack(weight / 2).product(x))


def test_a_row_of_zeros_stays_zero(pack):
    assert torch.equal(pack(random(16, 32)).product(torch.zeros(1, 32)), torch.zeros(1, 16))


def test_weights_of_zero_give_zero(pack):
    said = pack(torch.zeros(16, 96)).product(random(9, 96))

    assert torch.equal(said, torch.zeros(9, 16))


def test_no_rows_give_no_rows(pack):
    assert pack(random(16, 32)).product(torch.empty(0, 32)).shape == (0, 16)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_shows_in_its_own_row_only(pack, odd):
    x = random(11, 32)
    x[1, 5] = x[9, 5] = odd

    finite = pack(random(16, 32)).product(x).isfinite()

    assert finite.all(dim=1).tolist() == [row not in (1, 9) for row in range(11)]
    assert finite.any(dim=1).tolist() == [row not in (1, 9) for row in range(11)]
