"""What the tests of products share: matrices to multiply, and what 4 bits take."""

import torch
from torch import Tensor

from hermes_ui.generation.placement import has_int4
from tests.required import skip_or_fail


def random(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def need_int4() -> None:
    """Skip, or fail, where no weights of 4 bits can be multiplied."""
    if not has_int4():
        skip_or_fail("what multiplies weights of 4 bits")
