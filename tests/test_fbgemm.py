"""PyTorch's products: which weights they multiply rightly, and that models speak with them.

How exact they are, and how independent of company, is in `test_products` and `test_quantize`.
"""

import logging
import os
import subprocess
import sys

import pytest
import torch

from hermes_ui import generation
from hermes_ui.generation import fbgemm
from hermes_ui.generation.engine import Finish, TextDelta
from hermes_ui.generation.loading import ModelChoice, load
from hermes_ui.generation.placement import place
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from tests.engine_contract import ask
from tests.matrices import ask_again, random, take_products_away
from tests.required import skip_or_fail
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="module", autouse=True)
def _fbgemm():
    if not fbgemm.is_available():
        skip_or_fail("fbgemm")


@pytest.fixture(scope="module")
def choice(tmp_path_factory):
    return ModelChoice(write_tiny_model(tmp_path_factory.mktemp("tiny")), "mine", "")


def said_in_int8(choice):
    """Why the model is in int8, what the seal says of that, and the events of a reply."""
    placement = place(choice, "cpu", quantize="int8")
    engine = load(choice, placement)
    events = list(
        engine.stream(ask(Message("user", "Say hello.")), SamplingParams(max_tokens=12, seed=1))
    )
    engine.close()
    return placement.why, engine.identity.quantization, events


def test_packing_by_blocks_changes_nothing(monkeypatch):
    weight, x = random(100, 32), random(5, 32, seed=2)
    whole = fbgemm.Packed(weight).product(x)

    monkeypatch.setattr("hermes_ui.generation.quantize.BLOCK_ROWS", 33)

    assert torch.equal(fbgemm.Packed(weight).product(x), whole)


def test_kernels_without_vnni_are_right_with_7_bits_and_wrong_with_8():
    """fbgemm is told to use its AVX2 kernels, so that every x86 machine tests them."""
    code = (
        "import torch\n"
        "from hermes_ui.generation.fbgemm import Packed, weight_bits\n"
        "said = {bits: Packed(torch.ones(64, 64), bits=bits).product(torch.ones(20, 64))"
        " for bits in (7, 8)}\n"
        "print(weight_bits(), *(bool(((said[bits] - 64).abs() < 0.1).all()) for bits in said))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"FBGEMM_ENABLE_INSTRUCTIONS": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.split() == ["7", "True", "False"]


@pytest.mark.parametrize(
    ("bits", "seal"),
    [pytest.param(7, "int8 (7-bit weights)", id="7"), pytest.param(8, "int8", id="8")],
)
def test_a_model_in_int8_speaks_where_our_own_products_do_not_run(choice, monkeypatch, bits, seal):
    take_products_away(monkeypatch)
    monkeypatch.setattr(fbgemm, "weight_bits", lambda: bits)

    why, quantization, events = said_in_int8(choice)

    assert any(isinstance(event, TextDelta) for event in events)
    assert isinstance(events[-1], Finish)
    assert quantization.split(", ")[0] == seal
    assert "PyTorch's fbgemm multiplies" in why
    assert ("7 bits, because this CPU has no VNNI" in why) is (bits == 7)


def test_without_numba_int8_attends_in_tiles_and_says_so(choice, monkeypatch, caplog):
    ask_again(monkeypatch)
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("products", "kernel"):
        monkeypatch.delitem(sys.modules, f"hermes_ui.generation.{name}", raising=False)
        monkeypatch.delattr(generation, name, raising=False)

    with caplog.at_level(logging.WARNING):
        why, quantization, events = said_in_int8(choice)

    assert any(isinstance(event, TextDelta) for event in events)
    assert quantization.startswith("int8")
    assert "PyTorch's fbgemm multiplies" in why
    assert "keys and values" not in quantization
    assert "int8 attends slowly here, without numba" in caplog.text
