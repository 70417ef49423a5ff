"""What the tests of products share: matrices to multiply, and what integers take."""

import torch
from torch import Tensor

from hermes_ui.generation.placement import has_integers
from tests.required import skip_or_fail


def random(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def need_integers() -> None:
    """Skip, or fail, where no matrices of integers can be multiplied."""
    if not has_integers():
        skip_or_fail("what multiplies integers")
