"""What long conversations cost: opening one, and everything on a send beside generation.

    python -m benchmarks.storage [--rounds 30]

Conversations of several lengths stand in one SQLite file and are measured in turn, so
that a noisy machine hits all of them alike. The table gives medians and ratios.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from hermes_ui.config import ROOT
from hermes_ui.generation.host import ModelHost
from hermes_ui.params import SamplingParams
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.reply import Recipe, compose
from storage.rows import NewMessage
from storage.store import Store

OWNER = "local"
LENGTHS = (10, 100, 1_000, 10_000)
TEXT = "The harbour was quiet, and the lamp on the quay swung slowly over the wet stones. " * 3


def conversation_of(store: Store, n_messages: int) -> str:
    conversation = store.create_conversation(
        OWNER, title=f"{n_messages}", persona_slug="hermes", persona_digest="0" * 64, settings={}
    )
    parent = None
    for index in range(n_messages):
        role = "assistant" if index % 2 else "user"
        message = NewMessage(role, f"{index}: {TEXT}")
        parent = store.append(OWNER, conversation.id, parent, message).id
    return conversation.id


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def queries_of(work: Callable[[], object]) -> int:
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    event.listen(Database, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(Database, "before_cursor_execute", note)
    return sum(not text.startswith(("BEGIN", "PRAGMA")) for text in seen)


def send(store: Store, conversation_id: str, recipe: Recipe, engine) -> None:
    """All that a send does beside generation: store, build the prompt, encode, store."""
    leaf = store.conversation(OWNER, conversation_id).leaf_id
    run = store.start_run(
        OWNER,
        conversation_id,
        server_id="benchmark",
        request={},
        parent_id=leaf,
        user_message=NewMessage("user", f"And then? {time.perf_counter_ns()}"),
    )
    prompt = compose(store, OWNER, run.parent_id, recipe, engine, ())
    engine.token_ids(prompt.pieces)
    message = NewMessage("assistant", "The lamp went out.", finish_reason="stop")
    store.finish_run(OWNER, run.id, message, {"tokens": prompt.tokens}, [[0, 18]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    host = ModelHost(
        "embedded", engine="local", device="cpu", dtype="auto", context_length=8192,
        max_active=2, max_waiting=2, models_dir=ROOT / "models",
    )  # fmt: skip
    host.start()
    engine = host.engine(timeout_s=120)
    persona = PersonaLibrary(ROOT / "personas").get("hermes")
    recipe = Recipe(persona, "0" * 64, "User", SamplingParams(seed=1), 1)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{Path(folder) / 'benchmark.db'}")
        began = datetime.now()
        ids = {length: conversation_of(store, length) for length in LENGTHS}
        print(f"wrote {sum(LENGTHS):,} messages in {(datetime.now() - began).seconds} s\n")
        opened = {length: [] for length in LENGTHS}
        sent = {length: [] for length in LENGTHS}
        for _ in range(rounds):
            for length, each in ids.items():
                opened[length].append(milliseconds(lambda each=each: store.window(OWNER, each)))
        queries = {
            n: queries_of(lambda each=each: store.window(OWNER, each)) for n, each in ids.items()
        }
        for _ in range(rounds):
            for length, each in ids.items():
                sent[length].append(
                    milliseconds(lambda each=each: send(store, each, recipe, engine))
                )
        store.close()
    host.close()
    base = statistics.median(opened[100])
    print("| messages | open: ms | × that of 100 | queries | send beside generation: ms |")
    print("|---|---|---|---|---|")
    for length in LENGTHS:
        open_ms, send_ms = (statistics.median(each[length]) for each in (opened, sent))
        cells = f"{open_ms:.2f} | {open_ms / base:.2f} | {queries[length]} | {send_ms:.1f}"
        print(f"| {length:,} | {cells} |")
    print("\nBars: at most 3 queries; 10,000 at most 2 × 100; send at most 10 ms at 1,000.")


if __name__ == "__main__":
    main()
