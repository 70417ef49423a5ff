"""The training's own forward pass, optimizer and deepening against those of the libraries."""

import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from training.deepen import deepened
from training.forward import BLOCK, Forward, attend, attend_fused
from training.muon import Muon
from training.pools import LENGTHS, batches_alike, padded
from training.train import DEEP_LAYERS, LAYERS, WARM_UP, layers_at, rate_at, set_rate


@pytest.fixture
def model():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.mark.parametrize("length", [20, BLOCK + 30])
def test_the_loss_is_that_of_transformers(model, length):
    ids = torch.randint(0, 64, (2, length))
    targets = ids.roll(-1, 1)
    targets[:, ::3] = -100
    targets[:, -1] = -100
    positions = torch.arange(length).expand(2, length)

    learned = (targets.flatten() != -100).nonzero().flatten()

    following, weights = targets.flatten()[learned], torch.rand(len(learned))

    ours = Forward(model, torch.float32).loss(ids, positions, learned, following, weights)

    logits = model(input_ids=ids).logits
    each = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1)[learned], following, reduction="none"
    )
    theirs = (each * weights).sum() / weights.sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def twins(model):
    """The matrices of the model and of its copy, with the same gradients."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    ours, theirs = ([p for p in m.model.layers.parameters() if p.ndim == 2] for m in (model, copy))
    for mine, other in zip(ours, theirs, strict=True):
        mine.grad = torch.randn_like(mine)
        other.grad = mine.grad.clone()
    return ours, theirs


def test_a_step_of_muon_is_that_of_torch(model):
    ours, theirs = twins(model)

    Muon(ours, lr=0.01, weight_decay=0.05).step()
    torch.optim.Muon(theirs, lr=0.01, weight_decay=0.05, adjust_lr_fn="match_rms_adamw").step()

    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-2, atol=1e-4)


def test_muon_reads_its_rate_from_a_tensor_too(model):
    ours, theirs = twins(model)
    muons = Muon(ours, lr=torch.tensor(0.5)), Muon(theirs, lr=0.01)

    set_rate(muons, 0.01)
    for muon in muons:
        muon.step()

    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_padding_changes_neither_the_loss_nor_the_gradients(model):
    rows = [
        (torch.randint(0, 64, (n,)).tolist(), [0.0, 2.0] * (n // 2), [*range(n)]) for n in (8, 6)
    ]
    results = []

    for batch in (padded(rows, 0), *batches_alike(rows, 12 * LENGTHS, 0, random.Random(1))):
        loss = Forward(model, torch.float32).loss(*batch.parts())
        results.append((loss, *torch.autograd.grad(loss, [*model.parameters()])))

    exact, alike = results
    for mine, other in zip(exact, alike, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_more_layers_compute_the_same_and_all_of_them_learn(model):
    ids = torch.randint(0, 64, (2, 20))
    deeper = deepened(model, 3)

    torch.testing.assert_close(deeper(input_ids=ids).logits, model(input_ids=ids).logits)

    assert len(deeper.model.layers) == 3
    deeper(input_ids=ids, labels=ids).loss.backward()
    assert all(layer.mlp.down_proj.weight.grad.any() for layer in deeper.model.layers)


@pytest.mark.parametrize("layers", [1, 4])
def test_layers_can_be_doubled_once_and_not_taken_away(model, layers):
    with pytest.raises(ValueError, match=f"2 layers cannot be deepened to {layers}"):
        deepened(model, layers)


@pytest.mark.parametrize("length", [20, BLOCK + 30])
def test_attention_in_one_kernel_is_that_in_blocks(length):
    query, key, value = (
        torch.randn(2, heads, length, 8, requires_grad=True) for heads in (4, 2, 2)
    )
    results = []
    for way in (attend, attend_fused):
        seen = way(query, key, value)
        results.append((seen, *torch.autograd.grad(seen.sin().sum(), (query, key, value))))

    for blocks, fused in zip(*results, strict=True):
        torch.testing.assert_close(blocks, fused, rtol=1e-4, atol=1e-5)


def test_a_cpu_attends_in_blocks(model):
    assert Forward(model, torch.float32).attend is attend


def test_the_learning_rate_rises_once_and_falls_in_a_line():
    first, peak, middle, later, last = map(rate_at, (0, WARM_UP, 0.5, 0.75, 1 - 1e-9))

    assert 0 < first < 0.1
    assert peak == pytest.approx(1)
    assert middle - later == pytest.approx(later - last)
    assert last == pytest.approx(0, abs=1e-6)


def test_layers_are_added_half_way():
    assert [layers_at(done) for done in (0, 0.49, 0.5, 1)] == [LAYERS] * 2 + [DEEP_LAYERS] * 2
