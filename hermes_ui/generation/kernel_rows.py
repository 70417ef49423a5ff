"""The forward pass of a few tokens on a CPU, over a Llama of integers, as one `Program`.

A step of a reply waits for the weights to come from memory. Between the products the library's
layers are a hundred small operations and some Python, while which nothing comes; here they are
compiled too. Each gives the bits that the library's gives.
"""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutput

from hermes_ui.generation import kernel
from hermes_ui.generation.drafts import STEP_ROWS
from hermes_ui.generation.elementwise import RowSiLU, add_gate, add_split, add_sum, add_turn
from hermes_ui.generation.loud import Loud
from hermes_ui.generation.norms import RowNorm
from hermes_ui.generation.openmp import Program
from hermes_ui.generation.products import Packed
from hermes_ui.generation.quantize import Int8Linear


class KernelRows:
    """`model` for the steps of a batcher: our own pass where a step has few tokens, else called.

    Args:
        model: What `kernel_rows` knows.
        cache: (layers, 2, kv_heads, pages, tokens, head_dim), as `kernel.KernelStep` keeps it.
    """

    has_bursts = False

    def __init__(self, model: LlamaForCausalLM, cache: Tensor) -> None:
        self._model = model
        self._cache = cache
        self._passes: dict[tuple[int, int], _Pass] = {}  # by tokens and threads

    def _supports_logits_to_keep(self) -> bool:
        """Read by the library's runner, which then asks for the rows that it wants."""
        return True

    @torch.no_grad()
    def __call__(self, **batch: Any) -> CausalLMOutput:
        """The logits of one step, (1, wanted, vocabulary)."""
        step: kernel.KernelStep = batch["step"]
        size = step.tokens, torch.get_num_threads()
        if step.tokens > STEP_ROWS:
            return self._model(**batch)
        if size not in self._passes:
            self._passes[size] = _Pass(self._model.model, self._cache, step.tokens)
        hidden = self._passes[size].run(batch["input_ids"], batch["position_ids"], step)
        return CausalLMOutput(logits=self._model.lm_head(hidden[None, batch["logits_to_keep"]]))


def kernel_rows(model: Any, *, trash: int, cache: Tensor) -> KernelRows | None:
    """`model` for a batcher's steps; None: it is no plain Llama. `trash` is for other steps."""
    return KernelRows(model, cache) if _is_known(model) else None


def _is_known(model: Any) -> bool:
    """Whether the layers of `model` compute what ours do."""
    if type(model) is not LlamaForCausalLM:
        return False
    inner = model.model
    norms = [inner.norm]
    for layer in inner.layers:
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    gates = [layer.mlp.act_fn for layer in inner.layers]
    return {*map(type, norms)} == {RowNorm} and {*map(type, gates)} == {RowSiLU}


class _Pass:
    """The layers of a model for so many tokens, in buffers that they share.

    Args:
        inner: The model without its head.
    """

    def __init__(self, inner: Any, cache: Tensor, tokens: int) -> None:
        self._inner, self._tokens = inner, tokens
        self._program = program = Program()
        self._products = products = _Products(inner, program, tokens)
        self._attention = kernel.Calls(cache, tokens)
        config = inner.config
        self._cos, self._sin = torch.empty(2, tokens, config.head_dim)
        self._hidden, normed = torch.empty(2, tokens, config.hidden_size)
        seen = torch.empty(tokens, config.num_attention_heads, config.head_dim)
        gated = torch.empty(tokens, config.intermediate_size)
        self._kept = normed, seen, gated  # of which the program has the addresses only
        for number, layer in enumerate(inner.layers):
            attention, mlp = layer.self_attn, layer.mlp
            layer.input_layernorm.add_to(program, self._hidden, normed)
            parts = products.add(normed, attention.q_proj, attention.k_proj, attention.v_proj)
            heads = [each.view(tokens, -1, config.head_dim) for each in parts]
            for turned in heads[:2]:
                add_turn(program, turned, self._cos, self._sin)
            self._attention.add_to(program, number, heads, attention.scaling, seen)
            add_sum(program, self._hidden, *products.add(seen.flatten(1), attention.o_proj))
            layer.post_attention_layernorm.add_to(program, self._hidden, normed)
            gate, up = products.add(normed, mlp.gate_proj, mlp.up_proj)
            add_gate(program, gate, up, gated)
            add_sum(program, self._hidden, *products.add(gated, mlp.down_proj))
        inner.norm.add_to(program, self._hidden, normed)
        self._result: Tensor = normed

    def run(self, ids: Tensor, positions: Tensor, step: kernel.KernelStep) -> Tensor:
        """(tokens, width), the last norm's, for (1, tokens) ids; the next run writes over it."""
        self._hidden.copy_(self._inner.embed_tokens(ids[0, : self._tokens]))
        angles = self._inner.rotary_emb(self._hidden, positions[:, : self._tokens])
        for kept, new in zip((self._cos, self._sin), angles, strict=True):
            kept.copy_(new[0])
        self._attention.lay(step)
        self._program.run()
        return self._result


class _Products:
    """Products of so many tokens as parts of a program, with the memory that they take."""

    def __init__(self, inner: Any, program: Program, tokens: int) -> None:
        self._program, self._tokens = program, tokens
        found = (each.main for each in inner.modules() if isinstance(each, Int8Linear))
        rooms = [each.room(tokens) for each in found if isinstance(each, Packed)]
        self._scratch = torch.empty(max(rooms, default=0), dtype=torch.uint8)
        self._buffers: dict[Hashable, Tensor] = {}

    def add(self, x: Tensor, *layers: Int8Linear) -> list[Tensor]:
        """Let the program write what `layers` make of `x`: (tokens, outputs) each.

        The next layers with as many outputs write over it.
        """
        siblings = layers[0].siblings
        if siblings is None or any(each.bias is not None for each in layers):
            return [self._add_one(x, each, place) for place, each in enumerate(layers)]
        outputs = [each.out_features for each in layers]
        result = self._buffer(sum(outputs), "joined")
        siblings.whole.add_to(self._program, x, result, self._scratch)
        return list(torch.split(result, outputs, 1))

    def _add_one(self, x: Tensor, layer: Int8Linear, place: int) -> Tensor:
        result = self._buffer(layer.out_features, place)
        main, outliers = layer.main, layer.outliers
        if not isinstance(main, Packed) or layer.bias is not None:
            self._program.add_python(lambda: result.copy_(layer(x)))
        elif outliers is None:
            main.add_to(self._program, x, result, self._scratch)
        else:
            assert isinstance(layer.loud, Loud)  # it is where our own products are
            quiet = self._buffer(layer.in_features, "quiet")
            loud = self._buffer(len(outliers), "loud")
            more = self._buffer(layer.out_features, "of the loud")
            add_split(self._program, x, outliers, quiet, loud)
            main.add_to(self._program, quiet, result, self._scratch)
            layer.loud.add_to(self._program, loud, more)
            add_sum(self._program, result, more)
        return result

    def _buffer(self, width: int, use: Hashable) -> Tensor:
        """(tokens, width), the same one for the same use."""
        if (width, use) not in self._buffers:
            self._buffers[width, use] = torch.empty(self._tokens, width)
        return self._buffers[width, use]
