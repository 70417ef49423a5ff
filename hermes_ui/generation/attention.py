"""Attention over the paged cache, one request at a time.

The library's own path for CPUs masks over the keys of all running requests, so that a step
costs as much as everybody's context together, and a request's numbers depend on its company.
"""

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "hermes_paged"

_step = threading.local()  # each engine has a thread of its own


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of a packed batch, in transformers' attention interface.

    Args:
        query: (1, heads, tokens, head_dim), the new tokens of all requests in a row.
        key, value: (1, kv_heads, tokens, head_dim) of the same tokens; the cache adds the
            older ones.
        kwargs: With `cache`, and with `cu_seq_lens_q` and `cu_seq_lens_k`, (requests + 1,)
            int32, where each request starts.

    Returns:
        (1, tokens, heads, head_dim) and no weights.
    """
    cache = kwargs.pop("cache")
    key, value = cache.update(
        key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs
    )
    starts_q = _numbers("q", kwargs["cu_seq_lens_q"])
    starts_k = _numbers("k", kwargs["cu_seq_lens_k"])
    result = torch.empty_like(query)
    for i in range(len(starts_q) - 1):
        new = slice(starts_q[i], starts_q[i + 1])
        all_ = slice(starts_k[i], starts_k[i + 1])
        result[:, :, new] = _one(query[:, :, new], key[:, :, all_], value[:, :, all_], scaling)
    return result.transpose(1, 2), None


def _numbers(which: str, starts: Tensor) -> list[int]:
    """`starts` as numbers, read once a step: on a GPU each reading waits for it.

    All layers of a step are handed the same view, and every step has a view of its own,
    which is kept here so that no other can take its identity.
    """
    known: tuple[Tensor, list[int]] | None = getattr(_step, which, None)
    if known is None or known[0] is not starts:
        known = (starts, starts.tolist())
        setattr(_step, which, known)
    return known[1]


def _one(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    """Attention of one request, whose last tokens are the queries."""
    new, total = query.shape[2], key.shape[2]
    mask = None
    if 1 < new < total:
        mask = torch.ones(new, total, dtype=torch.bool, device=query.device).tril(total - new)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=new == total and new > 1,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


AttentionInterface.register(NAME, attend)
