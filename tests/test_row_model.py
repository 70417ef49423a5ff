"""Our layers for single tokens against the library's, in Triton's interpreter without a GPU."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="comes with PyTorch for GPUs")

from transformers import LlamaConfig, LlamaForCausalLM

from hermes_ui.generation.row_model import row_model
from hermes_ui.generation.rows import Buffered

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter multiplies no bfloat16.
HALF = torch.bfloat16 if DEVICE == "cuda" else torch.float16
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


def said(rows, ids, model):
    """Logits after the last of (rows, tokens) ids, a token a step."""
    config = model.config
    kept = config.num_hidden_layers, 2, config.num_key_value_heads, 8, PAGE, config.head_dim
    cache = torch.zeros(kept, dtype=model.dtype, device=DEVICE)
    tables = torch.tensor([[5, 1], [2, 6]], dtype=torch.int32, device=DEVICE)[: len(ids)]
    for at in range(TOKENS):
        lengths = torch.full((len(ids),), at + 1, device=DEVICE)
        step = Buffered(cache, tables, lengths, tables[:, at // PAGE].long() * PAGE + at % PAGE)
        logits = rows(ids[:, at][None], torch.full((1, len(ids)), at, device=DEVICE), step)
    return logits


@pytest.mark.parametrize(
    ("changed", "dtype", "off"),
    [
        pytest.param({}, torch.float32, 1e-4, id="float32"),
        pytest.param({"tie_word_embeddings": True}, torch.float32, 1e-4, id="tied"),
        pytest.param({"num_attention_heads": 6}, HALF, 5e-2, id="two bytes, by threes"),
    ],
)
@pytest.mark.parametrize("rows", [1, 2])
def test_rows_say_what_the_library_says(rows, changed, dtype, off):
    model = llama(**changed).to(dtype)
    ids = torch.randint(40, (rows, TOKENS), device=DEVICE)
    wanted = model(input_ids=ids).logits[:, -1].float()

    found = said(row_model(model), ids, model)

    assert found.dtype == torch.float32
    assert (found - wanted).norm() <= off * wanted.norm()


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
