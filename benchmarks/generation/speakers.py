"""Every engine that the table knows, by name."""

from collections.abc import Callable
from functools import partial

from benchmarks.generation import llama, servers, transformers_speakers
from benchmarks.generation.options import Options
from benchmarks.generation.worker import Speaker

MAKERS: dict[str, Callable[[Options], Speaker]] = {
    "ours": transformers_speakers.Ours,
    "bare": transformers_speakers.Bare,
    "plain": transformers_speakers.Plain,
    "serve": partial(servers.transformers_serve, batching=False),
    "serve-cb": partial(servers.transformers_serve, batching=True),
    "llama-q8": partial(llama.LlamaCpp, type_name="q8_0"),
    "llama-q4": partial(llama.LlamaCpp, type_name="q4_0"),
    "llama-py-server-q8": partial(servers.llama_cpp_server, type_name="q8_0"),
    "llama-server-q8": partial(servers.llama_server, type_name="q8_0"),
    "llama-server-q4": partial(servers.llama_server, type_name="q4_0"),
}
