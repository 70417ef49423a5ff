"""How much an engine does at once, and how much memory that may take."""

from dataclasses import dataclass
from typing import Any, Self

import torch

from hermes_ui.generation import memory
from hermes_ui.generation.drafts import LONGEST
from hermes_ui.generation.paging import kept_shape

CPU_SHARE = 0.3  # of the free memory, for the cache; others live in a machine's memory too
GPU_SHARE = 0.6
KEPT_BYTES = 2  # of a number in the cache, see `attention.Step.kept_as`
SHORTEST_CONTEXT = 256  # tokens


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much an engine does at once. `cache_tokens` are shared by all running requests."""

    context_length: int
    max_active: int
    max_waiting: int
    cache_tokens: int
    step_tokens: int  # of prompts, read in one step; the others' next words wait for it
    draft_tokens: int = LONGEST  # guessed at a time, see drafts.py; 0: none

    @classmethod
    def of(
        cls,
        model: Any,
        *,
        step_tokens: int,
        context_length: int,
        max_active: int,
        max_waiting: int,
        cache_tokens: int,
    ) -> Self:
        """As many tokens of cache as the running requests can use, within a part of the memory.

        `cache_tokens` of 0 is no limit of one's own.
        """
        affordable = _affordable(model)
        if cache_tokens:
            affordable = min(affordable, cache_tokens)
        longest = min(context_length, model.config.get_text_config().max_position_embeddings)
        context = min(longest, max(SHORTEST_CONTEXT, affordable))
        return cls(
            context_length=context,
            max_active=max_active,
            max_waiting=max_waiting,
            cache_tokens=max(context, min(affordable, cache_tokens or context * max_active)),
            step_tokens=step_tokens,
        )


def _affordable(model: Any) -> int:
    """Tokens of cache that fit into the memory."""
    config, device = model.config.get_text_config(), model.device.type
    heads, head_dim = kept_shape(config)
    numbers: int = 2 * config.num_hidden_layers * heads * head_dim  # of a token
    share = CPU_SHARE if device == "cpu" else GPU_SHARE
    return int(_free_memory(device) * share) // (numbers * KEPT_BYTES)


def _free_memory(device: str) -> int:
    """Bytes that are free for a cache."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    if device == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return memory.available()
