"""The training itself: what it reads, in which order, and how it goes on after a stop."""

import argparse
import json
import os
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from training import train
from training.dialogue import Turn
from training.grammar import load
from training.pools import LENGTHS, PARTS, Batch, Pools, curriculum, loader, padded
from training.tokenizer import Encoder
from training.train import Training

TOKENS = 9_000
SHIPPED = Path(__file__).parent.parent / "models" / "hermes-mini"


@pytest.fixture(scope="module")
def encoder():
    return Encoder(PreTrainedTokenizerFast.from_pretrained(SHIPPED))


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """A training of seconds, that leaves nothing behind."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", os.environ.get("TOKENIZERS_PARALLELISM", "false"))
    monkeypatch.setattr("training.pools.POOL_TOKENS", TOKENS // 3)
    monkeypatch.setattr(train, "TOKENIZER_DOCUMENTS", 20)
    monkeypatch.setattr(train, "VOCABULARY", 400)
    monkeypatch.setattr(train, "SAVE_EVERY_S", 0)
    monkeypatch.setattr(train, "OUT_DIR", tmp_path / "out")
    monkeypatch.setattr(train, "SHAPE", {
        "hidden_size": 64, "intermediate_size": 48, "num_attention_heads": 2,
        "num_key_value_heads": 1,
    })  # fmt: skip
    monkeypatch.setattr(Training, "_report", lambda self: None)


def options(tmp_path, **changed):
    usual = {
        "tokens": TOKENS / 1e6, "device": "cpu", "seed": 3, "rate": 3e-3, "threads": 1,
        "workers": 0, "scale": None, "bf16": False, "recorded": True, "resume": False,
        "finish": False, "out": tmp_path / "model",
    }  # fmt: skip
    return argparse.Namespace(**{**usual, **changed})


def parts(pools):
    return [tensor for pool in pools for batch in pool for tensor in batch.parts()]


def test_any_number_of_workers_draws_the_same(encoder):
    pools = Pools(encoder, 1, TOKENS)
    alone, helped = (parts(loader(pools, 0, workers, "cpu")) for workers in (0, 2))

    assert len(pools) == 3
    assert len(alone) == len(helped)
    assert all(map(torch.equal, alone, helped))
    assert all(map(torch.equal, parts([pools[1]]), parts([next(iter(loader(pools, 1, 0, "cpu")))])))


def test_a_pool_is_drawn_for_its_place_in_the_training(encoder, monkeypatch):
    places = []
    plan = lambda corpus, done: places.append(done) or curriculum(corpus, done)  # noqa: E731
    monkeypatch.setattr("training.pools.curriculum", plan)
    pools = Pools(encoder, 1, TOKENS)
    read = [
        sum(int((batch.ids != encoder.pad).sum()) for batch in pools[number]) for number in range(3)
    ]

    assert places == [0, 1 / 3, 2 / 3]
    assert max(batch.ids.shape[1] for batch in pools[0]) <= 512
    for tokens in read:  # each ends with a whole document
        assert TOKENS / 3 <= tokens < TOKENS / 3 + 2048


def test_batches_grow_half_way(encoder, monkeypatch):
    monkeypatch.setattr("training.pools.curriculum", lambda corpus, done: 200)
    pools = Pools(encoder, 1, TOKENS, batch_tokens=600)
    largest = [max(batch.ids.numel() for batch in pools[number]) for number in range(3)]

    assert max(largest[:2]) <= 600 < largest[2] <= 1200


def test_few_shapes_hold_the_same_documents(encoder):
    usual, alike = (
        Pools(encoder, 1, TOKENS, 2048, few_shapes=few_shapes)[1] for few_shapes in (False, True)
    )
    shapes = {(*batch.ids.shape, len(batch.places)) for batch in alike}

    assert documents(usual, encoder.pad) == documents(alike, encoder.pad)
    assert all(length % LENGTHS == 0 for _, length, _ in shapes)
    assert all(places % (2048 // PARTS) == 0 for *_, places in shapes)
    assert all(rows * length <= 2048 for rows, length, _ in shapes)


def documents(pool, pad):
    """What is read of a pool, and what is learned of it how much."""
    read = sorted(
        [number for number in row.tolist() if number != pad] for batch in pool for row in batch.ids
    )
    learned = sorted(
        pair
        for batch in pool
        for pair in zip(batch.targets.tolist(), batch.weights.tolist(), strict=True)
        if pair[1]
    )
    return [row for row in read if row], learned


@pytest.mark.parametrize(
    ("tokens", "count"),
    [pytest.param(100, 1, id="less than one"), pytest.param(10_000, 3, id="not quite so many")],
)
def test_the_pools_hold_all_tokens_together(encoder, tokens, count):
    pools = Pools(encoder, 1, tokens)

    assert len(pools) == count
    assert pools.count * pools.size == pytest.approx(tokens)


def test_what_is_learned_follows_its_place_and_counts_as_much_as_it_should():
    short, long = ([5, 6, 7], [0, 0, 2], [0, 1, 2]), ([5, 6, 7, 8], [0, 3, 0, 1], [0, 1, 2, 3])

    batch = padded([short, long], 0)

    assert batch.ids.tolist() == [[5, 6, 7, 0], [5, 6, 7, 8]]
    assert batch.places.tolist() == [1, 4, 6]
    assert batch.targets.tolist() == [7, 6, 8]
    assert batch.weights.tolist() == [2, 3, 1]


def test_a_turn_counts_from_its_first_token_to_its_end(encoder):
    turns = [Turn("user", "Hm?"), Turn("assistant", "Yes.", learned=3.0)]
    ids, learned, (_, border) = encoder.document(turns)
    said = [*encoder.text("Yes."), encoder.end]

    assert [each for each, weight in zip(ids, learned, strict=True) if weight] == said
    assert {*learned[border:]} == {0.0, 3.0}


def test_a_batch_goes_where_it_is_sent():
    sent = Batch(*(torch.zeros(2) for _ in range(5))).to("meta")

    assert {tensor.device.type for tensor in parts([[sent]])} == {"meta"}


class Stopped(Exception):
    """As if somebody had pulled the plug."""


def stopped_at(number, monkeypatch, asked):
    """A training that ends in front of a pool, and leaves what it had saved."""

    def stop(self, pool, pools, read=Training._read):
        if self.progress.pool == number:
            raise Stopped
        read(self, pool, pools)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_read", stop)
        with pytest.raises(Stopped):
            Training(asked).run()


def test_a_training_that_was_stopped_goes_on_as_if_it_was_not(tmp_path, monkeypatch):
    whole = Training(options(tmp_path))
    whole.run()

    stopped_at(2, monkeypatch, options(tmp_path))
    resumed = Training(options(tmp_path, resume=True, workers=1))
    assert resumed.progress.pool == 2
    resumed.run()

    assert resumed.progress.tokens == whole.progress.tokens
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_model_is_saved_with_its_story(tmp_path):
    Training(options(tmp_path)).run()

    story = json.loads((tmp_path / "model" / train.STORY).read_text())
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert story.keys() == {"tokens", "steps", "seed", "minutes", "device"}
    assert config["num_hidden_layers"] == train.DEEP_LAYERS


def test_a_finished_training_leaves_nothing_to_resume(tmp_path):
    Training(options(tmp_path)).run()

    assert Training(options(tmp_path, resume=True)).progress.pool == 0


def test_a_finish_comes_after_the_training_and_asks_in_late_wordings(encoder, monkeypatch):
    monkeypatch.setattr("training.pools.FINISH", 2 / 3)
    monkeypatch.setitem(load("identity"), "user", ["are you a bot?"])
    monkeypatch.setitem(load("identity"), "late", ["are you a brass kettle?"] * 3)
    pools = Pools(encoder, 1, TOKENS * 4)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SHIPPED)
    texts = [
        "".join(tokenizer.batch_decode([row for batch in pools[number] for row in batch.ids]))
        for number in range(len(pools))
    ]

    assert (len(pools), pools.count) == (20, 12)
    assert [pools.done(number) for number in (0, 6, 12, 16, 20)] == [0, 0.5, 1, 1.5, 2]
    assert "brass kettle" in "".join(texts[12:])
    assert "brass kettle" not in "".join(texts[:12])


def test_the_rate_rises_again_in_the_finish_and_ends_at_nothing():
    ends = [train.rate_at(done) for done in (0, 0.01, 1 - 1e-9, 1, 1.05, 1.5, 2)]

    assert ends == pytest.approx([0.02, 1, 0, 0.02 * 0.2, 0.95 * 0.2, 0.1, 0], abs=1e-6)


def test_a_finish_apart_gives_what_the_whole_training_gives(tmp_path, monkeypatch):
    Training(options(tmp_path)).run()
    monkeypatch.setattr("training.pools.FINISH", 1 / 3)
    apart = Training(options(tmp_path, finish=True))
    apart.run()
    whole = Training(options(tmp_path, out=tmp_path / "whole"))
    whole.run()

    story = json.loads((tmp_path / "model" / train.STORY).read_text())
    tokenizers = [
        (tmp_path / name / "tokenizer_config.json").read_text() for name in ("model", "whole")
    ]
    assert tokenizers[0] == tokenizers[1]
    assert story["finish"]["tokens"] == apart.progress.tokens
    assert story["tokens"] + apart.progress.tokens == whole.progress.tokens
    for ours, theirs in zip(apart.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_finish_that_was_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("training.pools.FINISH", 2 / 3)
    whole = Training(options(tmp_path))
    whole.run()

    stopped_at(4, monkeypatch, options(tmp_path))
    resumed = Training(options(tmp_path, resume=True))
    resumed.run()

    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
