"""Our layers for single tokens against the library's, in Triton's interpreter without a GPU."""

import os
from types import SimpleNamespace

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="comes with PyTorch for GPUs")

from transformers import LlamaConfig, LlamaForCausalLM

from hermes_ui.generation.row_model import row_model

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOKENS, PAGE = 6, 4


def llama(**changed):
    """Weights as loud as a trained model's, so that no part of it goes unnoticed."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": 40, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**shape | changed)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.requires_grad_(False).to(DEVICE)


def said(rows, ids, config):
    """Logits after the last of (rows, tokens) ids, a token a step."""
    kept = config.num_hidden_layers, 2, config.num_key_value_heads, 8, PAGE, config.head_dim
    cache = torch.zeros(kept, device=DEVICE)
    tables = torch.tensor([[5, 1], [2, 6]], dtype=torch.int32, device=DEVICE)[: len(ids)]
    for at in range(TOKENS):
        step = SimpleNamespace(
            cache=cache, tables=tables.contiguous(),
            lengths=torch.full((len(ids),), at + 1, device=DEVICE),
            places=tables[:, at // PAGE].long() * PAGE + at % PAGE,
        )  # fmt: skip
        logits = rows(ids[:, at][None], torch.full((1, len(ids)), at, device=DEVICE), step)
    return logits


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rows", [1, 2])
def test_rows_say_what_the_library_says(rows, tied):
    model = llama(tie_word_embeddings=tied)
    ids = torch.randint(40, (rows, TOKENS), device=DEVICE)
    wanted = model(input_ids=ids).logits[:, -1]

    found = said(row_model(model), ids, model.config)

    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_the_model_itself_goes_on_as_before():
    model = llama()
    ids = torch.randint(40, (1, TOKENS), device=DEVICE)
    before = model(input_ids=ids).logits
    weights = sum(each.numel() for each in model.parameters())

    row_model(model)

    assert torch.equal(model(input_ids=ids).logits, before)
    assert sum(each.numel() for each in model.parameters()) == weights


@pytest.mark.parametrize(
    "changed", [{"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"}]
)
def test_what_is_no_plain_llama_is_left_to_the_library(changed):
    assert row_model(llama(**changed)) is None
