"""How long a newcomer waits: the page beside `import gradio`, and the embedded model after it.

    python -m benchmarks.startup [--rounds 3]

Every round starts fresh processes, one after the other; the table gives medians.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GIVE_UP_S = 120


def seconds_to_import_gradio() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import gradio"], check=True, cwd=ROOT)
    return time.monotonic() - began


def seconds_to_page_and_model() -> tuple[float, float]:
    """(until the page is answered, until the embedded model is ready), from the start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {
            "HERMES_PORT": str(port),
            "HERMES_DATA_DIR": data,
            "HERMES_MODEL": "embedded",
        }
        began = time.monotonic()
        server = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: "gradio" in read(url), began)
            page = time.monotonic() - began
            wait_for(lambda: json.loads(read(f"{url}/health"))["model_state"] == "ready", began)
            return page, time.monotonic() - began
        finally:
            server.terminate()
            server.wait()


def read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return "{}" if url.endswith("health") else ""


def wait_for(is_true, began: float) -> None:
    while not is_true():
        if time.monotonic() - began > GIVE_UP_S:
            raise SystemExit(f"nothing after {GIVE_UP_S} s")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    imports, pages, models = [], [], []
    for _ in range(rounds):
        imports.append(seconds_to_import_gradio())
        page, model = seconds_to_page_and_model()
        pages.append(page)
        models.append(model)
    bare, page, model = map(statistics.median, (imports, pages, models))
    print(f"| median of {rounds} fresh starts | seconds | bar |")
    print("|---|---|---|")
    print(f"| a process that only imports gradio | {bare:.1f} | |")
    print(f"| the page is answered | {page:.1f} | |")
    print(f"| … after the import alone | {page - bare:+.1f} | at most +2 |")
    print(f"| the embedded model is ready, after the page | {model - page:.1f} | at most 15 |")


if __name__ == "__main__":
    main()
