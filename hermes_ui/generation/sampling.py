"""From logits to the next token of every request in a batch. Pure, and all dice are ours.

Order and meaning are vLLM's: penalties, temperature, min_p, top_k, top_p; then XTC. The draw
adds Gumbel noise that depends on the request's seed, its step and the token alone, and takes
the largest: a request draws the same tokens alone and in company.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hermes_ui.generation.invariance import rounded
from hermes_ui.generation.penalties import Tally, penalised
from hermes_ui.params import SamplingParams

CANDIDATES = 1024  # of a row; more are ranked only where a knob may keep more
COLUMNS = 64  # candidates are left out in such numbers


def next_tokens(
    logits: Tensor,
    params: Sequence[SamplingParams],
    tallies: Sequence[Tally],
    steps: Sequence[int],
    *,
    candidates: int = CANDIDATES,
    spared: Collection[int] = (),
    in_place: bool = False,
) -> Tensor:
    """The next token of each row.

    Args:
        logits: (rows, vocab) float32, of any device, none of `broken_rows`. Modified only when
            `in_place`.
        params: One a row; a seed of None counts as 0.
        tallies: What each row's request has read and written so far.
        steps: How many tokens each row's reply has so far.
        candidates: How many tokens of a row are ranked first; changes no result.
        spared: Tokens that XTC does not leave out, such as those that end a reply.

    Returns:
        (rows,) int64 token ids, on the CPU.
    """
    logits = penalised(logits, params, tallies, in_place=in_place)
    greedy = [each.temperature == 0 for each in params]
    tokens = torch.empty(len(params), dtype=torch.int64)
    for rows in _parted(greedy):
        part = logits if len(rows) == len(params) else logits[rows]
        if greedy[rows[0]]:
            tokens[rows] = part.argmax(dim=-1).cpu()
        else:
            chosen = [params[row] for row in rows]
            tokens[rows] = _drawn(part, chosen, [steps[row] for row in rows], candidates, spared)
    return tokens


def broken_rows(logits: Tensor) -> list[int]:
    """The rows of (rows, vocab) `logits` that have a NaN, or an infinity as their largest."""
    # The largest of a row with a NaN is NaN: one pass, and no second tensor of that size.
    broken: list[int] = (~logits.amax(dim=-1).cpu().isfinite()).nonzero().flatten().tolist()
    return broken


def _parted(flags: Sequence[bool]) -> list[list[int]]:
    """The places of the true and of the false `flags`, without empty lists."""
    parts = ([i for i, flag in enumerate(flags) if flag is which] for which in (True, False))
    return [part for part in parts if part]


def _drawn(
    logits: Tensor,
    params: Sequence[SamplingParams],
    steps: Sequence[int],
    candidates: int,
    spared: Collection[int],
) -> Tensor:
    """One token a row, all of a temperature above 0. Rows that keep every token are not ranked."""
    tokens = torch.empty(len(params), dtype=torch.int64)
    for rows in _parted([_keeps_all(each) for each in params]):
        part = logits if len(rows) == len(params) else logits[rows]
        chosen, at = [params[row] for row in rows], [steps[row] for row in rows]
        if _keeps_all(chosen[0]):
            scaled = part / _column(part, [each.temperature for each in chosen])[:, None]
            every = torch.arange(scaled.shape[-1], device=scaled.device).expand(scaled.shape)
            tokens[rows] = (scaled + gumbel(_seeds(chosen), at, every)).argmax(dim=-1).cpu()
        else:
            tokens[rows] = _drawn_by_rank(part, chosen, at, candidates, spared)
    return tokens


def _keeps_all(knobs: SamplingParams) -> bool:
    limits = (knobs.top_k, knobs.min_p, knobs.top_p, knobs.xtc_probability)
    return limits == (0, 0, 1, 0)


def _drawn_by_rank(
    logits: Tensor,
    params: Sequence[SamplingParams],
    steps: Sequence[int],
    candidates: int,
    spared: Collection[int],
) -> Tensor:
    """One token a row out of its first `candidates`, or of all where those may not be enough."""
    width = min(candidates, logits.shape[-1])
    # So few numbers are done with on the CPU before a GPU has started on them.
    ranked, ids = (each.cpu() for each in logits.topk(width, dim=-1))
    ranked = ranked / _column(ranked, [each.temperature for each in params])[:, None]
    share = _share(ranked, logits, params)
    tokens = torch.empty(len(params), dtype=torch.int64)
    lacking = share.isnan().tolist()
    for rows in _parted(lacking):
        chosen, at = [params[row] for row in rows], [steps[row] for row in rows]
        if not lacking[rows[0]]:
            few, few_ids, mass = (
                (ranked, ids, share)
                if len(rows) == len(params)
                else (ranked[rows], ids[rows], share[rows])
            )
        else:
            few, few_ids = logits[rows].sort(dim=-1, descending=True, stable=True)
            few = few / _column(few, [each.temperature for each in chosen])[:, None]
            mass = torch.ones(len(rows))
        tokens[rows] = _one_of(few, few_ids, mass.to(few.device), chosen, at, spared).cpu()
    return tokens


def _share(ranked: Tensor, logits: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """(rows,) part of what min_p and top_k keep that is among `ranked`: 1 where it is all.

    NaN where top_p may keep more than that; then the row must be ranked as a whole. A row's
    answer depends on itself alone, so that it draws the same in any company.
    """
    min_p = _column(ranked, [each.min_p for each in params])
    top_k = _column(ranked, [each.top_k or logits.shape[-1] for each in params])
    top_p = _column(ranked, [each.top_p for each in params])
    floor = ranked[:, 0] + min_p.log()
    share = torch.ones_like(floor)
    lacking = (top_k > ranked.shape[-1]) & (ranked[:, -1] >= floor)
    if bool(lacking.any()):
        rows = lacking.nonzero().flatten()
        heat = _column(ranked, [each.temperature for each in params])[rows, None]
        whole = logits[rows.to(logits.device)] / heat.to(logits.device)
        low = whole < floor[rows, None].to(logits.device)
        whole = whole.masked_fill_(low, -torch.inf).logsumexp(dim=-1).cpu()
        mass = (ranked[rows].logsumexp(dim=-1) - whole).exp()
        suffices = (mass > top_p[rows] + 1e-4) & (top_p[rows] < 1)
        suffices &= top_k[rows] == logits.shape[-1]
        share[rows] = mass.masked_fill(~suffices, torch.nan)
    return share


def _one_of(
    ranked: Tensor,
    ids: Tensor,
    share: Tensor,
    params: Sequence[SamplingParams],
    steps: Sequence[int],
    spared: Collection[int],
) -> Tensor:
    """One token a row of those that its limits keep."""
    kept = keep_min_p(ranked, _column(ranked, [each.min_p for each in params]))
    kept = keep_top_k(kept, _column(ranked, [each.top_k or 2**24 for each in params]))
    kept, ids = _narrowed(kept, ids)
    kept = keep_top_p(kept, _column(ranked, [each.top_p for each in params]), share)
    hit = [
        each.xtc_probability > 0 and coin(each.seed or 0, step) < each.xtc_probability
        for each, step in zip(params, steps, strict=True)
    ]
    if any(hit):
        threshold = _column(ranked, [each.xtc_threshold for each in params])
        hits = torch.tensor(hit, device=ranked.device)
        kept = leave_out_top_choices(kept, ids, threshold, hits, spared)
    noisy = kept + gumbel(_seeds(params), steps, ids)
    return ids.gather(-1, noisy.argmax(dim=-1, keepdim=True)).squeeze(-1)


def _narrowed(ranked: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Both without columns behind in which all is masked.

    As many stay as fill vectors of any CPU: sums over a row then keep their order, and its
    bits, however many columns the rows beside it need.
    """
    width = int((ranked > -torch.inf).sum(dim=-1).max())
    width = min(rounded(max(width, 1), COLUMNS), ranked.shape[-1])
    return ranked[:, :width], ids[:, :width]


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


def keep_top_p(ranked: Tensor, top_p: Tensor, share: Tensor) -> Tensor:
    """Mask every candidate outside of its row's nucleus.

    Args:
        ranked: (rows, candidates) logits, the likeliest first, masked ones -inf.
        top_p: (rows,) in (0, 1].
        share: (rows,) probability of the candidates together.

    Returns:
        The likeliest token of a row always stays; a row with top_p == 1 is unchanged.
    """
    probs = ranked.softmax(dim=-1) * share[:, None]
    mass_before = probs.cumsum(dim=-1) - probs
    outside = (mass_before >= top_p[:, None]) & (top_p < 1)[:, None]
    outside[:, 0] = False
    return ranked.masked_fill(outside, -torch.inf)


def leave_out_top_choices(
    ranked: Tensor, ids: Tensor, threshold: Tensor, hits: Tensor, spared: Collection[int]
) -> Tensor:
    """XTC: mask all tokens of at least `threshold` but the least likely of them.

    Args:
        ranked: (rows, candidates) logits, the likeliest first, masked ones -inf.
        ids: (rows, candidates) their tokens.
        threshold: (rows,) probabilities.
        hits: (rows,) bool, the rows for which the coin fell so.
        spared: A row that would lose one of these tokens is left alone.
    """
    above = (ranked.softmax(dim=-1) >= threshold[:, None]).sum(dim=-1)
    rank = torch.arange(ranked.shape[-1], device=ranked.device)
    out = (rank < above[:, None] - 1) & hits[:, None]
    if spared:
        precious = torch.isin(ids, torch.tensor(sorted(spared), device=ids.device))
        out &= ~(out & precious).any(dim=-1, keepdim=True)
    return ranked.masked_fill(out, -torch.inf)


def gumbel(seeds: Sequence[int], steps: Sequence[int], ids: Tensor) -> Tensor:
    """Gumbel noise of (rows, n) token `ids`, the same on every device.

    The bits come from a hash of seed, step and id (splitmix64), in whole-number arithmetic
    that wraps alike everywhere; 40 of them make the uniform number.
    """
    keys = [mixed(mixed(seed) ^ step) for seed, step in zip(seeds, steps, strict=True)]
    key = torch.tensor(keys, dtype=torch.int64, device=ids.device)
    bits = _mixed_tensor(ids + key[:, None])
    uniform = ((bits >> 24) & (2**40 - 1)).to(torch.float32) * 2.0**-40 + 2.0**-41
    exponential = -torch.log1p(-uniform.clamp(max=1 - 2.0**-24))
    return -exponential.log()


def coin(seed: int, step: int) -> float:
    """A uniform number in [0, 1) from the same hash, for a token that no vocabulary has."""
    bits = mixed(mixed(mixed(seed) ^ step) + 2**40)
    return ((bits >> 24) & (2**40 - 1)) * 2.0**-40


_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 2**64


def _signed(word: int) -> int:
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def mixed(word: int) -> int:
    """splitmix64 of a 64-bit `word`, as a signed number."""
    word = (word + _GOLDEN) % _WORD
    word = (word ^ (word >> 30)) * _FIRST % _WORD
    word = (word ^ (word >> 27)) * _SECOND % _WORD
    return _signed(word ^ (word >> 31))


def _mixed_tensor(words: Tensor) -> Tensor:
    """`mixed` of every int64; the shift's sign bits are masked away."""
    words = words + _signed(_GOLDEN)
    words = (words ^ ((words >> 30) & (2**34 - 1))) * _signed(_FIRST)
    words = (words ^ ((words >> 27) & (2**37 - 1))) * _signed(_SECOND)
    return words ^ ((words >> 31) & (2**33 - 1))


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    """(rows,) float32 beside `like`."""
    return torch.tensor(values, dtype=torch.float32, device=like.device)


def _seeds(params: Sequence[SamplingParams]) -> list[int]:
    return [each.seed or 0 for each in params]
