"""The forward pass of training: the Llama of transformers over its own weights, with less work.

Each matrix is cast to bf16 once per step, projections that read the same input are one
matmul, and attention is causal without a mask. The rows of a batch are padded on the right,
so no learned token sees padding. Nothing here waits for a GPU.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

BLOCK = 128  # queries that attend together
MASKED = -1e4


class Forward:
    """Computes the loss of `model`, whose parameters it reads and never copies for long.

    Args:
        model: A Llama with tied embeddings and default rotary positions.
        dtype: What the matmuls and attention compute in; norms and the residual are fp32.
    """

    def __init__(self, model: LlamaForCausalLM, dtype: torch.dtype) -> None:
        config = model.config
        self.model, self.dtype = model, dtype
        self.size = config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.eps = config.rms_norm_eps
        self.attend = attend_fused if model.device.type == "cuda" else attend

    def loss(
        self, ids: Tensor, positions: Tensor, places: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensor:
        """Mean cross-entropy of the learned tokens, by their weights.

        Args:
            ids, positions: (rows, length).
            places: (tokens,), in the flat rows, after which a token is learned.
            targets: (tokens,), the ids that come after them.
            weights: (tokens,), how much each of those counts.
        """
        inner = self.model.model
        hidden = F.embedding(ids, inner.embed_tokens.weight)
        rotary = self._rotary(positions)
        for number, layer in enumerate(inner.layers, 1):
            normed = self._norm(hidden, layer.input_layernorm)
            hidden = hidden + self._attention(layer, normed, rotary)
            if number == len(inner.layers):  # from here on no token reads another
                hidden = hidden.flatten(0, 1).index_select(0, places)
            normed = self._norm(hidden, layer.post_attention_layernorm)
            hidden = hidden + self._mlp(layer.mlp, normed)
        last = self._norm(hidden, inner.norm)
        logits = F.linear(last, inner.embed_tokens.weight.to(self.dtype))
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        return (each * weights).sum() / weights.sum()

    def _norm(self, hidden: Tensor, norm: nn.Module) -> Tensor:
        """(…, width) fp32 in, `dtype` out, by the fused kernel."""
        return F.rms_norm(hidden, (hidden.shape[-1],), norm.weight, self.eps).to(self.dtype)

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines, each (rows, length, 1, head size)."""
        angles = positions[..., None, None] * self.model.model.rotary_emb.inv_freq
        cos, sin = angles.cos(), angles.sin()
        both = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
        return both[0].to(self.dtype), both[1].to(self.dtype)

    def _attention(self, layer: nn.Module, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """(rows, length, width) in and out."""
        rows, length, _ = x.shape
        part = layer.self_attn
        weights = (part.q_proj.weight, part.k_proj.weight, part.v_proj.weight)
        mixed = F.linear(x, torch.cat(weights).to(self.dtype)).view(rows, length, -1, self.size)
        turned, value = mixed.split((self.heads + self.kv_heads, self.kv_heads), 2)
        cos, sin = rotary
        turned = turned * cos + turned.roll(self.size // 2, -1) * sin
        query, key = turned.split((self.heads, self.kv_heads), 2)
        seen = self.attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        seen = seen.transpose(1, 2).reshape(rows, length, -1)
        return F.linear(seen, part.o_proj.weight.to(self.dtype))

    def _mlp(self, mlp: nn.Module, x: Tensor) -> Tensor:
        """(rows, length, width) in and out."""
        weight = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).to(self.dtype)
        gate, up = F.linear(x, weight).chunk(2, -1)
        return F.linear(F.silu(gate) * up, mlp.down_proj.weight.to(self.dtype))


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention in blocks of queries, each over the keys up to its end.

    For heads this small, plain matmuls take about half the CPU time of torch's flash kernel,
    most of all backward. The query heads of one key head are stacked, so no key is repeated.

    Args:
        query: (rows, heads, length, head size).
        key, value: (rows, key heads, length, head size).

    Returns:
        The shape of `query`.
    """
    rows, heads, length, size = query.shape
    groups = key.shape[1]
    query, seen = query * size**-0.5, []
    key, value = key.flatten(0, 1), value.flatten(0, 1)
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        asked = query[:, :, start:end].reshape(rows * groups, -1, size)
        mask = query.new_full((end - start, end), MASKED).triu(start + 1)
        scores = torch.baddbmm(mask.repeat(heads // groups, 1), asked, key[:, :end].mT)
        part = scores.softmax(-1) @ value[:, :end]
        seen.append(part.view(rows, heads, -1, size))
    return torch.cat(seen, 2)


def attend_fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same as `attend` in one kernel, which is what GPUs are fast at."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
