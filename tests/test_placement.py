"""Where a model runs, and in which number format."""

import pytest

from hermes_ui.errors import ModelError
from hermes_ui.generation.loading import ModelChoice
from hermes_ui.generation.placement import place
from hermes_ui.generation.weights import parameters
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


def test_a_small_model_runs_in_float32_on_a_cpu(tiny):
    placement = place(ModelChoice(tiny, "mine", ""), "cpu")

    assert (placement.device, placement.dtype) == ("cpu", "float32")
    assert 10_000 < parameters(tiny) < 1_000_000


def test_a_format_that_was_asked_for_is_used(tiny):
    assert place(ModelChoice(tiny, "mine", ""), "cpu", "bfloat16").dtype == "bfloat16"


def test_a_device_that_is_not_here_is_an_error(tiny):
    with pytest.raises(ModelError, match="cannot run on mps"):
        place(ModelChoice(tiny, "mine", ""), "mps")
