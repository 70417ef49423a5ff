"""A GPU's dice against those of `sampling.py`, in Triton's interpreter where there is no GPU."""

import math
import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="comes with PyTorch for GPUs")

from hermes_ui.generation import gpu_dice
from hermes_ui.generation.bursts import RowDice
from hermes_ui.generation.drafts import Drafter
from hermes_ui.generation.penalties import Tally
from hermes_ui.generation.request import Request
from hermes_ui.generation.sampling import next_tokens
from hermes_ui.params import SamplingParams

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
VOCABULARY = 3 * gpu_dice.BLOCK // 2
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter

KNOBS = {
    "greedy": {"temperature": 0},
    "as the app draws": {},
    "all tokens": {"top_p": 1, "min_p": 0, "repetition_penalty": 1},
    "cold": {"temperature": 0.05, "min_p": 0},
    "few": {"top_k": 5, "top_p": 1, "min_p": 0, "temperature": 2},
    "a nucleus of few": {"top_k": 40, "top_p": 0.5, "min_p": 0, "temperature": 1.5},
    "the first only": {"min_p": 1},
    "the likeliest": {"top_k": 1, "temperature": 2},
    "as cold as can be": {"temperature": 1e-38},
    "all penalties": {
        "repetition_penalty": 1.5, "frequency_penalty": 0.7, "presence_penalty": -0.4,
    },
}  # fmt: skip


def request(number=0, seed=0, **knobs):
    """A request that has read and written some tokens."""
    dice = torch.Generator().manual_seed(number)
    tally = Tally(torch.randint(VOCABULARY, (60,), generator=dice).tolist())
    made = Request(f"reply-{number}", SamplingParams(seed=seed, **knobs), tally, Drafter(()))
    for token in torch.randint(VOCABULARY, (20,), generator=dice).tolist() * 2:
        made.draw(token)
    return made


def logits_of(rows):
    return (3 * torch.randn(rows, VOCABULARY)).to(DEVICE)


def wanted(logits, requests):
    return next_tokens(
        logits,
        [each.params for each in requests],
        [each.tally for each in requests],
        [each.step for each in requests],
    ).tolist()


@pytest.mark.parametrize("knobs", KNOBS.values(), ids=KNOBS)
def test_they_draw_what_the_hosts_dice_draw(knobs):
    torch.manual_seed(1)
    requests = [request(number, seed, **knobs) for number, seed in enumerate((0, 2**63 - 1))]
    dice = RowDice(2, VOCABULARY, DEVICE)
    dice.lay(requests, 4, [0, 0])
    for step in range(4):
        logits = logits_of(2)
        expected = wanted(logits, requests)

        assert dice.draw(logits, step).tolist() == expected

        for each, token in zip(requests, expected, strict=True):
            each.draw(token)


def test_a_row_draws_for_whoever_is_laid_there():
    torch.manual_seed(2)
    first, second, third = (request(number, temperature=1.5) for number in range(3))
    dice = RowDice(2, VOCABULARY, DEVICE)
    dice.lay([first, second], 3, [0, 0])
    dice.draw(logits_of(2), 0)  # of a burst that went no further
    second.draw(5)
    dice.lay([second, third], 1, [0, 0])
    logits = logits_of(2)

    assert dice.draw(logits, 0).tolist() == wanted(logits, [second, third])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_said_and_harms_no_other_row(number):
    torch.manual_seed(3)
    requests = [request(row) for row in range(2)]
    dice = RowDice(2, VOCABULARY, DEVICE)
    dice.lay(requests, 2, [0, 0])
    logits = logits_of(2)
    logits[0, 7] = number

    drawn = dice.draw(logits, 0).tolist()

    assert drawn == [gpu_dice.BROKEN, *wanted(logits[1:], requests[1:])]


def test_rows_move_on_to_the_next_place_of_their_pages_and_stay_at_their_end():
    tables = torch.tensor([[4, 9], [7, 2], [3, 5]], dtype=torch.int32, device=DEVICE)
    tokens, ids, positions, lengths, places, ends = torch.tensor(
        [[11, gpu_dice.BROKEN, 13], [0, 0, 0], [31, 3, 40], [32, 4, 41], [159, 227, 168],
         [40, 40, 40]],
        device=DEVICE,
    )  # fmt: skip

    gpu_dice.move_on(tokens, ids, positions, lengths, places, ends, tables, 32)

    assert ids.tolist() == [11, 0, 13]
    assert positions.tolist() == [32, 4, 40]
    assert lengths.tolist() == [33, 5, 41]
    assert places.tolist() == [9 * 32, 7 * 32 + 4, 5 * 32 + 8]
