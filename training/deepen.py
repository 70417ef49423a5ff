"""More layers for a model that is trained already: depth where it is needed, when it is needed.

The first half of a training finds words, sentences and copying, for which few layers do at
less cost a token. What takes several looks in a row, such as the key that follows the key
just filled, or the function whose description fits what was asked, takes depth.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@torch.no_grad()
def deepened(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """`model` with `layers` layers in all, which computes the same at first.

    The layers before the last one are doubled, as many as are lacking. A double reads what its
    original reads, but adds nothing until it is trained: its output matrices are zero.
    """
    old = model.config.num_hidden_layers
    last, extra = old - 1, layers - old
    if not 0 <= extra < old:
        raise ValueError(f"a model of {old} layers cannot be deepened to {layers}")
    order = sorted([*range(old), *range(last - extra, last)])
    deeper = LlamaForCausalLM(LlamaConfig.from_dict(
        {**model.config.to_dict(), "num_hidden_layers": layers}
    )).to(model.device, model.dtype)  # fmt: skip
    deeper.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    deeper.model.norm.load_state_dict(model.model.norm.state_dict())
    for number, source in enumerate(order):
        layer = deeper.model.layers[number]
        layer.load_state_dict(model.model.layers[source].state_dict())
        if number and order[number - 1] == source:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    return deeper
