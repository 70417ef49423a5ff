"""The forward pass of a Llama for single tokens on a GPU, over the model's own weights.

The library's layers launch some forty kernels each, most of which do next to nothing; here a
layer is seven of ours for one row, and products of PyTorch's with a few small ones for more.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from hermes_ui.generation import gpu_kernel, gpu_layers


class Rows(Protocol):
    """Where rows write their keys and values, and what they see."""

    cache: Tensor  # (layers, 2, kv_heads, pages, tokens, head_dim)
    tables: Tensor
    lengths: Tensor
    places: Tensor


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor
    mixed: Tensor  # queries, keys and values
    out: Tensor
    norm: Tensor
    gated: Tensor  # gates, then what they let through
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
                mixed=_joined(attention.q_proj, attention.k_proj, attention.v_proj),
                out=attention.o_proj.weight,
                norm=layer.post_attention_layernorm.weight,
                gated=_joined(layer.mlp.gate_proj, layer.mlp.up_proj),
                down=layer.mlp.down_proj.weight,
            )
            for layer in inner.layers
            for attention in (layer.self_attn,)
        ]
        if self._head.is_cuda:
            torch.cuda.empty_cache()  # where the parts lay before: more than half of the model

    def __call__(self, ids: Tensor, positions: Tensor, rows: Rows) -> Tensor:
        """(rows, vocabulary) float32 logits after the tokens `ids`, (1, rows) as `positions`."""
        hidden = self._embed(ids[0])
        cos, sin = self._rotary(hidden, positions)
        for number, layer in enumerate(self._layers):
            mixed = self._normed(hidden, layer.attention_norm, layer.mixed)
            mixed = mixed.view(len(hidden), -1, self._size)
            cache = rows.cache[number]
            gpu_layers.turn_and_write(mixed, cos[0], sin[0], cache, rows.places, self._heads)
            asked = mixed[:, : self._heads]
            seen = gpu_kernel.answer(asked, cache, rows.tables, rows.lengths, self._size**-0.5)
            hidden = _added(hidden, seen.flatten(1), layer.out)
            hidden = _added(hidden, self._gated(hidden, layer), layer.down)
        return self._normed(hidden, self._last_norm, self._head, torch.float32)

    def _normed(
        self, x: Tensor, norm: Tensor, weight: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """A norm and a product."""
        if len(x) == 1:
            return gpu_layers.product(x, weight, norm=norm, eps=self._eps, dtype=dtype)
        return F.linear(F.rms_norm(x, norm.shape, norm, self._eps), weight).to(dtype or x.dtype)

    def _gated(self, x: Tensor, layer: _Layer) -> Tensor:
        """What goes into the last product of a layer."""
        if len(x) == 1:
            return gpu_layers.product(x, layer.gated, norm=layer.norm, eps=self._eps, is_gated=True)
        gate, rest = self._normed(x, layer.norm, layer.gated).chunk(2, -1)
        return F.silu(gate) * rest


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


def _added(hidden: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """`hidden` and a product."""
    if len(x) == 1:
        return gpu_layers.product(x, weight, residual=hidden)
    return hidden + F.linear(x, weight)


def _joined(*layers: Any) -> Tensor:
    """The weights of `layers` as one matrix, of which each layer then has its part."""
    weights = [layer.weight for layer in layers]
    whole = torch.cat([each.detach() for each in weights])
    for layer, part in zip(
        layers, torch.split(whole, [len(each) for each in weights]), strict=True
    ):
        layer.weight = nn.Parameter(part, requires_grad=False)
    return whole
