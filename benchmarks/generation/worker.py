"""One engine in a process of its own, driven by lines of JSON.

    python -m benchmarks.generation.worker NAME --options JSON

A line in is a list of jobs that start together; a line out is the batch that came back.
The first line out says that the engine is ready, or why it cannot be had here.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO

from benchmarks.generation.jobs import Batch, Job, Reply

Piece = tuple[str, int]  # text, and the tokens that it took


class Speaker(Protocol):
    """An engine as the benchmark sees it."""

    what: str  # number format and other settings, for the table
    pids: tuple[int, ...]  # whose memory counts

    def speak(self, job: Job) -> Iterator[Piece]:
        """The reply, piece by piece. Called from a thread per user."""
        ...


def crowd(speaker: Speaker, jobs: list[Job], clock: Callable[[], float]) -> list[Reply]:
    """The replies to jobs that start at the same moment."""
    replies: list[Reply | None] = [None] * len(jobs)
    start = threading.Barrier(len(jobs) + 1)
    began = 0.0

    def one(index: int) -> None:
        start.wait()
        replies[index] = heard(speaker.speak(jobs[index]), lambda: clock() - began)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    began = clock()
    start.wait()
    for thread in threads:
        thread.join()
    if None in replies:
        raise RuntimeError("a user got no reply")
    return [each for each in replies if each is not None]


def heard(pieces: Iterator[Piece], now: Callable[[], float]) -> Reply:
    tokens, times, text = 0, [], []
    for said, n_tokens in pieces:
        tokens += n_tokens
        if said:
            times.append(now())
            text.append(said)
    return Reply(tokens, times, now(), "".join(text))


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """Processor time of the processes and their children together, in steps of 10 ms or less."""
    if pids == (os.getpid(),):
        return time.process_time()
    total = 0
    for pid in family(pids):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def memory(pids: tuple[int, ...], field: str) -> int:
    """Bytes of `VmRSS` or `VmHWM` of the processes and their children together."""
    total = 0
    for pid in family(pids):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1]) * 1024
    return total


def family(pids: tuple[int, ...]) -> set[int]:
    """The processes and all that descend from them."""
    found = set(pids)
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                found |= family(tuple(map(int, children.read_text().split())))
            except OSError:
                continue
    return found


def own_channel() -> TextIO:
    """Standard output for the protocol alone; what libraries print goes to standard error."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return channel


def serve(make: Callable[[], Speaker], clock_name: str, lines: TextIO, channel: TextIO) -> None:
    def say(what: dict[str, Any]) -> None:
        print(json.dumps(what), file=channel, flush=True)

    try:
        speaker = make()
    except (ImportError, FileNotFoundError) as error:
        say({"absent": f"not installed: {error}".splitlines()[0]})
        return
    say({
        "what": speaker.what,
        "peak": memory(speaker.pids, "VmHWM"),
        "resident": memory(speaker.pids, "VmRSS"),
    })  # fmt: skip
    clock = time.perf_counter if clock_name == "wall" else lambda: cpu_seconds(speaker.pids)
    for line in lines:
        jobs = [Job.from_wire(each) for each in json.loads(line)]
        replies = crowd(speaker, jobs, clock)
        say(Batch(replies, memory(speaker.pids, "VmRSS")).to_wire())


def main() -> None:
    from benchmarks.generation.speakers import MAKERS, Options  # noqa: PLC0415  # torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=MAKERS)
    parser.add_argument("--options", type=json.loads, required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers are ended too
    channel = own_channel()
    options = Options.from_wire(arguments.options)
    serve(lambda: MAKERS[arguments.name](options), options.clock, sys.stdin, channel)


if __name__ == "__main__":
    main()
