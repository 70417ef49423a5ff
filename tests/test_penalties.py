"""What a request's own words do to its next logits: DRY, bias, banned texts."""

import random
import time

import pytest
import torch

from hermes_ui.generation.banned import Bans
from hermes_ui.generation.dry import Dry
from hermes_ui.generation.penalties import Tally, penalised
from hermes_ui.generation.vocabulary import Vocabulary
from hermes_ui.params import SamplingParams
from tests.tiny_model import SPECIAL, byte_tokenizer

NEUTRAL = SamplingParams(temperature=1, top_p=1, min_p=0, repetition_penalty=1)
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer().backend_tokenizer


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    hidden = {tokenizer.token_to_id(name) for name in SPECIAL}
    return Vocabulary(tokenizer, hidden, tokenizer.get_vocab_size())


@pytest.fixture(scope="module")
def spell(tokenizer):
    """The ids of a text, one a byte."""
    return lambda text: [
        id_ for sign in text for id_ in tokenizer.encode(sign, add_special_tokens=False).ids
    ]


def neutral(**changes):
    return NEUTRAL.model_copy(update=changes)


def written(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


# Vocabulary


def test_every_id_has_the_bytes_that_it_writes(tokenizer, vocabulary):
    text = "Über the harbour wall 🙂, naïve\n"
    ids = tokenizer.encode(text, add_special_tokens=False).ids

    assert b"".join(map(vocabulary.text, ids)) == text.encode().lower()


def test_ids_are_found_by_how_they_begin_and_what_they_contain(vocabulary):
    everything = {id_: vocabulary.text(id_) for id_ in range(400)}

    for part in (b"t", b"th", b"the", b"ha", b" the", b"\xf0", b"zzz"):
        begins = {id_ for id_, text in everything.items() if text.startswith(part)}
        contains = {id_ for id_, text in everything.items() if part in text}
        assert set(vocabulary.starting_with(part).tolist()) == begins
        assert set(vocabulary.containing(part).tolist()) == contains


def test_control_tokens_write_nothing(tokenizer, vocabulary):
    assert vocabulary.text(tokenizer.token_to_id("<|im_end|>")) == b""


def test_ids_beyond_the_vocabulary_write_nothing(vocabulary):
    assert vocabulary.text(10**6) == b""


# Banned texts


@pytest.mark.parametrize(
    "banned",
    [
        pytest.param(("a",), id="one letter"),
        pytest.param(("the",), id="a word that is one token"),
        pytest.param(("he harb", "lamp is lit"), id="across the borders of tokens"),
        pytest.param(("aa", "aba", "abab"), id="texts that overlap themselves"),
        pytest.param(("🙂", "über"), id="signs of several bytes"),
        pytest.param(("THE", "Harbour"), id="in another case"),
    ],
)
def test_what_is_banned_is_never_written(tokenizer, vocabulary, banned):
    dice = random.Random(3)
    texts = ("the", " harbour", "a", "b", "ab", " lamp", " is", " lit", "🙂", "ü", "er", "TH", "E")
    words = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    bans = Bans(banned, vocabulary)
    reply = []
    for _ in range(4000):
        forbidden = {id_ for part in bans.forbidden() for id_ in part.tolist()}
        if reply and any(word[0] not in forbidden for word in words):
            choices = [word[0] for word in words if word[0] not in forbidden]
        else:
            choices = [id_ for id_ in range(len(vocabulary._texts)) if id_ not in forbidden]
        token = dice.choice(choices)
        bans.add(token)
        reply.append(token)

    said = b"".join(map(vocabulary.text, reply))
    assert all(text.encode().lower() not in said for text in banned)


def test_only_what_would_complete_a_text_is_forbidden(vocabulary, spell):
    bans = Bans(("cat",), vocabulary)
    (a, c, t) = (spell(sign)[0] for sign in "act")

    def forbidden():
        return {id_ for part in bans.forbidden() for id_ in part.tolist()}

    assert t not in forbidden()
    bans.add(c)
    assert t not in forbidden()
    bans.add(a)
    assert t in forbidden()
    bans.add(a)
    assert t not in forbidden()


def test_a_control_token_does_not_hide_what_stands_before_it(tokenizer, vocabulary, spell):
    bans = Bans(("ab",), vocabulary)
    bans.add(spell("a")[0])
    bans.add(tokenizer.token_to_id("<|im_start|>"))

    assert spell("b")[0] in torch.cat(bans.forbidden()).tolist()


def test_what_the_reply_begins_with_counts(vocabulary, spell):
    bans = Bans(("sea salt",), vocabulary, written="the SEA sal")

    assert spell("t")[0] in torch.cat(bans.forbidden()).tolist()


def test_banned_tokens_get_no_chance(vocabulary, spell):
    logits = torch.zeros(2, len(vocabulary._texts))

    result = penalised(logits, [NEUTRAL] * 2, [Tally(), Tally(bans=Bans(("e",), vocabulary))])

    assert result[1, spell("e")].eq(-torch.inf).all()
    assert result[0].isfinite().all()
    assert logits.isfinite().all()


# Bias


def test_a_bias_is_added_to_its_logit():
    result = penalised(torch.zeros(2, 4), [neutral(logit_bias={2: -7.5}), NEUTRAL], [Tally()] * 2)

    assert result.tolist() == [[0, 0, -7.5, 0], [0, 0, 0, 0]]


def test_a_bias_for_an_id_that_the_model_lacks_is_left_out():
    assert penalised(torch.zeros(1, 4), [neutral(logit_bias={9: 5})], [Tally()]).tolist() == [
        [0] * 4
    ]


def test_a_bias_may_come_with_text_keys_as_in_json():
    assert SamplingParams.model_validate({"logit_bias": {"13": -100}}).logit_bias == {13: -100.0}


@pytest.mark.parametrize(
    "bias", [{-1: 0}, {1: 101}, {1: float("nan")}, dict.fromkeys(range(301), 1)]
)
def test_a_bias_out_of_range_is_refused(bias):
    with pytest.raises(ValueError, match="logit_bias"):
        SamplingParams.model_validate({"logit_bias": bias})


# DRY


def plainly(ids, params, breaks):
    """DRY as text-generation-webui writes it down, with its search through the whole text."""
    start = 0 if params.dry_penalty_last_n < 0 else max(0, len(ids) - params.dry_penalty_last_n)
    ids = ids[start:]
    if not ids or breaks(ids[-1]):
        return {}
    lengths = {}
    for i in range(len(ids) - 1):
        if ids[i] != ids[-1] or breaks(ids[i + 1]):
            continue
        length = 1
        while (
            i - length >= 0 and ids[i - length] == ids[-1 - length] and not breaks(ids[i - length])
        ):
            length += 1
        lengths[ids[i + 1]] = max(length, lengths.get(ids[i + 1], 0))
    return {
        token: params.dry_multiplier
        * params.dry_base ** min(length - params.dry_allowed_length, 60)
        for token, length in lengths.items()
        if length >= params.dry_allowed_length
    }


@pytest.mark.parametrize("last_n", [-1, 0, 1, 7, 40])
@pytest.mark.parametrize("letters", ["ab", "abc:", "aaab\n", "abcdefgh*"])
def test_dry_penalises_as_its_description_says(vocabulary, spell, last_n, letters):
    dice = random.Random(letters)
    params = neutral(dry_multiplier=0.8, dry_allowed_length=3, dry_penalty_last_n=last_n)
    breakers = {spell(sign)[0] for sign in ':\n"*'}
    ids = spell("".join(dice.choices(letters, k=60)))
    dry = Dry(ids, params, vocabulary)
    for token in spell("".join(dice.choices(letters, k=60))):
        expected = plainly(ids, params, breakers.__contains__) if last_n else {}
        assert dry.penalties() == pytest.approx(expected)
        dry.add(token)
        ids.append(token)


def test_dry_lowers_the_token_that_would_repeat(vocabulary, spell):
    params = neutral(dry_multiplier=1, dry_base=2, dry_allowed_length=2)
    ids = spell("the cat sat. the cat ")
    logits = torch.zeros(1, len(vocabulary._texts))

    result = penalised(logits, [params], [Tally(ids, dry=Dry(ids, params, vocabulary))])

    assert result.nonzero().tolist() == [[0, spell("s")[0]]]
    assert result[0, spell("s")[0]] == -(2.0 ** (len("the cat ") - 2))


def test_a_breaker_may_lie_across_tokens(vocabulary, spell):
    params = neutral(dry_multiplier=1, dry_sequence_breakers=("t s",), dry_allowed_length=3)
    ids = spell("a cat sat, a cat sa")

    assert Dry(ids, params, vocabulary).penalties() == {}


def test_a_repetition_does_not_run_across_control_tokens(tokenizer, vocabulary, spell):
    end = tokenizer.token_to_id("<|im_end|>")
    ids = [*spell("good night"), end, *spell("good night")]
    params = neutral(dry_multiplier=1)

    assert Dry(ids, params, vocabulary, {end}).penalties() == {}


def test_a_very_long_repetition_stays_a_number(vocabulary, spell):
    ids = spell("a" * 3000)
    params = neutral(dry_multiplier=5, dry_base=4, dry_allowed_length=1)

    (penalty,) = Dry(ids, params, vocabulary).penalties().values()

    assert torch.tensor(penalty, dtype=torch.float32).isfinite()


@pytest.mark.parametrize("text", ["a", "ab", LETTERS], ids=["one letter", "two", "all"])
def test_dry_reads_a_long_text_in_linear_time(vocabulary, spell, text):
    params = neutral(dry_multiplier=1, dry_sequence_breakers=())
    ids = (spell(text) * 32_000)[:32_000]

    began = time.process_time()
    dry = Dry(ids, params, vocabulary)
    for token in ids[:5]:
        dry.add(token)
        dry.penalties()

    assert time.process_time() - began < 3  # the search through the whole text takes minutes


# Tally


def test_a_tally_keeps_its_arrays_up_to_date():
    dice = random.Random(1)
    tally = Tally(range(0, 50, 3))
    uses = dict.fromkeys(range(0, 50, 3), 0)
    for _ in range(500):
        token = dice.randrange(300)
        tally.add(token)
        uses[token] = uses.get(token, 0) + 1

        ids, counts = tally.arrays()
        assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == uses
