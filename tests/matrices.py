"""What the tests of products share: matrices to multiply, and what integers take."""

import pytest
import torch
from torch import Tensor

from hermes_ui.generation import quantize
from hermes_ui.generation.quantize import has_products, is_available
from tests.required import skip_or_fail


def random(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def need_products() -> None:
    """Skip, or fail, where our own products of integers do not run."""
    if not has_products():
        skip_or_fail("what multiplies integers")


def need_int8() -> None:
    """Skip, or fail, where neither our own products nor PyTorch's run."""
    if not is_available("int8"):
        skip_or_fail("what multiplies integers")


def take_products_away(patch: pytest.MonkeyPatch) -> None:
    """Make this a machine on which our own products do not run."""
    ask_again(patch)
    if has_products():
        patch.setattr("hermes_ui.generation.products.is_available", lambda: False)


def ask_again(patch: pytest.MonkeyPatch) -> None:
    """Have it found out anew, each time, whether our own products run."""
    patch.setattr(quantize, "has_products", has_products.__wrapped__)
