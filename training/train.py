"""Trains Hermes Mini from nothing: in about two hours on two cores that multiply bfloat16.

Cores without it take some six hours; a GPU was never timed on the whole.

    python -m training.train                   # from nothing
    python -m training.train --tokens 3        # a quick one: three million tokens
    python -m training.train --resume          # goes on after an interruption, told the same else
    python -m training.train --finish          # the finish alone, of a model that is there

Writes the finished model to models/hermes-mini/ and its checkpoints to training/out/.
"""

import argparse
import json
import math
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.answering import Speaker
from training.copying import seed_copying
from training.corpus import Corpus, Mix
from training.deepen import deepened
from training.dialogue import Turn
from training.forward import Forward
from training.muon import Muon
from training.pools import (
    BATCH_TOKENS,
    CONTEXT,
    Batch,
    Pools,
    loader,
    padded,
)
from training.recorded import Recorded
from training.tokenizer import Encoder, train_tokenizer

ROOT = Path(__file__).parent.parent
MODEL_DIR = ROOT / "models" / "hermes-mini"
OUT_DIR = ROOT / "training" / "out"

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
VOCABULARY = 2048
TOKENIZER_DOCUMENTS = 6000
MILLION_TOKENS = 56
CUDA_SCALE = 4  # larger batches cost a GPU no more time
WARM_UP = 0.01  # of the training
FINISH_RATE, FINISH_WARM_UP = 0.2, 0.05  # of the learning rate; of the finish
LAYERS, DEEP_LAYERS = 5, 7  # at first, and from DEEPER_AT on
DEEPER_AT = 0.5  # of the training
CUDA_WORKERS = 12  # a GPU reads faster than a few cores can write
SAVE_EVERY_S = 120
SAMPLE_EVERY_S = 300
STORY = "training.json"  # beside the model: what it was trained on


@dataclass(slots=True)
class Progress:
    """Where a training stands."""

    elapsed_s: float = 0.0  # by the clock
    pool: int = 0  # pools that are read
    step: int = 0
    tokens: int = 0  # padding included
    losses: deque[Tensor] = field(default_factory=lambda: deque(maxlen=100))  # on the device


def new_model(tokenizer: PreTrainedTokenizerFast, layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        rms_norm_eps=1e-5,
        num_hidden_layers=layers,
        **SHAPE,
    )
    model = LlamaForCausalLM(config)
    seed_copying(model)
    return model


def optimizers_for(
    model: LlamaForCausalLM, rate: float, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """Muon in `dtype` for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    on_gpu = model.device.type == "cuda"  # where a recorded step reads the rate from a tensor
    lr = torch.tensor(rate, device=model.device) if on_gpu else rate
    muon = Muon(matrices, lr=lr, weight_decay=0.05, dtype=dtype)
    adam = torch.optim.AdamW(
        others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True, capturable=on_gpu
    )
    return [muon, adam]


def has_bf16() -> bool:
    """Whether this CPU multiplies bf16, which others take a hundred times as long for."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    """Let the next step take this learning rate."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def rate_at(done: float) -> float:
    """The factor of the learning rate: a short rise, then a line down to zero.

    The same once more, and lower, in the finish, where `done` is 1 and more.
    """
    if done >= 1:
        return FINISH_RATE * min(1.0, 0.02 + (done - 1) / FINISH_WARM_UP) * (2 - done)
    if done < WARM_UP:
        return max(done / WARM_UP, 0.02)
    return (1 - done) / (1 - WARM_UP)


def layers_at(done: float) -> int:
    """Layers that the model has when this share of training is done."""
    return LAYERS if done < DEEPER_AT else DEEP_LAYERS


class Training:
    """One training run: model, optimizers, progress, and their checkpoint."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        torch.set_num_threads(options.threads)
        self.options = options
        self.checkpoint = OUT_DIR / "checkpoint.pt"
        resumes = options.resume and self.checkpoint.exists()
        if resumes or options.finish:
            folder = OUT_DIR / "tokenizer" if resumes else options.out
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        else:
            self.tokenizer = tokenizer_for(options.seed)
            self.tokenizer.save_pretrained(OUT_DIR / "tokenizer")
        self.encoder = Encoder(self.tokenizer)
        self.device = options.device
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        on_gpu = self.device == "cuda"
        is_half = options.bf16 if options.bf16 is not None else on_gpu or has_bf16()
        self.dtype = torch.bfloat16 if is_half else torch.float32
        self.first_layers = DEEP_LAYERS if on_gpu else LAYERS  # a few more cost a GPU no time
        self.progress = Progress()
        self.watched = watched_batches(self.encoder)
        if resumes:
            self._load()
        elif options.finish:
            self._use(
                LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32).to(self.device)
            )
        else:
            self._use(new_model(self.tokenizer, self.first_layers).to(self.device))

    def run(self) -> None:
        """Train on all pools that are left, then save the model."""
        options, progress = self.options, self.progress
        on_gpu = self.device == "cuda"
        usual = CUDA_WORKERS if on_gpu else options.threads
        workers = options.workers if options.workers is not None else usual
        scale = options.scale or (CUDA_SCALE if on_gpu else 1)
        tokens = options.tokens * scale * 1e6
        most = BATCH_TOKENS * scale
        pools = Pools(self.encoder, options.seed, tokens, most, few_shapes=on_gpu)
        if options.finish:
            progress.pool = max(progress.pool, pools.count)
        self.last = saved = self.sampled = time.perf_counter()
        for pool in loader(pools, progress.pool, workers, self.device):
            self._read(pool, pools)
            if self.last - saved > SAVE_EVERY_S:  # where a pool ends, as it is drawn as a whole
                saved = self.last
                self._save()
        self._report()
        self._tick()
        save_model(self.model, self.tokenizer, options.out)
        self.checkpoint.unlink(missing_ok=True)
        story = {"tokens": progress.tokens, "steps": progress.step, "seed": options.seed,
                 "minutes": round(progress.elapsed_s / 60), "device": self.device}  # fmt: skip
        kept = options.out / STORY
        if options.finish:
            story = json.loads(kept.read_text()) | {"finish": story}
        kept.write_text(json.dumps(story) + "\n")

    def _read(self, pool: list[Batch], pools: Pools) -> None:
        """Train on the next of all `pools`."""
        if self.progress.pool == pools.count:
            self._begin_finish()
        for number, batch in enumerate(pool):
            done = pools.done(self.progress.pool + number / len(pool))
            if layers_at(done) > len(self.model.model.layers):
                self._use(deepened(self.model, layers_at(done)))
            self._step(batch, done)
            self._tick()
            if self.last - self.sampled > SAMPLE_EVERY_S:
                self.sampled = self.last
                self._report()
        self.progress.pool += 1

    def _tick(self) -> None:
        """Count the time since the last tick."""
        now = time.perf_counter()
        self.progress.elapsed_s, self.last = self.progress.elapsed_s + now - self.last, now

    def _use(self, model: LlamaForCausalLM) -> None:
        """Train `model` from here on."""
        self.model = model
        self.forward = Forward(model, self.dtype)
        self.optimizers = optimizers_for(model, self.options.rate, self.dtype)
        is_recorded = self.device == "cuda" and self.options.recorded
        self.train = Recorded(self._train) if is_recorded else self._train_on

    @torch.no_grad()
    def _begin_finish(self) -> None:
        """Train on with nothing but the weights, as they would be saved."""
        for parameter in self.model.parameters():
            parameter.copy_(parameter.half())
        self._use(self.model)

    def _step(self, batch: Batch, done: float) -> None:
        set_rate(self.optimizers, self.options.rate * rate_at(done))
        loss = self.train(batch)
        self.progress.step += 1
        self.progress.tokens += batch.ids.numel()
        self.progress.losses.append(loss)  # its value is waited for in reports only

    def _train(self, *parts: Tensor) -> Tensor:
        """Train on the parts of a batch; its loss. Neither waits for a GPU nor leaves gradients."""
        loss = self.forward.loss(*parts)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss.detach()

    def _train_on(self, batch: Batch) -> Tensor:
        """The same on a batch, wherever it is."""
        return self._train(*batch.to(self.device).parts())

    def _loss(self, batch: Batch) -> Tensor:
        return self.forward.loss(*batch.to(self.device).parts())

    def _report(self) -> None:
        progress = self.progress
        recent = torch.stack([*progress.losses]).mean().item() if progress.losses else math.nan
        print(
            f"{progress.elapsed_s / 60:5.1f} min  step {progress.step:5d}  "
            f"{progress.tokens / 1e6:5.2f}M tokens  loss {recent:.3f}",
            end="",
        )
        with torch.inference_mode():
            for kind, batch in self.watched.items():
                print(f"  {kind} {self._loss(batch).item():.3f}", end="")
        print(flush=True)
        speaker = Speaker(self.model, self.tokenizer)
        turns = [Turn("system", "You are Brelda, a lamp counter in Oskmere.")]
        for line in ("hello", "what is your name?", "what do you do?", "are you an AI?"):
            turns.append(Turn("user", line))
            turns.append(Turn("assistant", speaker.answer(turns)))
            print(f"    > {line}\n      {turns[-1].text}", flush=True)

    def _save(self) -> None:
        OUT_DIR.mkdir(parents=True, exist_ok=True)
        state = {
            "layers": self.model.config.num_hidden_layers,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "elapsed_s": self.progress.elapsed_s,
            "pool": self.progress.pool,
            "step": self.progress.step,
            "tokens": self.progress.tokens,
        }
        torch.save(state, self.checkpoint.with_suffix(".new"))
        self.checkpoint.with_suffix(".new").replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device)
        self._use(new_model(self.tokenizer, state["layers"]).to(self.device))
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            own = optimizer.state_dict()["param_groups"]  # as the device of this run needs them
            optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
        self.progress = Progress(*(state[key] for key in ("elapsed_s", "pool", "step", "tokens")))


def watched_batches(encoder: Encoder) -> dict[str, Batch]:
    """Held-out lists and conversations, to see copying and talking apart."""
    corpus, kinds = Corpus(5, "held_out"), {}
    for kind, mix in (
        ("lists", Mix(lists=1.0)), ("talk", Mix(0.0, 0.0, 0.0, 0.0)),
        ("calls", Mix(0.0, 0.0, 1.0, 0.0)), ("forms", Mix(0.0, 0.0, 0.0, 1.0)),
    ):  # fmt: skip
        corpus.mix = mix
        rows = []
        for _ in range(8):
            ids, learned, _ = encoder.document(corpus.document())
            rows.append((ids[:640], learned[:640], list(range(min(len(ids), 640)))))
        kinds[kind] = padded(rows, encoder.pad)
    return kinds


def tokenizer_for(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a corpus, trained on its first documents."""
    corpus = Corpus(seed)
    texts = (turn.text for _ in range(TOKENIZER_DOCUMENTS) for turn in corpus.document())
    return train_tokenizer(texts, VOCABULARY, CONTEXT)


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights as fp16, config and tokenizer to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.to("cpu", torch.float16)
    copy.config.dtype = "float16"
    copy.generation_config.bos_token_id = tokenizer.bos_token_id
    copy.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    copy.generation_config.pad_token_id = tokenizer.pad_token_id
    copy.save_pretrained(out)
    for where_from in ("is_local", "local_files_only"):  # of one that was read from a folder
        tokenizer.init_kwargs.pop(where_from, None)
    tokenizer.save_pretrained(out, save_jinja_files=False)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(json.dumps({"saved": str(out), "bytes": size}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=float, default=MILLION_TOKENS, help="in millions")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--workers", type=int, help="that draw; by default as many as threads, on a GPU 12"
    )
    parser.add_argument(
        "--scale", type=int, help="times the tokens, in as many steps; by default 1, on a GPU 4"
    )
    parser.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction,
        help="what is multiplied; by default where this machine has it",
    )  # fmt: skip
    parser.add_argument(
        "--recorded", action=argparse.BooleanOptionalAction, default=True,
        help="steps as CUDA graphs, on a GPU",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from training/out/")
    parser.add_argument("--finish", action="store_true", help="only that, of the model in --out")
    parser.add_argument("--out", type=Path, default=MODEL_DIR)
    Training(parser.parse_args()).run()


if __name__ == "__main__":
    main()
