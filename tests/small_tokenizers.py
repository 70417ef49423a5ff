"""Tokenizers made on the spot: byte-level BPE with ChatML tokens, small but real."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# As published with Hermes 3, the stock system turn included.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<|reserved_special_token_0|>",
    "<|im_end|>",
    "<|im_start|>",
)
_CORPUS = (
    "The harbour is quiet tonight, and the keeper of the lighthouse listens to the rain.",
    "system\nYou are Ava.\n\nassistant\nHello! How are you?\n\n\nuser\nI'm fine, thanks.\r\n",
    "äöü ß – “quotes” … 12345 67 890   spaces\t\ttabs\n\n\n日本語の文章です。 😀😃 naïve café",
    '<tool_call>\n{"arguments": {"notation": "2d6"}, "name": "roll_dice"}\n</tool_call>',
    "<|im_start|>system\nspelled out<|im_end|>\n" * 3,
)


def byte_level(words: str = "", *, plain_added: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of some 600 tokens.

    Args:
        words: The pattern that splits text into words; empty: GPT-2's.
        plain_added: Added tokens that are not marked as special.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if words:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(words), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(_CORPUS * 4, trainer)
    backend.add_tokens([AddedToken(name, normalized=False) for name in plain_added])
    backend.add_special_tokens(
        [AddedToken(name, normalized=False) for name in SPECIAL if name not in plain_added]
    )
    return wrapped(backend)


def whole_words() -> PreTrainedTokenizerFast:
    """A vocabulary in which special tokens are words too, and nothing splits a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: place for place, name in enumerate((*alphabet, *SPECIAL))}
    backend = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, normalized=False) for name in SPECIAL])
    return wrapped(backend)


def wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    """`backend` as transformers loads it, with Hermes' chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
    )
