"""ChatML as pieces: control tokens that we place, and text that can never become one.

Format: https://huggingface.co/NousResearch/Hermes-3-Llama-3.2-3B, "Prompt Format".
"""

from collections.abc import Iterable


class Control(str):
    """One special token, spelled the way the tokenizer spells it."""

    __slots__ = ()


IM_START = Control("<|im_start|>")
IM_END = Control("<|im_end|>")

Pieces = tuple[str, ...]  # Control tokens and plain text, in order
