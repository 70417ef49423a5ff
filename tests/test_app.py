"""The whole application behind its doors."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of `python app.py` in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "HERMES_PORT": str(port),
        "HERMES_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "HERMES_ENGINE": "scripted",
    }
    server = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=subprocess.DEVNULL
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        wait_for(client)
        yield client
    server.terminate()
    assert server.wait(timeout=30) in (0, -15)


def wait_for(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            client.get("/health")
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def test_the_page_is_answered(client):
    answer = client.get("/")

    assert answer.status_code == 200
    assert "Hermes" in answer.text


def test_health_names_the_state_of_the_model(client):
    assert client.get("/health").json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/monitoring", "/gradio_api/monitoring/summary", "/docs"])
def test_doors_that_gradio_leaves_open_are_shut(client, path):
    assert client.get(path).status_code in (403, 404)


def test_nothing_answers_under_a_strange_name(client):
    answer = client.get("/config", headers={"host": "evil.example"})

    assert answer.status_code == 403


def test_another_site_cannot_ask_even_under_a_lan_name(client):
    answer = client.post(
        "/gradio_api/queue/join",
        json={"data": []},
        headers={"host": "192.168.1.9:7860", "origin": "http://evil.example"},
    )

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_no_file_of_the_server_can_be_read(client):
    for path in ("/gradio_api/file=/etc/passwd", "/gradio_api/file=data/hermes.db"):
        assert client.get(path).status_code in (403, 404)
