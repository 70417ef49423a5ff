"""Our engine on a CUDA device: against what its memory allows, and with many users.

    python -m benchmarks.gpu --model FOLDER [--save FILE]

A token of one user costs a reading of all weights; how fast the memory is read, a copy from
device to device tells in the same run. Prints "no GPU here" where there is none.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.generation import table
from benchmarks.generation.engines import NAMES, Engines
from benchmarks.generation.jobs import Author
from benchmarks.generation.options import Options
from benchmarks.generation.rows import QUICK, Floor, Row, Sizes, measured, step_time
from benchmarks.generation.table import OURS, Bar
from hermes_ui.generation.weights import parameters

MANY = 64  # users
SIZES = Sizes(reply=128)
COPY_BYTES = 2**30


def copied_per_second() -> float:
    """Bytes that the device's memory reads and writes a second, together."""
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * COPY_BYTES / min(times)


def weight_bytes(folder: Path) -> int:
    """What a step must read: all weights in bfloat16, and an untied embedding not at all."""
    config = json.loads((folder / "config.json").read_text())
    embedding = config["vocab_size"] * config["hidden_size"]
    unread = 0 if config.get("tie_word_embeddings") else embedding
    return (parameters(folder) - unread) * 2


def share_of_memory(floor: Floor, name: str, folder: Path, copied: float) -> float:
    """One user's tokens a second, as a share of what the memory's speed allows."""
    return 1000 / step_time(floor, name) * weight_bytes(folder) / copied


def together(floor: Floor, name: str, users: int = MANY) -> float:
    jobs = floor.author.jobs(users, 16, floor.sizes.reply)
    return floor.engines.ask(name, jobs).tokens_per_second


def gain(floor: Floor, name: str) -> float:
    return together(floor, name) / together(floor, name, 1)


def rows(share: Callable[[Floor, str], float]) -> tuple[Row, ...]:
    peers = (OURS, "serve-cb")
    return (
        Row("memory", "one user, of what the memory's speed allows", "×", share, peers,
            (Bar(0.6, True),)),
        Row("gain", f"{MANY} users together : one", "×", gain, peers, (Bar(20, True),)),
        Row("many", f"{MANY} users together", "tokens/s", together, peers,
            (Bar(1, True, "serve-cb"),)),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a folder in Hermes 3 3B's shape")
    parser.add_argument("--quick", action="store_true", help="few tokens, one round; no figures")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the table as Markdown")
    said = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU here")
        return
    folder = said.model.resolve()
    copied = copied_per_second()
    torch.cuda.empty_cache()
    head = f"{torch.cuda.get_device_name()}, whose memory copies {copied / 1e9:.0f} GB/s"
    print(f"{head}\n", flush=True)
    author = Author(folder)
    options = Options(folder, folder.parent, device="cuda", users=MANY, context=MANY * 512)
    floor = Floor(Engines(options, author), author, QUICK if said.quick else SIZES)
    try:
        result = [
            table.lines(row.title, row.unit, row.bars, measured(row, floor, row.contenders), NAMES)
            for row in rows(partial(share_of_memory, folder=folder, copied=copied))
        ]
    finally:
        floor.engines.close()
    text = f"{table.markdown(result)}\n\n{table.verdict(result)}"
    print(text)
    if said.save:
        said.save.write_text(f"{head}\n\n{text}\n")


if __name__ == "__main__":
    main()
