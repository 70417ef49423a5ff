"""Bursts: several steps of replies in a row on a GPU, of which the host hears at the end.

Between two steps the host schedules, draws and hands out for longer than a GPU takes to
compute a step. So while nothing else is to be done, the GPU draws the tokens itself and goes
on with them (what vLLM calls multi-step scheduling). To the scheduler a burst is a draft that
was right up to where a reply ended.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hermes_ui.generation import gpu_dice
from hermes_ui.generation.paging import BURST
from hermes_ui.generation.request import Request
from hermes_ui.generation.sampling import mixed


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
        self.tokens = torch.zeros(BURST, most, dtype=torch.int64, device=device)

    def lay(self, requests: Sequence[Request], steps: int) -> None:
        """Make ready to draw so many `steps` for `requests`."""
        for row, request in enumerate(requests):
            if self._known[row] != (request.id, request.step):
                self._lay(row, request)
            self._known[row] = request.id, request.step + steps

    def _lay(self, row: int, request: Request) -> None:
        ids, uses = (torch.from_numpy(each) for each in request.tally.arrays())
        device = self._uses.device
        self._uses[row].zero_()
        self._uses[row, ids.to(device)] = uses.to(device, torch.int32) + 1
        each = request.params
        floor = torch.tensor(each.min_p).log().item()
        self._knobs[row] = torch.tensor(
            [each.temperature, floor, each.top_p, each.top_k, each.repetition_penalty,
             each.frequency_penalty, each.presence_penalty]
        )  # fmt: skip
        self._keys[row] = torch.tensor([mixed(each.seed or 0), request.step])

    def draw(self, logits: Tensor, step: int) -> Tensor:
        """(rows,) tokens out of (rows, vocabulary) logits, for one step of a burst."""
        rows = len(logits)
        tokens = self.tokens[step, :rows]
        gpu_dice.draw(logits, self._uses, self._knobs, self._keys, tokens, self._scratch)
        return tokens
