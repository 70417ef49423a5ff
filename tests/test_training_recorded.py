"""Recorded training steps against the same steps launched one by one."""

import copy
import random

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from training.forward import Forward
from training.pools import LENGTHS, batches_alike
from training.recorded import Recorded
from training.train import optimizers_for, set_rate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
ROUNDS = 5


@pytest.fixture
def model():
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64, hidden_size=128, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).to("cuda")


@pytest.fixture
def batches():
    """Of three shapes, each of them some times."""
    rng = random.Random(1)
    rows = [
        ([rng.randrange(1, 64) for _ in range(length)], [1.0] * length, [*range(length)])
        for length in (LENGTHS + 9, LENGTHS + 9, 40, 40, 40, 40, 9) * 2
    ]
    alike = [batch.pin_memory() for batch in batches_alike(rows, 4 * LENGTHS, 0, rng)]
    return alike * ROUNDS


def step_of(model):
    """A step that trains `model`, and its optimizers."""
    forward, optimizers = Forward(model, torch.float32), optimizers_for(model, 1e-3, torch.bfloat16)

    def step(*parts):
        loss = forward.loss(*parts)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()

    return step, optimizers


def losses(train, optimizers, batches):
    """Of one step on each batch, at rates that fall."""
    found = []
    for number, batch in enumerate(batches):
        set_rate(optimizers, 1e-3 / (1 + number))
        found.append(train(batch))
    return torch.stack(found)


def test_recorded_steps_train_as_others_do(model, batches):
    twin = copy.deepcopy(model)
    ours, theirs = step_of(model), step_of(twin)
    recorded = Recorded(ours[0])

    mine = losses(recorded, ours[1], batches)
    other = losses(lambda batch: theirs[0](*batch.to("cuda").parts()), theirs[1], batches)

    assert recorded.count >= 2
    torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-3)
    for own, others in zip(model.parameters(), twin.parameters(), strict=True):
        assert own.grad is None
        torch.testing.assert_close(own, others, rtol=2e-2, atol=2e-3)
