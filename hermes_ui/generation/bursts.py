"""Bursts: several steps of replies in a row on a GPU, of which the host hears at the end.

Between two steps the host schedules, draws and hands out for longer than a GPU takes to
compute a step. So while nothing else is to be done, the GPU draws the tokens itself and goes
on with them (what vLLM calls multi-step scheduling). To the scheduler a burst is a draft that
was right up to where a reply ended.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hermes_ui.errors import first_line
from hermes_ui.generation import gpu_dice
from hermes_ui.generation.paging import BURST
from hermes_ui.generation.request import Request
from hermes_ui.generation.sampling import mixed
from hermes_ui.params import SamplingParams

COLDEST = 1e-6  # temperature above 0: logits stay finite

_log = logging.getLogger(__name__)


class RowDice:
    """What the GPU knows of the replies in a burst, one a row.

    Args:
        most: Rows.
        vocabulary: Tokens.
    """

    def __init__(self, most: int, vocabulary: int, device: torch.device) -> None:
        self._uses = torch.zeros(most, vocabulary, dtype=torch.int32, device=device)
        self._knobs = torch.zeros(most, gpu_dice.KNOBS, device=device)
        self._keys = torch.zeros(most, 2, dtype=torch.int64, device=device)
        self._scratch = gpu_dice.Scratch(most, vocabulary, device)
        self._known: list[tuple[str, int]] = [("", 0)] * most  # who is in a row, at which step
        self.ends = torch.zeros(most, dtype=torch.int64, device=device)
        self.tokens = torch.zeros(BURST, most, dtype=torch.int64, device=device)

    def can_draw(self) -> bool:
        """Whether Triton can compile it all here, found by trying."""
        ids, positions, lengths, places = torch.zeros_like(self.tokens[:1, :1]).repeat(4, 1)
        table = torch.zeros_like(self._uses[:1, :1])
        try:
            tokens = self.draw(torch.zeros_like(self._uses[:1], dtype=torch.float32), 0)
            gpu_dice.move_on(tokens, ids, positions, lengths, places, self.ends, table, 1)
        except Exception as error:  # of whatever kind Triton raises
            _log.warning("the GPU leaves drawing to the host: %s", first_line(error))
            return False
        return True

    def lay(self, requests: Sequence[Request], steps: int, ends: Sequence[int]) -> None:
        """Make ready to draw so many `steps` for `requests`, each up to its position in `ends`."""
        new = [
            row
            for row, request in enumerate(requests)
            if self._known[row] != (request.id, request.step)
        ]
        if new:
            self._lay(new, [requests[row] for row in new])
        self._known[: len(requests)] = [(each.id, each.step + steps) for each in requests]
        self.ends[: len(ends)] = torch.tensor(ends)

    def _lay(self, rows: list[int], requests: Sequence[Request]) -> None:
        seen = [each.tally.arrays() for each in requests]
        ids, uses = (torch.from_numpy(np.concatenate(each)) for each in zip(*seen, strict=True))
        at = torch.tensor(rows)
        places = at.repeat_interleave(torch.tensor([len(each) for each, _ in seen]))
        knobs = torch.tensor([_knobs(each.params) for each in requests])
        keys = torch.tensor([(mixed(each.params.seed or 0), each.step) for each in requests])
        device = self.ends.device
        at, places, ids = at.to(device), places.to(device), ids.to(device)
        self._uses[at] = 0
        self._uses[places, ids] = uses.to(device, torch.int32) + 1
        self._knobs[at] = knobs.to(device)
        self._keys[at] = keys.to(device)

    def draw(self, logits: Tensor, step: int) -> Tensor:
        """(rows,) tokens out of (rows, vocabulary) logits, for one step of a burst."""
        rows = len(logits)
        tokens = self.tokens[step, :rows]
        gpu_dice.draw(logits, self._uses, self._knobs, self._keys, tokens, self._scratch)
        return tokens


def _knobs(params: SamplingParams) -> tuple[float, ...]:
    """As `gpu_dice` orders them."""
    is_greedy = params.temperature == 0 or params.top_k == 1
    return (
        0.0 if is_greedy else max(params.temperature, COLDEST),
        torch.tensor(params.min_p).log().item(),
        params.top_p,
        params.top_k,
        params.repetition_penalty,
        params.frequency_penalty,
        params.presence_penalty,
    )
