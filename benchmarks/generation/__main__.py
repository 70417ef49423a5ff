"""Our engine beside its peers: speed and memory with one model, in one table.

    python -m benchmarks.generation --model FOLDER [--rows prompt,one] [--save FILE]

Every engine runs in a process of its own, and they take turns. Peers that are not installed
are named as such: `benchmarks/requirements.txt` has their packages.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

from benchmarks.generation import table
from benchmarks.generation.engines import NAMES, Engines
from benchmarks.generation.jobs import Author
from benchmarks.generation.options import Options
from benchmarks.generation.rows import QUICK, ROWS, Floor, Row, Sizes, measured
from hermes_ui.generation.weights import parameters


def arguments() -> argparse.Namespace:
    keys = [row.key for row in ROWS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="a folder in Hermes 3 3B's shape")
    parser.add_argument("--rows", default=",".join(keys), help=f"of {', '.join(keys)}")
    parser.add_argument("--engines", default=",".join(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, help="of which medians are taken; 3 unless --quick")
    parser.add_argument("--quick", action="store_true", help="few tokens, one round; no figures")
    parser.add_argument("--quantize", default="auto", help="as HERMES_QUANTIZE; for ours")
    parser.add_argument("--dtype", default="auto", help="as HERMES_DTYPE; for ours")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--gguf", type=Path, help="folder for llama.cpp's files; beside the model")
    parser.add_argument("--llama-server", default="llama-server", help="llama.cpp's own server")
    parser.add_argument("--threads", type=int, help="of every engine; as many as processors")
    parser.add_argument(
        "--avx2",
        action="store_true",
        help="as on a CPU without AVX-512; llama.cpp has to be built so (-DGGML_NATIVE=OFF)",
    )
    parser.add_argument(
        "--clock",
        default="wall",
        choices=("wall", "cpu"),
        help="cpu: count processor time, with one thread, where others compute as well",
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the table as Markdown")
    return parser.parse_args()


def chosen(said: str, known: list[str]) -> list[str]:
    names = [name.strip() for name in said.split(",")]
    if unknown := set(names) - set(known):
        raise SystemExit(
            f"no such name: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    return [name for name in known if name in names]


def machine(folder: Path) -> str:
    """The line above the table."""
    processor = "unknown processor"
    flags: set[str] = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            processor = value.strip()
        elif key.strip() == "flags":
            flags = set(value.split())
    wide = [each for each in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
            if each in flags]  # fmt: skip
    size = parameters(folder) / 1e9
    return (
        f"{date.today()}: {os.cpu_count()} × {processor} ({', '.join(wide)}), "
        f"a model of {size:.2f} billion parameters"
    )


def note(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run(rows: list[Row], floor: Floor, engines: list[str]) -> list[list[table.Line]]:
    print(table.markdown([]), flush=True)
    result = []
    for row in rows:
        note(f"row {row.key}")
        names = tuple(name for name in row.contenders if name in engines)
        outcomes = measured(row, floor, names)
        result.append(table.lines(row.title, row.unit, row.bars, outcomes, NAMES))
        print("\n".join(map(str, result[-1])), flush=True)
    return result


def main() -> None:
    said = arguments()
    rows = [row for row in ROWS if row.key in chosen(said.rows, [row.key for row in ROWS])]
    engines = chosen(said.engines, list(NAMES))
    sizes = QUICK if said.quick else Sizes()
    if said.rounds:
        sizes = replace(sizes, rounds=said.rounds)
    options = Options(
        folder=said.model.resolve(),
        gguf=(said.gguf or said.model.resolve().parent).resolve(),
        device=said.device,
        dtype=said.dtype,
        quantize=said.quantize,
        is_avx2=said.avx2,
        threads=said.threads or len(os.sched_getaffinity(0)),
        clock=said.clock,
        llama_server=said.llama_server,
    )
    author = Author(options.folder)
    floor = Floor(Engines(options, author, note), author, sizes)
    head = machine(options.folder)
    if said.quick:
        head += "; a smoke run with small sizes, whose figures mean nothing"
    if said.avx2:
        head += "; limited to AVX2"
    if said.clock == "cpu":
        head += f"; processor time of {options.threads} threads"
    print(f"{head}\n", flush=True)
    try:
        result = run(rows, floor, engines)
    finally:
        floor.engines.close()
    print(f"\n{table.verdict(result)}")
    if said.save:
        text = f"{head}\n\n{table.markdown(result)}\n\n{table.verdict(result)}\n"
        with tempfile.NamedTemporaryFile(
            "w", dir=said.save.parent, delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        Path(file.name).replace(said.save)


if __name__ == "__main__":
    main()
