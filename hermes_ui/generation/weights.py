"""What a model folder holds, read from its small files and from the heads of its weights.

Nothing here loads a model: `problem_with` and `parameters` take milliseconds.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SAMPLES = 64  # of each file's content, evenly spread
SAMPLE_BYTES = 4096
MAX_HEAD = 100_000_000  # bytes; the format's own limit


def problem_with(folder: Path) -> str:
    """Why no model can be loaded from `folder`, as a clause, or nothing."""
    if not folder.is_dir():
        return "there is no such folder" if not folder.exists() else _problem_with_file(folder)
    if not (folder / "config.json").is_file():
        return "has no config.json"
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return "config.json cannot be read"
    if not isinstance(config, dict) or "model_type" not in config:
        return "config.json names no model_type"
    if not (folder / "tokenizer.json").is_file():
        return "has no tokenizer (tokenizer.json)"
    return _problem_with_weights(folder)


def _problem_with_file(path: Path) -> str:
    kind = "a GGUF file" if path.suffix == ".gguf" else "a file"
    return f"is {kind}; a folder with config.json, tokenizer.json and safetensors is needed"


def _problem_with_weights(folder: Path) -> str:
    try:
        files = weight_files(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{INDEX} cannot be read"
    if not files:
        pickles = [*folder.glob("*.bin"), *folder.glob("*.pth"), *folder.glob("*.pt")]
        return (
            "has weights only as pickles, which can run code; safetensors are needed"
            if pickles
            else f"has no weights ({WEIGHTS})"
        )
    for file in files:
        if not file.is_file():
            return f"{file.name} is missing"
        try:
            end = max((tensor["data_offsets"][1] for tensor in _tensors(file).values()), default=0)
            whole = _head_size(file) + 8 + end == file.stat().st_size
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return f"{file.name} is no safetensors file"
        if not whole:
            return f"{file.name} is cut off"
    return ""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that belong to the model, whether they are there or not."""
    if (folder / INDEX).is_file():
        index = json.loads((folder / INDEX).read_text())
        names = sorted({Path(str(name)).name for name in index["weight_map"].values()})
        return [folder / name for name in names]
    return [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else []


def parameters(folder: Path) -> int:
    """How many numbers the weights have."""
    count = 0
    for file in weight_files(folder):
        for tensor in _tensors(file).values():
            size = 1
            for length in tensor["shape"]:
                size *= length
            count += size
    return count


def fingerprint(folder: Path) -> str:
    """SHA-256 of the config and of the weights' names, sizes, heads and samples of their content.

    Samples, because a whole read of a large model takes minutes; weights that were trained
    again differ everywhere.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in weight_files(folder):
        digest.update(f"\0{file.name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(8 + _head_size(file)))
            for part in range(SAMPLES):
                stream.seek(file.stat().st_size * part // SAMPLES)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _head_size(file: Path) -> int:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
    if not 0 < size <= MAX_HEAD:
        raise ValueError("not a safetensors head")
    return size


def _tensors(file: Path) -> dict[str, Any]:
    size = _head_size(file)
    with file.open("rb") as stream:
        stream.seek(8)
        head: dict[str, Any] = json.loads(stream.read(size))
    head.pop("__metadata__", None)
    return head
