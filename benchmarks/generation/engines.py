"""The engines' processes: started when they are needed, ended when memory runs short."""

import json
import os
import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.generation.jobs import Author, Batch, Job
from benchmarks.generation.options import Options
from hermes_ui.generation.weights import parameters

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = {
    "ours": "Hermes UI",
    "bare": "bare forward loop of our model",
    "plain": "transformers generate",
    "serve": "transformers serve",
    "serve-cb": "transformers serve --continuous-batching",
    "llama-q8": "llama.cpp",
    "llama-q4": "llama.cpp",
    "llama-py-server-q8": "llama_cpp.server",
    "llama-server-q8": "llama-server",
    "llama-server-q4": "llama-server",
}
# Bytes a parameter while an engine loads and runs: what must be free before it starts.
BYTES = {"ours": 4.5, "bare": 4.5, "plain": 2.3, "serve": 2.3, "serve-cb": 3.0}
LLAMA_BYTES = 1.7
# What keeps PyTorch, oneDNN, MKL and numba from instructions that AVX2 has not.
AVX2_ONLY = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,+bmi,+bmi2",
}


class Absent(Exception):
    """An engine that cannot be had here; the text says why."""


@dataclass(frozen=True)
class Ready:
    """What an engine says once it is loaded; memory in bytes."""

    what: str
    peak: int
    resident: int


class Worker:
    """One engine's process."""

    def __init__(self, name: str, options: Options) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as we
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "benchmarks.generation.worker", name,
                "--options", json.dumps(options.to_wire()),
            ],
            cwd=ROOT,
            env=os.environ
            | {"OMP_NUM_THREADS": str(options.threads)}
            | (AVX2_ONLY if options.is_avx2 else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )  # fmt: skip
        first = self._answer()
        if "absent" in first:
            self.close()
            raise Absent(first["absent"])
        self.ready = Ready(**first)

    def ask(self, jobs: Sequence[Job]) -> Batch:
        assert self._process.stdin
        print(json.dumps([job.to_wire() for job in jobs]), file=self._process.stdin, flush=True)
        return Batch.from_wire(self._answer())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines() or ["said nothing"]
            self.close()
            raise Absent(f"failed: {said[-1][:200]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Engines:
    """All engines of a run by name; those unused for longest make room for others."""

    def __init__(
        self, options: Options, author: Author, progress: Callable[[str], None] = lambda _: None
    ) -> None:
        self._options = options
        self._author = author
        self._progress = progress
        self._running: OrderedDict[str, Worker] = OrderedDict()
        self._absent: dict[str, str] = {}
        self._parameters = parameters(options.folder)

    def ready(self, name: str) -> Ready:
        return self._worker(name).ready

    def ask(self, name: str, jobs: Sequence[Job]) -> Batch:
        """The replies to `jobs`, handed over at the same moment.

        Raises:
            Absent: the engine is not installed, or failed.
        """
        worker = self._worker(name)
        try:
            return worker.ask(jobs)
        except Absent as error:
            self._running.pop(name)
            self._absent[name] = str(error)
            raise

    def restart(self, name: str) -> Ready:
        """A process that has done nothing yet but load."""
        if name in self._running:
            self._running.pop(name).close()
        return self._worker(name, warm=False).ready

    def close(self) -> None:
        while self._running:
            self._running.popitem()[1].close()

    def _worker(self, name: str, *, warm: bool = True) -> Worker:
        if name in self._absent:
            raise Absent(self._absent[name])
        if name not in self._running:
            self._make_room(name)
            self._progress(f"starting {name}")
            try:
                worker = Worker(name, self._options)
                if warm:
                    worker.ask([self._author.job(32, 4)])
            except Absent as error:
                self._absent[name] = str(error)
                raise
            self._running[name] = worker
        self._running.move_to_end(name)
        return self._running[name]

    def _make_room(self, name: str) -> None:
        needed = self._parameters * BYTES.get(name, LLAMA_BYTES) + 1e9
        while self._running and free_memory() < needed:
            _, idle = self._running.popitem(last=False)
            idle.close()


def free_memory() -> int:
    """Bytes that a new process can have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
