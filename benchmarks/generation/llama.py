"""llama.cpp in this process, one user at a time as its Python binding has it."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmarks.generation.jobs import Job
from benchmarks.generation.options import MAX_PROMPT, Options
from benchmarks.generation.worker import Piece


def gguf_of(options: Options, type_name: str) -> Path:
    """The model's GGUF file, written if it is not there yet."""
    file = options.gguf_file(type_name)
    if not file.is_file():
        from benchmarks.generation import gguf_file  # noqa: PLC0415  # may not be installed

        gguf_file.write(options.folder, file, type_name)
    return file


class LlamaCpp:
    """`llama_cpp.Llama`, greedy. It keeps the last prompt's keys for the next one."""

    def __init__(self, options: Options, type_name: str) -> None:
        from llama_cpp import Llama  # noqa: PLC0415  # may not be installed

        self.what = type_name.upper()
        self.pids = (os.getpid(),)
        self._llama = Llama(
            str(gguf_of(options, type_name)),
            n_ctx=MAX_PROMPT + 512,
            n_batch=512,
            n_threads=options.threads,
            n_threads_batch=options.threads,
            verbose=False,
        )
        self._turn = threading.Lock()

    def speak(self, job: Job) -> Iterator[Piece]:
        with self._turn:
            for chunk in self._llama.create_completion(
                job.text, max_tokens=job.tokens, temperature=0.0, stream=True
            ):
                text = chunk["choices"][0]["text"]
                yield text, 1 if text else 0
