"""A Llama checkpoint folder as a GGUF file, so that llama.cpp runs the very same weights.

    python -m benchmarks.generation.gguf_file FOLDER FILE --type q8_0

All matrices get one type, the embedding too; norms stay float32, as llama.cpp wants them.
Needs the `gguf` package.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES
from safetensors import safe_open

from benchmarks.generation.rotary import Config, permuted, rope_factors, rope_settings
from hermes_ui.generation.weights import weight_files

TYPES = {
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
}


def write(folder: Path, file: Path, type_name: str) -> None:
    """Write the model of `folder` to `file`, whole or not at all."""
    config: Config = json.loads((folder / "config.json").read_text())
    matrix_type, file_type = TYPES[type_name]
    unfinished = file.with_suffix(".part")
    writer = gguf.GGUFWriter(unfinished, "llama")
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, config)
    _add_vocabulary(writer, folder, config)
    shapes = list(_shapes(folder, config, matrix_type))
    for name, shape, type_ in shapes:
        n_bytes = _n_bytes(shape, type_)
        writer.add_tensor_info(name, shape, np.dtype(np.float32), n_bytes, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for (_, _, type_), (_, tensor) in zip(shapes, _tensors(folder, config), strict=True):
        writer.write_tensor_data(gguf.quants.quantize(tensor, type_))
    writer.close()
    unfinished.replace(file)


def _n_bytes(shape: tuple[int, ...], type_: gguf.GGMLQuantizationType) -> int:
    block, block_bytes = GGML_QUANT_SIZES[type_]
    return math.prod(shape) // block * block_bytes


def _add_shape(writer: gguf.GGUFWriter, config: Config) -> None:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name("benchmark")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope_settings(config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_vocabulary(writer: gguf.GGUFWriter, folder: Path, config: Config) -> None:
    """The byte-level BPE of `tokenizer.json`; ids that it lacks are filled up."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    tokens = {id_: token for token, id_ in vocabulary["model"]["vocab"].items()}
    special = {added["id"] for added in vocabulary["added_tokens"] if added["special"]}
    tokens |= {added["id"]: added["content"] for added in vocabulary["added_tokens"]}
    ids = range(config["vocab_size"])
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in vocabulary["model"]["merges"]
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([tokens.get(id_, f"[PAD{id_}]") for id_ in ids])
    writer.add_token_types([_token_type(id_, tokens, special) for id_ in ids])
    writer.add_token_merges(merges)
    eos = config["eos_token_id"]
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)
    writer.add_add_bos_token(True)


def _token_type(id_: int, tokens: dict[int, str], special: set[int]) -> gguf.TokenType:
    if id_ not in tokens:
        return gguf.TokenType.UNUSED
    return gguf.TokenType.CONTROL if id_ in special else gguf.TokenType.NORMAL


def _shapes(
    folder: Path, config: Config, matrix_type: gguf.GGMLQuantizationType
) -> Iterator[tuple[str, tuple[int, ...], gguf.GGMLQuantizationType]]:
    """Name, shape and type of every tensor, in the order of `_tensors`."""
    if factors := rope_factors(config):
        yield "rope_freqs.weight", (len(factors),), gguf.GGMLQuantizationType.F32
    for _, name, weights in _stored(folder, config):
        shape = tuple(weights.get_shape())
        type_ = matrix_type if len(shape) > 1 else gguf.GGMLQuantizationType.F32
        yield name, shape, type_


def _tensors(folder: Path, config: Config) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor in float32, one at a time in memory."""
    if factors := rope_factors(config):
        yield "rope_freqs.weight", np.array(factors, dtype=np.float32)
    query_heads = config["num_attention_heads"]
    key_heads = config.get("num_key_value_heads") or query_heads
    for source, name, weights in _stored(folder, config):
        tensor = weights[:].float().numpy()
        if ".q_proj." in source:
            tensor = permuted(tensor, query_heads)
        elif ".k_proj." in source:
            tensor = permuted(tensor, key_heads)
        yield name, tensor


def _stored(folder: Path, config: Config) -> Iterator[tuple[str, str, Any]]:
    """(name in the checkpoint, name in GGUF, a slice not read yet) of every stored tensor.

    A tied output matrix is left out: llama.cpp then takes the embedding.
    """
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as stored:
            for source in sorted(stored.keys()):
                if source == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                name = names.get_name(source, try_suffixes=(".weight",))
                if name is None:
                    raise ValueError(f"{source} has no place in a GGUF file of this kind")
                yield source, name, stored.get_slice(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--type", choices=TYPES, default="q8_0")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.file, arguments.type)


if __name__ == "__main__":
    main()
