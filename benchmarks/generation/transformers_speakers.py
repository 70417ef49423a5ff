"""Ours, the bare loop over the same model, and plain `generate`."""

import inspect
import os
import threading
from collections.abc import Iterator
from typing import Any

from benchmarks.generation.jobs import Job
from benchmarks.generation.options import MAX_PROMPT, Options
from benchmarks.generation.worker import Piece
from hermes_ui.config import ROOT
from hermes_ui.generation.engine import Finish, TextDelta
from hermes_ui.generation.loading import choose, load
from hermes_ui.generation.placement import place
from hermes_ui.params import SamplingParams
from hermes_ui.prompt.build import Prompt


def engine_of(options: Options) -> Any:
    """Our engine as the app would load it, but for what the options ask for."""
    choice = choose(str(options.folder), models_dir=ROOT / "models")
    wanted: dict[str, Any] = {"device": options.device, "dtype": options.dtype}
    if "quantize" in inspect.signature(place).parameters:
        wanted["quantize"] = options.quantize
    elif options.quantize != "auto":
        raise SystemExit("this version of the engine has no choice of quantization")
    placement = place(choice, **wanted)
    return load(choice, placement, context_length=MAX_PROMPT * 2, max_active=options.users)


def what_runs(engine: Any) -> str:
    return engine.identity.quantization or engine.identity.dtype


# Random weights leave all tokens about as likely; at this temperature their distribution is as
# peaked as a trained model's at the default one. The other knobs stand as the app sets them.
TEMPERATURE = 0.1


class Ours:
    """The app's engine with the app's sampling, where peers are greedy."""

    def __init__(self, options: Options) -> None:
        self._engine = engine_of(options)
        self.what = what_runs(self._engine)
        self.pids = (os.getpid(),)

    def speak(self, job: Job) -> Iterator[Piece]:
        params = SamplingParams(max_tokens=job.tokens, temperature=TEMPERATURE, seed=1)
        for event in self._engine.stream(Prompt(job.pieces), params):
            if isinstance(event, TextDelta):
                yield event.text, 0
            elif isinstance(event, Finish):
                yield "", event.completion_tokens


class Bare:
    """The model of our engine in the shortest loop there is: forward, argmax, again.

    No other user, no paging, no sampling, no text: what is left when all comfort goes.
    """

    def __init__(self, options: Options) -> None:
        import torch  # noqa: PLC0415

        engine = engine_of(options)
        self.what = f"{what_runs(engine)}, argmax"
        self.pids = (os.getpid(),)
        self._ids = engine.token_ids
        self._model = engine._batcher.model  # the engine hands it to nobody
        engine.close()
        self._model.set_attn_implementation("sdpa")
        self._torch = torch

    def speak(self, job: Job) -> Iterator[Piece]:
        torch = self._torch
        with torch.inference_mode():
            ids = torch.tensor([self._ids(job.pieces)], device=self._model.device)
            cache = None
            for _ in range(job.tokens):
                step = self._model(
                    input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
                )
                cache = step.past_key_values
                ids = step.logits[:, -1:].argmax(dim=-1)
                yield str(int(ids)), 1


class Plain:
    """What the usual Space does: `generate` in a thread, a `TextIteratorStreamer` read here.

    One reply at a time, as Gradio queues them by default.
    """

    what = "bfloat16"

    def __init__(self, options: Options) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

        folder = str(options.folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").eval()
        self._model.to("cuda" if options.device == "cuda" else "cpu")
        self.pids = (os.getpid(),)
        self._turn = threading.Lock()

    def speak(self, job: Job) -> Iterator[Piece]:
        from transformers import TextIteratorStreamer  # noqa: PLC0415

        with self._turn:
            inputs = self._tokenizer(job.text, return_tensors="pt").to(self._model.device)
            streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True)
            thread = threading.Thread(
                target=self._model.generate,
                kwargs={
                    **inputs,
                    "streamer": streamer,
                    "max_new_tokens": job.tokens,
                    "min_new_tokens": job.tokens,
                    "do_sample": False,
                },
            )
            thread.start()
            for text in streamer:
                yield text, 0
            thread.join()
            yield "", job.tokens
