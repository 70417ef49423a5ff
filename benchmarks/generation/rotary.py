"""How llama.cpp wants rotary positions: rows in pairs, and a factor for each frequency."""

import math
from typing import Any

import numpy as np

Config = dict[str, Any]  # a model's config.json


def permuted(tensor: np.ndarray, heads: int) -> np.ndarray:
    """(heads · head_dim, …) rows reordered: transformers rotates halves, llama.cpp pairs."""
    rows = tensor.shape[0]
    halves = tensor.reshape(heads, 2, rows // heads // 2, *tensor.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))


def rope_factors(config: Config) -> list[float]:
    """What llama.cpp divides each rotary frequency by; empty where nothing is scaled.

    The rule of Llama 3.1 and later, as in transformers' `rope_type: llama3`.
    """
    rope = rope_settings(config)
    if rope.get("rope_type") != "llama3":
        return []
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    factors = []
    for i in range(0, head_dim, 2):
        turns = (
            rope["original_max_position_embeddings"]
            / (2 * math.pi)
            * rope["rope_theta"] ** (-i / head_dim)
        )
        share = min(1.0, max(0.0, (turns - low) / (high - low)))  # of the unscaled frequency
        factors.append(1 / ((1 - share) / rope["factor"] + share))
    return factors


def rope_settings(config: Config) -> dict[str, Any]:
    """The rotary settings, which newer transformers writes into one object."""
    written = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return {"rope_theta": config.get("rope_theta", 10000.0), **written}
