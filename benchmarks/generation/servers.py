"""Peers that are servers: started here, spoken to over HTTP as any client would."""

import atexit
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from benchmarks.generation.jobs import Job
from benchmarks.generation.llama import gguf_of
from benchmarks.generation.options import Options
from benchmarks.generation.worker import Piece

GIVE_UP_S = 600.0


class Server:
    """A server that speaks the OpenAI protocol: streamed text completions, greedy."""

    def __init__(self, what: str, command: Sequence[str], port: int, model: str) -> None:
        self.what = what
        self._url = f"http://127.0.0.1:{port}"
        self._model = model
        self._process = subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr)
        self.pids = (self._process.pid,)
        atexit.register(self._end)
        self._wait()
        for _ in self.speak(Job((" the",), 1)):  # some load the model only now
            pass

    def speak(self, job: Job) -> Iterator[Piece]:
        body = {
            "model": self._model,
            "prompt": job.text,
            "max_tokens": job.tokens,
            "temperature": 0.0,
            "stream": True,
        }
        request = urllib.request.Request(
            f"{self._url}/v1/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        tokens = pieces = 0
        with urllib.request.urlopen(request, timeout=GIVE_UP_S * 3) as answer:
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise RuntimeError(str(chunk["error"]))
                if usage := chunk.get("usage"):
                    tokens = usage["completion_tokens"]
                text = chunk["choices"][0]["text"] if chunk.get("choices") else ""
                pieces += bool(text)
                yield text, 0
        yield "", tokens or pieces

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _wait(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < GIVE_UP_S:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}")
            try:
                with urllib.request.urlopen(f"{self._url}/health", timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if error.code < 500:  # it answers, if only that it has no such page
                    return
                time.sleep(0.2)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise RuntimeError(f"{self._url} did not answer within {GIVE_UP_S:.0f} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(package)


def transformers_serve(options: Options, *, batching: bool) -> Server:
    needs("fastapi", "uvicorn", "openai", "accelerate")
    port = free_port()
    command = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(options.folder),
        "--device", options.device, "--dtype", "bfloat16", "--port", str(port),
        "--host", "127.0.0.1",
    ]  # fmt: skip
    if batching:
        command += ["--continuous-batching"]
        if options.device == "cpu":  # it plans for a GPU's memory otherwise
            command += ["--cb-block-size", "32", "--cb-num-blocks", str(options.context // 32)]
            command += ["--cb-max-batch-tokens", "256"]
    return Server("bfloat16", command, port, str(options.folder))


def llama_cpp_server(options: Options, type_name: str) -> Server:
    """The server of llama.cpp's Python binding: a lock, and one request after the other."""
    needs("llama_cpp", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")
    port = free_port()
    command = [
        sys.executable, "-m", "llama_cpp.server", "--model", str(gguf_of(options, type_name)),
        "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "4608", "--n_batch", "512",
        "--n_threads", str(options.threads), "--n_threads_batch", str(options.threads),
        "--interrupt_requests", "false", "--verbose", "false",
    ]  # fmt: skip
    return Server(f"{type_name.upper()}, one after the other", command, port, "model")


def llama_server(options: Options, type_name: str) -> Server:
    """llama.cpp's own server, with a slot for every user and continuous batching."""
    program = shutil.which(options.llama_server)
    if program is None:
        raise FileNotFoundError(f"{options.llama_server} (give its path with --llama-server)")
    port = free_port()
    command = [
        program, "--model", str(gguf_of(options, type_name)), "--host", "127.0.0.1",
        "--port", str(port), "--parallel", str(options.users), "--kv-unified",
        "--ctx-size", str(options.context), "--threads", str(options.threads),
        "--threads-batch", str(options.threads), "--no-webui",
    ]  # fmt: skip
    return Server(f"{type_name.upper()}, {options.users} slots", command, port, "model")
