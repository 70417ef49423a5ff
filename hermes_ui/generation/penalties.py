"""What a request has read and written, and what that does to its next logits.

In this order: repetition, frequency and presence penalties, DRY, the logit bias, banned texts.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hermes_ui.generation.banned import Bans
from hermes_ui.generation.dry import Dry
from hermes_ui.params import SamplingParams

Ids = NDArray[np.int64]
Uses = NDArray[np.float32]


class Tally:
    """What one request has read and written: token ids, and how often the reply used each.

    `dry` and `bans` follow the same tokens, where the request asks for them.
    """

    def __init__(
        self, prompt_ids: Iterable[int] = (), *, dry: Dry | None = None, bans: Bans | None = None
    ) -> None:
        self._uses = dict.fromkeys(prompt_ids, 0)
        self._slots: dict[int, int] = {}
        self._ids = np.empty(0, np.int64)  # numbers are set one by one, at which NumPy is fast
        self._counts = np.empty(0, np.float32)
        self.dry = dry
        self.bans = bans

    def add(self, token: int) -> None:
        """Count `token` as written."""
        self._uses[token] = self._uses.get(token, 0) + 1
        if self._slots:
            slot = self._slots.setdefault(token, len(self._slots))
            if slot == len(self._ids):
                self._slots = {}  # full: built anew, with more room, when it is next asked for
            else:
                self._ids[slot] = token
                self._counts[slot] = self._uses[token]
        if self.dry is not None:
            self.dry.add(token)
        if self.bans is not None:
            self.bans.add(token)

    def arrays(self) -> tuple[Ids, Uses]:
        """(seen,) int64 ids and (seen,) float32 uses by the reply. Views."""
        count = len(self._uses)
        if not self._slots:
            self._slots = {token: slot for slot, token in enumerate(self._uses)}
            room = count + max(64, count // 4)
            self._ids = np.zeros(room, np.int64)
            self._counts = np.zeros(room, np.float32)
            self._ids[:count] = list(self._uses)
            self._counts[:count] = list(self._uses.values())
        return self._ids[:count], self._counts[:count]


def penalised(
    logits: Tensor,
    params: Sequence[SamplingParams],
    tallies: Sequence[Tally],
    *,
    in_place: bool = False,
) -> Tensor:
    """Logits after all that its own words do to each row.

    Args:
        logits: (rows, vocab) float32. Modified only when `in_place`.
        params: One a row.
        tallies: One a row.

    Returns:
        (rows, vocab) logits, -inf where a banned text would be completed; `logits` itself
        where nothing is to be done. A bias for an id that the model lacks is left out.
    """
    steps = (_repetition(logits, params, tallies), _shifts(logits, params, tallies),
             _bans(logits, tallies))  # fmt: skip
    if not in_place and any(step is not None for step in steps):
        logits = logits.clone()
    repetition, shifts, bans = steps
    if repetition is not None:
        _penalise(logits, *repetition)
    if shifts is not None:
        logits.index_put_(shifts[:2], shifts[2], accumulate=True)
    if bans is not None:
        logits[bans] = -torch.inf
    return logits


def _repetition(
    logits: Tensor, params: Sequence[SamplingParams], tallies: Sequence[Tally]
) -> tuple[Tensor, ...] | None:
    """Of all rows in a row: (2, seen) row and id, (4, seen) knobs and uses; None: nothing to do."""
    rows = [
        row
        for row, knobs in enumerate(params)
        if (knobs.repetition_penalty, knobs.frequency_penalty, knobs.presence_penalty) != (1, 0, 0)
    ]
    if not rows:
        return None
    seen = [tallies[row].arrays() for row in rows]
    lengths = [len(ids) for ids, _ in seen]
    asked = np.array(
        [
            (each.repetition_penalty, each.frequency_penalty, each.presence_penalty)
            for each in (params[row] for row in rows)
        ],
        np.float32,
    )
    ids, uses = (np.concatenate(each) for each in zip(*seen, strict=True))
    places = np.stack((np.repeat(rows, lengths), ids))
    knobs = np.vstack((np.repeat(asked, lengths, axis=0).T, uses))
    return tuple(torch.from_numpy(each).to(logits.device) for each in (places, knobs))


def _penalise(logits: Tensor, places: Tensor, knobs: Tensor) -> None:
    rows, ids = places
    repetition, frequency, presence, uses = knobs
    seen = logits[rows, ids]
    seen = torch.where(seen > 0, seen / repetition, seen * repetition)
    logits[rows, ids] = seen - frequency * uses - presence * (uses > 0)


def _shifts(
    logits: Tensor, params: Sequence[SamplingParams], tallies: Sequence[Tally]
) -> tuple[Tensor, Tensor, Tensor] | None:
    """(n,) rows, ids and what to add: DRY and the bias; None: nothing to do."""
    vocab = logits.shape[-1]
    found: list[tuple[int, int, float]] = []
    for row, (knobs, tally) in enumerate(zip(params, tallies, strict=True)):
        if tally.dry is not None:
            found += [(row, token, -by) for token, by in tally.dry.penalties().items()]
        found += [(row, token, by) for token, by in knobs.logit_bias.items() if token < vocab]
    if not found:
        return None
    rows, ids, shifts = zip(*found, strict=True)
    device = logits.device
    return (
        torch.tensor(rows, device=device),
        torch.tensor(ids, device=device),
        torch.tensor(shifts, dtype=logits.dtype, device=device),
    )


def _bans(logits: Tensor, tallies: Sequence[Tally]) -> tuple[Tensor, Tensor] | None:
    """(n,) rows and ids that are banned; None: none is."""
    rows: list[Tensor] = []
    ids: list[Tensor] = []
    for row, tally in enumerate(tallies):
        for part in tally.bans.forbidden() if tally.bans is not None else ():
            rows.append(torch.full_like(part, row))
            ids.append(part)
    if not ids:
        return None
    return torch.cat(rows).to(logits.device), torch.cat(ids).to(logits.device)
