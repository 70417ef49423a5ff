"""A tiny random Llama with a byte-level tokenizer, written as a checkpoint folder."""

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>")
WORDS = "hello there friend, the sea is calm and the lamp is lit over the harbour wall " * 3
SIGNS = "über naïve 日本語 한국어 🙂🌊🏴‍☠️ ქართული"
torch.set_num_threads(1)  # such small products gain nothing from more
STEADY = 5.0  # what the first channel of the residual stream holds at every position


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """All bytes and a few words; most signs beyond ASCII take several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([WORDS, SIGNS], trainer)
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[1]
    )


def tiny_llama(tokenizer: PreTrainedTokenizerFast, *, end_bias: float = -8.0) -> LlamaForCausalLM:
    """Random weights, and a bias of `end_bias` per unit of steady signal on the special tokens.

    Llama has no biases: the first channel carries a constant that no layer writes to.
    """
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.15)
        model.model.embed_tokens.weight[:, 0] = STEADY
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        model.lm_head.weight[:, 0] = 0
        for name in SPECIAL:
            model.lm_head.weight[tokenizer.convert_tokens_to_ids(name), 0] = end_bias
    return model.eval()


def write_tiny_model(folder: Path, *, end_bias: float = -8.0) -> Path:
    """A whole checkpoint in `folder`, as `save_pretrained` writes it."""
    tokenizer = byte_tokenizer()
    tiny_llama(tokenizer, end_bias=end_bias).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
