"""What one streamed update costs the server, in a short chat and in a long one.

    python -m benchmarks.streaming [--words 300]

The app and a plain `gr.Chatbot` app stream the same reply at the same pace, each in a
process of its own and one after the other, in chats of 10 and of 1,000 messages. Counted
are the updates on the wire, their bytes, and the CPU time of the server's process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = (10, 1_000)
UPDATES_PER_SECOND = 15
WORD = "harbour "
TEXT = "The harbour was quiet, and the lamp on the quay swung slowly over the wet stones. " * 3

OURS = """
import sys
from pathlib import Path
import uvicorn
from app import create_app
from hermes_ui.catalog import PersonaCatalog
from hermes_ui.chat import ChatService
from hermes_ui.config import Settings
from hermes_ui.generation.host import ModelHost
from hermes_ui.generation.scripted import ScriptedEngine
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.runs import Runs
from storage.rows import NewMessage
from storage.store import Store
port, folder, n_messages, n_words, word, text = sys.argv[1:]
settings = Settings.from_env(data_dir=Path(folder))
store = Store.open(settings.database)
engine = ScriptedEngine(word * int(n_words), delay_s=1 / 15)
host = ModelHost.serving(engine)
chat = ChatService(
    store, PersonaCatalog(PersonaLibrary(settings.personas_dir), store), Runs(store, host), host
)
conversation = chat.start("local", "hermes")
parent = conversation.leaf_id
for index in range(int(n_messages) - 1):
    role = "assistant" if index % 2 else "user"
    parent = store.append("local", conversation.id, parent, NewMessage(role, text)).id
app = create_app(settings, chat)
print(conversation.id, flush=True)
uvicorn.run(app, port=int(port), log_level="error")
"""

PLAIN = """
import sys, time
import gradio as gr
port, _, n_messages, n_words, word, text = sys.argv[1:]
history = [
    {"role": "assistant" if index % 2 else "user", "content": text}
    for index in range(int(n_messages))
]
def reply():
    said = ""
    for _ in range(int(n_words)):
        time.sleep(1 / 15)
        said += word
        yield [*history, {"role": "assistant", "content": said}]
with gr.Blocks() as page:
    chatbot = gr.Chatbot(history)
    gr.Button("Send").click(reply, None, chatbot, api_name="send")
print("-", flush=True)
page.queue().launch(server_port=int(port), quiet=True)
"""


@dataclass(frozen=True)
class Cost:
    """Of one update, on average."""

    cpu_ms: float
    n_bytes: float
    updates: int


def free_port() -> int:
    import socket  # noqa: PLC0415

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(source: str, n_messages: int, n_words: int) -> Iterator[tuple[str, int, str]]:
    """A server of `source`: its address, its process id and what it printed first."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(port), folder, str(n_messages), str(n_words), WORD, TEXT]
        process = subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
        )
        assert process.stdout
        first = process.stdout.readline().strip()
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                try:
                    httpx.get(f"{url}/config", timeout=5).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            yield url, process.pid, first
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def streamed(url: str, pid: int, fn_index: int, event_data: Any) -> Cost:
    """Run one event to its end over Gradio's own protocol and count what comes."""
    session = "benchmark"
    updates = n_bytes = 0
    with httpx.Client(base_url=f"{url}/gradio_api", timeout=600) as client:
        before = cpu_seconds(pid)
        body = {"data": [], "event_data": event_data, "fn_index": fn_index, "session_hash": session}
        client.post("/queue/join", json=body).raise_for_status()
        with client.stream("GET", "/queue/data", params={"session_hash": session}) as answer:
            for line in answer.iter_lines():
                if '"process_generating"' in line:
                    updates += 1
                    n_bytes += len(line)
                elif '"process_completed"' in line:
                    break
        spent = cpu_seconds(pid) - before
    return Cost(spent * 1000 / updates, n_bytes / updates, updates)


def event_named(url: str, target: str) -> int:
    config = httpx.get(f"{url}/config", timeout=30).json()
    for each in config["dependencies"]:
        if target in (each.get("api_name"), *(name for _, name in each["targets"])):
            return int(each["id"])
    raise SystemExit(f"the page has no event {target!r}")


def ours(n_messages: int, n_words: int) -> Cost:
    with server(OURS, n_messages, n_words) as (url, pid, conversation):
        config = httpx.get(f"{url}/config", timeout=30).json()
        door = next(
            each for each in config["components"] if "ask" in str(each["props"].get("server_fns"))
        )
        warm_up = ask(url, door["id"], {"do": "view", "conversation": conversation})
        sent = ask(
            url,
            door["id"],
            {"do": "send", "conversation": conversation, "text": "Go on.", "leaf": warm_up["leaf"]},
        )
        return streamed(url, pid, event_named(url, "follow"), {"run": sent["run"]})


def ask(url: str, component_id: int, data: dict[str, Any]) -> dict[str, Any]:
    body = {"data": data, "component_id": component_id, "fn_name": "ask", "session_hash": "ask"}
    answer = httpx.post(f"{url}/gradio_api/component_server/", json=body, timeout=60)
    answer.raise_for_status()
    said: dict[str, Any] = answer.json()
    if "error" in said:
        raise SystemExit(said["error"])
    return said


def plain(n_messages: int, n_words: int) -> Cost:
    with server(PLAIN, n_messages, n_words) as (url, pid, _):
        return streamed(url, pid, event_named(url, "send"), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=300, help="length of the streamed reply")
    n_words = parser.parse_args().words
    print("| server | messages | updates | CPU ms/update | bytes/update |")
    print("|---|---|---|---|---|")
    for name, measure in (("Hermes UI", ours), ("plain gr.Chatbot", plain)):
        short, long = (measure(length, n_words) for length in LENGTHS)
        for length, cost in zip(LENGTHS, (short, long), strict=True):
            cells = f"{cost.updates} | {cost.cpu_ms:.2f} | {cost.n_bytes:.0f}"
            print(f"| {name} | {length:,} | {cells} |", flush=True)
        ratios = f"{long.cpu_ms / short.cpu_ms:.2f} × | {long.n_bytes / short.n_bytes:.2f} ×"
        print(f"| {name} | 1,000 : 10 | | {ratios} |", flush=True)
    print("\nBar: Hermes UI at most 1.2 × in both.")


if __name__ == "__main__":
    main()
