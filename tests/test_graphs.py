"""What recorded steps read, laid out in buffers; all but the recording works on a CPU too."""

import os
from types import SimpleNamespace

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="comes with PyTorch for GPUs")

from hermes_ui.generation.graphs import Inputs
from hermes_ui.generation.rows import Row

IDS = torch.tensor([[7, 8]])


def filled(inputs, *tables):
    """The tables that a step of these requests would read."""
    rows = [Row(str(number), table, 40) for number, table in enumerate(tables)]
    step = SimpleNamespace(tokens=len(rows), rows=rows, places=[0] * len(rows))
    inputs.fill({"input_ids": IDS, "position_ids": IDS}, step, 2, trash=99)
    return inputs.of(2)[2][: len(rows)].tolist()


def test_a_page_that_was_exchanged_for_an_equal_one_is_read_there():
    inputs = Inputs(2, 3, torch.device("cpu"))
    table = [10, 11]

    before = filled(inputs, table)
    table[0] = 2  # as the library does with a page that it has kept already

    assert (before, filled(inputs, table)) == ([[10, 11, 0]], [[2, 11, 0]])


def test_requests_that_change_places_are_laid_out_anew():
    inputs = Inputs(2, 3, torch.device("cpu"))
    filled(inputs, [10, 11], [12])

    assert filled(inputs, [12], [10, 11]) == [[12, 0, 0], [10, 11, 0]]
