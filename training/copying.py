"""A head start for copying: attention heads that look at the previous tokens.

Copying an unseen name takes two heads in a row: the first notes for each token what stood
before it, the second looks for places where the same token stood before. A small model needs
millions of tokens to find the first one by chance; here it starts with it, and training may
change it like any other weight.
"""

import torch
from transformers import LlamaForCausalLM

CONSTANT = 0  # the embedding dimension that starts with the same value for every token
EMBEDDING_STD = 0.05
CONSTANT_IN_STDS = 4.0
SHARPNESS = 2.0  # of the heads' look back; about 8 logits against the neighbours
FREQUENCIES = 10  # the fastest turning pairs of the rotary embedding
OUTPUT_STD = 0.02


@torch.no_grad()
def seed_copying(model: LlamaForCausalLM) -> None:
    """Make the query heads of layer 0's first key head attend 1, 2, … tokens back. In place."""
    config, attention = model.config, model.model.layers[0].self_attn
    size = attention.head_dim
    groups = config.num_attention_heads // config.num_key_value_heads
    embedding = model.model.embed_tokens.weight
    embedding.normal_(std=EMBEDDING_STD)
    embedding[:, CONSTANT] = EMBEDDING_STD * CONSTANT_IN_STDS
    angles = model.model.rotary_emb.inv_freq[:FREQUENCIES].float()
    key = torch.zeros(size)
    key[:FREQUENCIES] = SHARPNESS
    attention.k_proj.weight[:size] = 0
    attention.k_proj.weight[:size, CONSTANT] = key
    for head in range(groups):
        rows, back = slice(head * size, (head + 1) * size), angles * (head + 1)
        query = torch.zeros(size)
        query[:FREQUENCIES] = SHARPNESS * back.cos()
        query[size // 2 : size // 2 + FREQUENCIES] = -SHARPNESS * back.sin()
        attention.q_proj.weight[rows] = 0
        attention.q_proj.weight[rows, CONSTANT] = query
        attention.o_proj.weight[:, rows].normal_(std=OUTPUT_STD)
    attention.v_proj.weight[:size].normal_(std=config.hidden_size**-0.5)
    attention.v_proj.weight[:size, CONSTANT] = 0
