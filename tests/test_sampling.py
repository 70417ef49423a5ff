"""From logits to tokens: each knob by itself, the dice, and the company."""

import math

import pytest
import torch

from hermes_ui.generation.penalties import Tally, penalised
from hermes_ui.generation.sampling import broken_rows, coin, gumbel, next_tokens
from hermes_ui.params import SamplingParams

NEUTRAL = SamplingParams(temperature=1, top_p=1, min_p=0, repetition_penalty=1)


def neutral(**changes):
    return NEUTRAL.model_copy(update=changes)


def draw(logits, params, *, step=0, tally=None):
    """One token for one row of `logits`."""
    rows = torch.tensor([logits], dtype=torch.float32)
    return int(next_tokens(rows, [params], [tally or Tally()], [step]))


def drawn(logits, params, count=400):
    """The tokens that `count` steps of one request draw from the same logits."""
    rows = torch.tensor([logits], dtype=torch.float32).expand(count, -1)
    steps = list(range(count))
    return set(next_tokens(rows, [params] * count, [Tally()] * count, steps).tolist())


def test_temperature_0_takes_the_likeliest():
    assert {draw([0.1, 2.0, 1.9], neutral(temperature=0), step=n) for n in range(50)} == {1}


def test_without_limits_every_token_can_come():
    assert drawn([0.0, 0.5, 1.0], NEUTRAL) == {0, 1, 2}


def test_top_k_keeps_the_first_few():
    assert drawn([3.0, 1.0, 2.9, 2.8], neutral(top_k=2)) == {0, 2}


def test_top_p_keeps_the_nucleus():
    logits = [math.log(p) for p in (0.5, 0.3, 0.15, 0.05)]

    assert drawn(logits, neutral(top_p=0.7)) == {0, 1}


def test_top_p_always_keeps_the_likeliest():
    assert drawn([5.0, 0.0, 0.0], neutral(top_p=0.01)) == {0}


def test_min_p_drops_what_is_much_less_likely():
    logits = [math.log(p) for p in (0.6, 0.3, 0.07, 0.03)]

    assert drawn(logits, neutral(min_p=0.2)) == {0, 1}


def test_min_p_1_keeps_the_likeliest_alone():
    assert drawn([1.0, 0.9, 0.8], neutral(min_p=1)) == {0}


def test_a_low_temperature_sharpens():
    logits = [1.0, 0.0]
    rows = torch.tensor([logits]).expand(1000, -1)
    shares = [
        next_tokens(rows, [neutral(temperature=t)] * 1000, [Tally()] * 1000, range(1000))
        .float()
        .mean()
        for t in (0.5, 1.0, 2.0)
    ]

    assert shares[0] < shares[1] < shares[2]


def test_tokens_come_as_often_as_their_probabilities():
    probs = [0.5, 0.25, 0.15, 0.1]
    rows = torch.tensor([[math.log(p) for p in probs]]).expand(20_000, -1)

    tokens = next_tokens(rows, [NEUTRAL] * 20_000, [Tally()] * 20_000, range(20_000))

    shares = torch.bincount(tokens, minlength=4) / 20_000
    assert torch.allclose(shares, torch.tensor(probs), atol=0.015)


def test_seeds_and_steps_are_independent_dice():
    rows = torch.zeros(2000, 10)
    by_seed = next_tokens(
        rows, [neutral(seed=n) for n in range(2000)], [Tally()] * 2000, [3] * 2000
    )

    shares = torch.bincount(by_seed, minlength=10) / 2000
    assert torch.allclose(shares, torch.full((10,), 0.1), atol=0.03)


def test_the_largest_seed_is_a_seed():
    assert draw([0.0] * 50, neutral(seed=2**63 - 1)) == draw([0.0] * 50, neutral(seed=2**63 - 1))


def test_no_seed_counts_as_0():
    tokens = [draw([0.0] * 100, neutral(seed=seed), step=5) for seed in (None, 0, 1)]

    assert tokens[0] == tokens[1] != tokens[2]


def test_gumbel_noise_is_that_of_its_distribution():
    noise = gumbel([7], [0], torch.arange(200_000)[None])

    assert noise.isfinite().all()
    assert abs(float(noise.mean()) - 0.5772) < 0.01
    assert abs(float(noise.var()) - math.pi**2 / 6) < 0.02


def test_the_noise_of_a_token_does_not_depend_on_the_others():
    some = gumbel([5], [9], torch.tensor([[3, 8, 1]]))
    all_ = gumbel([5], [9], torch.arange(10)[None])

    assert torch.equal(some[0], all_[0, [3, 8, 1]])


def test_the_dice_never_change():
    """Stored seeds must give the same replies after every update."""
    noise = gumbel([0, 1, 2**63 - 1], [0, 7, 8191], torch.tensor([[0, 1], [2, 127], [5, 128_255]]))

    assert noise.flatten().tolist() == pytest.approx(RECORDED, abs=1e-5)


def test_repetition_lowers_what_prompt_and_reply_used():
    tally = Tally([0, 1])
    tally.add(2)

    result = penalised(
        torch.tensor([[2.0, -2.0, 4.0, 1.0]]), [neutral(repetition_penalty=2)], [tally]
    )

    assert result.tolist() == [[1.0, -4.0, 2.0, 1.0]]


def test_frequency_and_presence_look_at_the_reply_alone():
    tally = Tally([0])
    for token in (1, 1, 2):
        tally.add(token)

    result = penalised(
        torch.zeros(1, 4), [neutral(frequency_penalty=0.5, presence_penalty=0.25)], [tally]
    )

    assert result.tolist() == [[0.0, -1.25, -0.75, 0.0]]


def test_the_logits_that_are_given_stay_as_they_were():
    logits = torch.randn(3, 50)
    before = logits.clone()
    params = [SamplingParams(top_k=5), SamplingParams(temperature=0), SamplingParams()]

    next_tokens(logits, params, [Tally(range(20))] * 3, [0, 1, 2])

    assert torch.equal(logits, before)


def rows_of_all_kinds():
    torch.manual_seed(0)
    logits = torch.randn(12, 5000) * torch.linspace(0.2, 6, 12)[:, None]
    params = [
        SamplingParams(temperature=0),
        SamplingParams(),
        NEUTRAL,
        neutral(top_k=3),
        neutral(top_p=0.3),
        neutral(top_p=0.999),
        neutral(min_p=0.3, temperature=2),
        neutral(top_k=1000, top_p=0.5),
        neutral(repetition_penalty=1.5),
        neutral(frequency_penalty=-2, presence_penalty=2),
        SamplingParams(temperature=0.05),
        neutral(top_k=1),
    ]
    tallies = [Tally(range(n, 5000, 13)) for n in range(12)]
    return logits, [each.model_copy(update={"seed": n}) for n, each in enumerate(params)], tallies


def test_a_row_draws_the_same_alone_and_in_company():
    logits, params, tallies = rows_of_all_kinds()
    steps = list(range(12))
    together = next_tokens(logits, params, tallies, steps).tolist()

    alone = [
        int(next_tokens(logits[n : n + 1], [params[n]], [tallies[n]], [steps[n]]))
        for n in range(12)
    ]

    assert together == alone


def test_ranking_a_few_candidates_gives_what_ranking_all_gives():
    logits, params, tallies = rows_of_all_kinds()
    for n in range(20):
        few = next_tokens(logits, params, tallies, [n] * 12)
        every = next_tokens(logits, params, tallies, [n] * 12, candidates=5000)

        assert torch.equal(few, every)


def test_a_masked_token_never_comes():
    logits = [-math.inf, 1.0, -math.inf, 0.5]

    assert drawn(logits, NEUTRAL) == {1, 3}


def test_rows_without_a_likeliest_number_are_broken():
    logits = torch.zeros(4, 5)
    logits[1, 2] = torch.nan
    logits[2] = -torch.inf
    logits[3, :4] = -torch.inf

    assert broken_rows(logits) == [1, 2]


COINS = [0.945813792213, 0.520407580643]
RECORDED = [1.901641, 1.208102, -0.629501, -0.544773, 0.949506, 0.20083]


# XTC


def test_xtc_leaves_out_the_likeliest_choices():
    logits = [math.log(p) for p in (0.5, 0.3, 0.15, 0.05)]

    assert drawn(logits, neutral(xtc_probability=1, xtc_threshold=0.1)) == {2, 3}


def test_xtc_needs_two_likely_choices():
    logits = [math.log(p) for p in (0.9, 0.05, 0.05)]

    assert 0 in drawn(logits, neutral(xtc_probability=1, xtc_threshold=0.1))


def test_xtc_strikes_as_often_as_its_probability():
    rows = torch.tensor([[math.log(p) for p in (0.6, 0.4)]]).expand(20_000, -1)
    params = neutral(xtc_probability=0.3, xtc_threshold=0.1)

    tokens = next_tokens(rows, [params] * 20_000, [Tally()] * 20_000, range(20_000))

    assert abs(float((tokens == 0).float().mean()) - 0.7 * 0.6) < 0.015


def test_xtc_tosses_the_coin_of_the_seed():
    tosses = [[coin(seed, step) for step in range(2000)] for seed in (0, 1)]

    assert tosses[0] == [coin(0, step) for step in range(2000)]
    assert tosses[0] != tosses[1]
    assert abs(sum(tosses[0]) / 2000 - 0.5) < 0.03


def test_xtc_spares_the_tokens_that_end_a_reply():
    rows = torch.tensor([[math.log(p) for p in (0.5, 0.3, 0.2)]]).expand(400, -1)
    params = [neutral(xtc_probability=1, xtc_threshold=0.1)] * 400

    tokens = next_tokens(rows, params, [Tally()] * 400, range(400), spared={1})

    assert set(tokens.tolist()) == {0, 1, 2}


def test_xtc_changes_nothing_at_temperature_0():
    params = neutral(temperature=0, xtc_probability=1)

    assert draw([1.0, 1.1, 1.2], params) == 2


def test_the_xtc_coin_never_changes():
    assert [coin(0, 0), coin(7, 3)] == pytest.approx(COINS, abs=1e-9)


def test_a_nucleus_is_the_same_alone_and_beside_a_row_that_is_ranked_whole():
    """The candidates of a flat row hold a part of its mass: its share must count."""
    torch.manual_seed(4)
    flat = torch.randn(1, 20_000)
    params = [neutral(top_p=0.2, seed=n) for n in range(300)]
    steps = range(300)
    few = next_tokens(flat.expand(300, -1), params, [Tally()] * 300, steps)
    whole = next_tokens(
        flat.expand(300, -1), params, [Tally()] * 300, steps, candidates=flat.shape[-1]
    )

    assert torch.equal(few, whole)
