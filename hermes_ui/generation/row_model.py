"""The forward pass of a Llama for single tokens on a GPU, over the model's own weights.

The library's layers launch some forty kernels each, most of which do next to nothing; here a
layer is seven of ours for one row, and products of PyTorch's with a few small ones for more.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from hermes_ui.generation import gpu_kernel
from hermes_ui.generation.gpu_layers import product, turn_and_write
from hermes_ui.generation.rows import Buffered


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor
    qkv: Tensor
    out: Tensor
    norm: Tensor
    gate_up: Tensor
    down: Tensor


class RowModel:
    """`model`, whose weights are laid side by side where they read the same. In place."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        self._heads, self._size = config.num_attention_heads, config.head_dim
        self._eps = config.rms_norm_eps
        inner = model.model
        self._embed, self._rotary = inner.embed_tokens, inner.rotary_emb
        self._last_norm, self._head = inner.norm.weight, model.lm_head.weight
        self._layers = [
            _Layer(
                attention_norm=layer.input_layernorm.weight,
                qkv=_joined(attention.q_proj, attention.k_proj, attention.v_proj),
                out=attention.o_proj.weight,
                norm=layer.post_attention_layernorm.weight,
                gate_up=_joined(layer.mlp.gate_proj, layer.mlp.up_proj),
                down=layer.mlp.down_proj.weight,
            )
            for layer in inner.layers
            for attention in (layer.self_attn,)
        ]
        if self._head.is_cuda:
            torch.cuda.empty_cache()  # where the parts lay before: more than half of the model

    def __call__(self, ids: Tensor, positions: Tensor, step: Buffered) -> Tensor:
        """(rows, vocabulary) float32 logits after the tokens `ids`, (1, rows) as `positions`."""
        hidden, eps = self._embed(ids[0]), self._eps
        (cos,), (sin,) = self._rotary(hidden, positions)
        for layer, cache in zip(self._layers, step.cache, strict=True):
            qkv = product(hidden, layer.qkv, norm=layer.attention_norm, eps=eps)
            qkv = qkv.view(len(hidden), -1, self._size)
            turn_and_write(qkv, cos, sin, cache, step.places, self._heads)
            asked = qkv[:, : self._heads]
            seen = gpu_kernel.answer(asked, cache, step.tables, step.lengths, self._size**-0.5)
            hidden = product(seen.flatten(1), layer.out, residual=hidden)
            gated = product(hidden, layer.gate_up, norm=layer.norm, eps=eps, is_gated=True)
            hidden = product(gated, layer.down, residual=hidden)
        return product(hidden, self._head, norm=self._last_norm, eps=eps, dtype=torch.float32)


def row_model(model: Any) -> RowModel | None:
    """`model` for single tokens, where it is a plain Llama."""
    config = model.config
    is_plain = (
        type(model) is LlamaForCausalLM
        and config.hidden_act == "silu"
        and not (config.attention_bias or config.mlp_bias)
        and all(type(each) is nn.Linear for each in _products(model))
    )
    return RowModel(model) if is_plain else None


def _products(model: Any) -> list[nn.Module]:
    return [each for name, each in model.named_modules() if name.endswith(("_proj", "lm_head"))]


def _joined(*layers: Any) -> Tensor:
    """The weights of `layers` as one matrix, of which each layer then has its part."""
    weights = [layer.weight for layer in layers]
    whole = torch.cat([each.detach() for each in weights])
    for layer, part in zip(
        layers, torch.split(whole, [len(each) for each in weights]), strict=True
    ):
        layer.weight = nn.Parameter(part, requires_grad=False)
    return whole
