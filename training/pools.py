"""What a training reads: documents in pools, and batches of rows out of them."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from training.corpus import Corpus, Mix
from training.tokenizer import Encoder

CONTEXT = 4096  # positions that the model has seen, by gaps between turns
BATCH_TOKENS = 3584
POOL_TOKENS = 250_000  # of documents that are sorted by length together, padding included
GROWN_AT, GROWN = 0.5, 2  # from this share of the training on, batches are so much larger
EVEN_AT = 0.8  # from this share of the training on, all that is learned counts alike
FINISH = 1 / 28  # of the training, which comes after it
PREFETCHED = 2  # pools that each worker has ready
SEEDS_APART = 1_000_003  # so many pools have a seed of their own
LENGTHS = 128  # lengths are multiples of it, where shapes are to be few
PARTS = 8  # of a batch: what is learned fills some of them

Row = tuple[list[int], list[float], list[int]]  # ids, how much each is learned, positions


@dataclass(slots=True)
class Batch:
    """Rows padded on the right, and what is learned of them, so much as its weight says."""

    ids: Tensor  # (rows, length) int64
    positions: Tensor  # (rows, length) int64, with gaps between turns
    places: Tensor  # (tokens,) int64: in the flat rows, after which a token is learned
    targets: Tensor  # (tokens,) int64: the ids that come after them
    weights: Tensor  # (tokens,) float32: how much those count in the loss

    def __reduce__(self) -> tuple[Any, ...]:
        """By value: a tensor in shared memory keeps a file open, of which there may be few."""
        return _batch_of, tuple(each.numpy() for each in self.parts())

    def to(self, device: str) -> Self:
        """The same on `device`, without waiting for it."""
        return type(self)(*(each.to(device, non_blocking=True) for each in self.parts()))

    def pin_memory(self) -> Self:
        """The same where a GPU can copy it from by itself."""
        return type(self)(*(each.pin_memory() for each in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """All of it, in the order in which the forward takes it."""
        return self.ids, self.positions, self.places, self.targets, self.weights


def _batch_of(*parts: Any) -> Batch:
    return Batch(*map(torch.from_numpy, parts))


def curriculum(corpus: Corpus, done: float) -> int:
    """Set `corpus` for the share of training that is `done`; the longest row in tokens.

    What the starters and the model itself are asked in many ways is most of the finish, where
    `done` is 1 and more: the other skills need less of it to stay what they are.
    """
    if done >= 1:
        corpus.inventor.is_late = True
        corpus.mix = Mix(
            0.06, 0.45, 0.2, 0.1, lengths=(0.3, 0.4, 0.3), exchanges=(6, 15), is_even=True
        )
        return 2048
    if done < 0.03:
        corpus.mix = Mix(0.5, 0.0, 0.15, 0.15, lengths=(0.7, 0.3, 0.0), exchanges=(2, 5))
        return 512
    if done < 0.17:
        corpus.mix = Mix(0.15, 0.25, 0.25, 0.18, lengths=(0.4, 0.45, 0.15), exchanges=(3, 8))
        return 1200
    # What counts more is learned sooner, and said too readily: at the end nothing does.
    corpus.mix = Mix(
        0.13, 0.22, 0.38, 0.18, lengths=(0.3, 0.4, 0.3), exchanges=(6, 15), is_even=done >= EVEN_AT
    )
    return 2048


class Pools(Dataset[list[Batch]]):
    """All that a training reads, in pools that are drawn by their number alone.

    So it is the same whoever draws it, and a training may go on at any pool. Behind the `count`
    pools of the training come those of its finish.

    Args:
        encoder: Turns documents into ids.
        seed: The same seed gives the same pools.
        tokens: Of all pools together, about, but for the finish.
        batch_tokens: Of a batch at most, padding included, before they grow.
        few_shapes: Pad more, so that batches come in some fifty shapes, not in thousands.
    """

    def __init__(
        self,
        encoder: Encoder,
        seed: int,
        tokens: float,
        batch_tokens: int = BATCH_TOKENS,
        *,
        few_shapes: bool = False,
    ) -> None:
        self.encoder, self.seed, self.batch_tokens = encoder, seed, batch_tokens
        self.batches = batches_alike if few_shapes else batches
        self.count = max(1, round(tokens / POOL_TOKENS))
        self.size = tokens / self.count
        self.finish = round(self.count * FINISH)

    def __len__(self) -> int:
        return self.count + self.finish

    def _seeds(self, number: int) -> tuple[int, str]:
        """Of a pool's documents, and of their order and their gaps."""
        place = number - self.count
        if place >= 0:
            return (self.seed + 1) * SEEDS_APART + place, f"pool {place}"
        mixed = self.seed * SEEDS_APART + number
        return mixed, f"pool {mixed}"

    def done(self, pools: float) -> float:
        """The share of the training in so many pools; with 1 before it, that of the finish."""
        return pools / self.count if pools < self.count else 1 + (pools - self.count) / self.finish

    def __getitem__(self, number: int) -> list[Batch]:
        """Batches of rows of like length, in random order."""
        seed, order = self._seeds(number)
        corpus, rng = Corpus(seed), random.Random(order)
        done = self.done(number)
        longest = curriculum(corpus, done)
        rows = drawn(corpus, self.encoder, longest, self.size, rng)
        most = self.batch_tokens * (GROWN if done >= GROWN_AT else 1)
        return list(self.batches(rows, most, self.encoder.pad, rng))


def loader(pools: Pools, first: int, workers: int, device: str) -> Iterator[list[Batch]]:
    """The pools from `first` on, in order, drawn by `workers` processes.

    For a GPU they are drawn ahead of their use. A CPU draws as many at once as it has workers,
    and trains meanwhile on none: a step ends with its slowest core, so a worker beside it would
    cost what it saves. The processes are forked, as they only draw, and have one thread each.
    """
    if workers:  # else the tokenizer complains of the fork, after which it is used by one thread
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    on_gpu = device == "cuda"
    turn: list[int] = []  # what is drawn next
    source = DataLoader(
        pools,
        batch_size=None,
        sampler=turn,
        num_workers=workers,
        prefetch_factor=(PREFETCHED if on_gpu else 1) if workers else None,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        pin_memory=on_gpu,
    )
    each = len(pools) if on_gpu else max(1, workers)
    for start in range(first, len(pools), each):
        turn[:] = range(start, min(start + each, len(pools)))
        yield from source


def drawn(
    corpus: Corpus, encoder: Encoder, longest: int, tokens: float, rng: random.Random
) -> list[Row]:
    """One pool of documents of `tokens` in all, none longer than `longest`."""
    rows: list[Row] = []
    total = 0
    while total < tokens:
        ids, learned, borders = encoder.document(corpus.document())
        positions = _with_gaps(len(ids), borders, rng)
        rows.append((ids[:longest], learned[:longest], positions[:longest]))
        total += len(rows[-1][0])
    return rows


def batches(rows: list[Row], most: int, pad: int, rng: random.Random) -> Iterator[Batch]:
    """Batches of rows of like length, `most` tokens in each, in random order."""
    rows.sort(key=lambda row: len(row[0]))
    groups: list[list[Row]] = [[]]
    for row in rows:
        if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > most:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    for group in groups:
        batch = padded(group, pad)
        if len(batch.places):
            yield batch


def batches_alike(rows: list[Row], most: int, pad: int, rng: random.Random) -> Iterator[Batch]:
    """The same in few shapes: as many rows as fit, but for those of the last batch."""
    rows.sort(key=lambda row: -len(row[0]))
    found, start = [], 0
    while start < len(rows):
        length = _up(len(rows[start][0]), LENGTHS)
        full = max(1, most // length)
        group = rows[start : start + full]
        start += full
        lacking = min(full, _up(len(group), max(1, full // 4))) - len(group)
        batch = padded([*group, *[([pad], [0.0], [0])] * lacking], pad, length)
        if len(batch.places):
            found.append(_with_places(batch, _up(len(batch.places), max(1, most // PARTS))))
    rng.shuffle(found)
    yield from found


def _with_places(batch: Batch, places: int) -> Batch:
    """`batch` with so many places, of which those that it lacked count nothing."""
    lacking = places - len(batch.places)
    return Batch(
        batch.ids,
        batch.positions,
        torch.cat((batch.places, torch.arange(lacking) % batch.ids.numel())),
        functional.pad(batch.targets, (0, lacking)),
        functional.pad(batch.weights, (0, lacking)),
    )


def _up(count: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-count // step) * step


def _with_gaps(length: int, borders: list[int], rng: random.Random) -> list[int]:
    """Positions 0, 1, … that at times jump where a turn begins: distance without its cost."""
    positions = list(range(length))
    if rng.random() < 0.5 or len(borders) < 2:
        return positions
    room = max(0, min(CONTEXT, int(rng.choice((512, 1024, 2048, CONTEXT)))) - length)
    for border in rng.sample(borders, min(len(borders), rng.choice((1, 1, 2, 3)))):
        jump = rng.randint(0, room)
        room -= jump
        positions[border:] = [position + jump for position in positions[border:]]
    return positions


def padded(rows: list[Row], pad: int, length: int = 0) -> Batch:
    """Rows as one batch, with `pad` on the right, `length` long at least."""
    length = max(length, *(len(ids) for ids, _, _ in rows))
    ids = torch.full((len(rows), length), pad)
    positions = torch.zeros((len(rows), length), dtype=torch.long)
    weights = torch.zeros((len(rows), length))
    for row, (row_ids, learned, row_positions) in enumerate(rows):
        ids[row, : len(row_ids)] = torch.tensor(row_ids)
        positions[row, : len(row_ids)] = torch.tensor(row_positions)
        weights[row, : len(row_ids) - 1] = torch.tensor(learned[1:])
    places = weights.flatten().nonzero().flatten()
    return Batch(ids, positions, places, ids.flatten()[places + 1], weights.flatten()[places])
