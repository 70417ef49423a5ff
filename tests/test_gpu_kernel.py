"""The kernels of a GPU, in Triton's interpreter where there is none."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="comes with PyTorch for GPUs")

from hermes_ui.generation import gpu_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def attention(query, cache, tables, lengths, scale):
    """Row by row and head by head, in float32."""
    rows, heads, _ = query.shape
    result = torch.zeros_like(query)
    for row in range(rows):
        seen = int(lengths[row])
        for head in range(heads if seen else 0):
            pages = cache[:, head // (heads // cache.shape[1]), tables[row].long()]
            keys, values = pages.flatten(1, 2)[:, :seen].float()
            likely = (query[row, head].float() @ keys.T * scale).softmax(-1)
            result[row, head] = likely @ values
    return result


@pytest.mark.parametrize(("dim", "heads", "kv_heads"), [(64, 6, 2), (48, 4, 4), (128, 6, 1)])
def test_rows_see_their_own_pages(dim, heads, kv_heads):
    torch.manual_seed(0)
    cache = torch.randn(2, kv_heads, 60, 32, dim, device=DEVICE)
    lengths = torch.tensor([0, 1, 33, 300, 700], device=DEVICE)
    tables = torch.stack([torch.randperm(60)[:25] for _ in lengths]).int().to(DEVICE)
    query = torch.randn(len(lengths), heads, dim, device=DEVICE)

    seen = gpu_kernel.answer(query, cache, tables, lengths, dim**-0.5)

    torch.testing.assert_close(
        seen, attention(query, cache, tables, lengths, dim**-0.5), atol=1e-4, rtol=1e-4
    )


def test_new_keys_and_values_go_to_their_places():
    cache = torch.zeros(2, 2, 4, 32, 16, dtype=torch.float16, device=DEVICE)
    key, value = torch.randn(2, 3, 2, 16, device=DEVICE)
    key[0, 0, 0] = 1e9
    places = torch.tensor([3, 100, 64], device=DEVICE)

    gpu_kernel.write(key, value, cache, places)

    kept = cache.flatten(2, 3)[:, :, places].transpose(1, 2)
    most = torch.finfo(torch.float16).max
    assert torch.equal(kept[0], key.clamp(-most, most).half())
    assert torch.equal(kept[1], value.half())
    assert cache.count_nonzero() == 2 * 3 * 2 * 16
