"""From logits to the next token of every request in a batch. Pure, and all dice are ours.

Order and meaning are vLLM's: penalties, temperature, min_p, top_k, top_p. The draw adds
Gumbel noise that depends on the request's seed, its step and the token alone, and takes
the largest: a request draws the same tokens alone and in company.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hermes_ui.params import SamplingParams

CANDIDATES = 1024  # of a row; more are ranked only where a knob may keep more


class Tally:
    """What one request has read and written: token ids, and how often the reply used each."""

    def __init__(self, prompt_ids: Iterable[int] = ()) -> None:
        self._uses = dict.fromkeys(prompt_ids, 0)

    def add(self, token: int) -> None:
        """Count `token` as written."""
        self._uses[token] = self._uses.get(token, 0) + 1

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(seen,) int64 ids and (seen,) float32 uses by the reply, on `device`."""
        ids = torch.tensor(list(self._uses), dtype=torch.int64, device=device)
        uses = torch.tensor(list(self._uses.values()), dtype=torch.float32, device=device)
        return ids, uses


def next_tokens(
    logits: Tensor,
    params: Sequence[SamplingParams],
    tallies: Sequence[Tally],
    steps: Sequence[int],
    *,
    candidates: int = CANDIDATES,
) -> Tensor:
    """The next token of each row.

    Args:
        logits: (rows, vocab) float32, of any device. Not modified.
        params: One a row; a seed of None counts as 0.
        tallies: What each row's request has read and written so far.
        steps: How many tokens each row's reply has so far.
        candidates: How many tokens of a row are ranked first; changes no result.

    Returns:
        (rows,) int64 token ids.

    Raises:
        ValueError: a row has a NaN.
    """
    broken = rows_with_nan(logits)
    if broken:
        raise ValueError(f"the model's output is not a number in row {broken[0]}")
    logits = penalised(logits, params, tallies)
    temperature = _column(logits, [each.temperature for each in params])
    greedy = temperature == 0
    if bool(greedy.all()):
        return logits.argmax(dim=-1)
    scaled = logits / temperature.masked_fill(greedy, 1)[:, None]
    drawn = _drawn(scaled, params, steps, candidates)
    return torch.where(greedy, logits.argmax(dim=-1), drawn)


def rows_with_nan(logits: Tensor) -> list[int]:
    """The rows of (rows, vocab) `logits` that have a NaN."""
    # The largest of a row with a NaN is NaN: one pass, and no second tensor of that size.
    broken: list[int] = logits.amax(dim=-1).isnan().nonzero().flatten().tolist()
    return broken


def penalised(logits: Tensor, params: Sequence[SamplingParams], tallies: Sequence[Tally]) -> Tensor:
    """Logits after repetition (prompt and reply), frequency and presence (reply) penalties."""
    copied = False
    for row, (knobs, tally) in enumerate(zip(params, tallies, strict=True)):
        repetition = knobs.repetition_penalty
        frequency, presence = knobs.frequency_penalty, knobs.presence_penalty
        if repetition == 1 and frequency == presence == 0:
            continue
        if not copied:
            logits, copied = logits.clone(), True
        ids, uses = tally.tensors(logits.device)
        seen = logits[row, ids]
        seen = torch.where(seen > 0, seen / repetition, seen * repetition)
        logits[row, ids] = seen - frequency * uses - presence * (uses > 0)
    return logits


def _drawn(
    scaled: Tensor, params: Sequence[SamplingParams], steps: Sequence[int], candidates: int
) -> Tensor:
    """One token a row out of its candidates."""
    vocab = scaled.shape[-1]
    seeds = [each.seed or 0 for each in params]
    if all(each.top_k == each.min_p == 0 and each.top_p == 1 for each in params):
        every = torch.arange(vocab, device=scaled.device).expand(scaled.shape)
        return (scaled + gumbel(seeds, steps, every)).argmax(dim=-1)
    top_k = _column(scaled, [each.top_k or vocab for each in params])
    top_p = _column(scaled, [each.top_p for each in params])
    min_p = _column(scaled, [each.min_p for each in params])
    for width in (min(candidates, vocab), vocab):
        ranked, ids = scaled.topk(width, dim=-1) if width < vocab else _sorted(scaled)
        if width == vocab or _suffices(ranked, scaled, top_k, top_p, min_p):
            break
    kept = keep_top_p(keep_top_k(keep_min_p(ranked, min_p), top_k), top_p)
    noisy = kept + gumbel(seeds, steps, ids)
    return ids.gather(-1, noisy.argmax(dim=-1, keepdim=True)).squeeze(-1)


def _sorted(scaled: Tensor) -> tuple[Tensor, Tensor]:
    ranked, ids = scaled.sort(dim=-1, descending=True, stable=True)
    return ranked, ids


def _suffices(ranked: Tensor, scaled: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> bool:
    """Whether no token of `scaled` outside of `ranked` can be kept in any row.

    The nucleus within min_p and top_k is never larger than that of the whole row.
    """
    by_rank = top_k <= ranked.shape[-1]
    by_share = ranked[:, -1] < ranked[:, 0] + min_p.log()
    enough = by_rank | by_share
    if not bool(enough.all()):
        mass = (ranked.logsumexp(dim=-1) - scaled.logsumexp(dim=-1)).exp()
        enough |= (mass > top_p + 1e-4) & (top_p < 1)
    return bool(enough.all())


def keep_min_p(ranked: Tensor, min_p: Tensor) -> Tensor:
    """Mask tokens less likely than `min_p` times the row's likeliest.

    Args:
        ranked: (rows, candidates) logits, the likeliest first. Not modified.
        min_p: (rows,) in [0, 1].
    """
    return ranked.masked_fill(ranked < (ranked[:, 0] + min_p.log())[:, None], -torch.inf)


def keep_top_k(ranked: Tensor, top_k: Tensor) -> Tensor:
    """Mask all but the first `top_k` (rows,) of each row's ranked candidates."""
    rank = torch.arange(ranked.shape[-1], device=ranked.device)
    return ranked.masked_fill(rank >= top_k[:, None], -torch.inf)


def keep_top_p(ranked: Tensor, top_p: Tensor) -> Tensor:
    """Mask every candidate outside of its row's nucleus.

    Args:
        ranked: (rows, candidates) logits, the likeliest first, masked ones -inf.
        top_p: (rows,) in (0, 1].

    Returns:
        The likeliest token of a row always stays; a row with top_p == 1 is unchanged.
    """
    probs = ranked.softmax(dim=-1)
    mass_before = probs.cumsum(dim=-1) - probs
    outside = (mass_before >= top_p[:, None]) & (top_p < 1)[:, None]
    outside[:, 0] = False
    return ranked.masked_fill(outside, -torch.inf)


def gumbel(seeds: Sequence[int], steps: Sequence[int], ids: Tensor) -> Tensor:
    """Gumbel noise of (rows, n) token `ids`, the same on every device.

    The bits come from a hash of seed, step and id (splitmix64), in whole-number arithmetic
    that wraps alike everywhere; 40 of them make the uniform number.
    """
    keys = [_mixed(_mixed(seed) ^ step) for seed, step in zip(seeds, steps, strict=True)]
    key = torch.tensor(keys, dtype=torch.int64, device=ids.device)
    bits = _mixed_tensor(ids + key[:, None])
    uniform = ((bits >> 24) & (2**40 - 1)).to(torch.float32) * 2.0**-40 + 2.0**-41
    exponential = -torch.log1p(-uniform.clamp(max=1 - 2.0**-24))
    return -exponential.log()


_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64


def _signed(word: int) -> int:
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def _mixed(word: int) -> int:
    """splitmix64 of a 64-bit `word`, as a signed number."""
    word = (word + _GOLDEN) % _WORD
    word = (word ^ (word >> 30)) * _FIRST % _WORD
    word = (word ^ (word >> 27)) * _SECOND % _WORD
    return _signed(word ^ (word >> 31))


def _mixed_tensor(words: Tensor) -> Tensor:
    """`_mixed` of every int64; the shift's sign bits are masked away."""
    words = words + _signed(_GOLDEN)
    words = (words ^ ((words >> 30) & (2**34 - 1))) * _signed(_FIRST)
    words = (words ^ ((words >> 27) & (2**37 - 1))) * _signed(_SECOND)
    return words ^ ((words >> 31) & (2**33 - 1))


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    """(rows,) float32 beside `like`."""
    return torch.tensor(values, dtype=torch.float32, device=like.device)
