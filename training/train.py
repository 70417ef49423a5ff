"""Trains Hermes Mini from nothing: on two cores in about two hours, on a GPU sooner.

    python -m training.train                   # the whole recipe
    python -m training.train --tokens 3        # a quick one: three million tokens
    python -m training.train --resume          # goes on after an interruption, told the same else

Writes the finished model to models/hermes-mini/ and its checkpoints to training/out/.
"""

import argparse
import json
import math
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from training.answering import Speaker
from training.copying import seed_copying
from training.corpus import Corpus, Mix
from training.deepen import deepened
from training.dialogue import Turn
from training.forward import Forward
from training.muon import Muon
from training.tokenizer import Encoder, train_tokenizer

ROOT = Path(__file__).parent.parent
MODEL_DIR = ROOT / "models" / "hermes-mini"
OUT_DIR = ROOT / "training" / "out"

CONTEXT = 4096  # positions that the model has seen, by gaps between turns
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
VOCABULARY = 2048
TOKENIZER_DOCUMENTS = 6000
BATCH_TOKENS = 3584
POOL_TOKENS = 250_000  # of documents that are sorted by length together, padding included
MILLION_TOKENS = 50
CUDA_SCALE = 4  # larger batches cost a GPU no more time
WARM_UP = 0.01  # of the training
LAYERS, DEEP_LAYERS = 5, 7  # at first, and from DEEPER_AT on
DEEPER_AT = 0.5  # of the training
CUDA_WORKERS = 12  # a GPU reads faster than a few cores can write
PREFETCHED = 2  # pools that each worker has ready
SAVE_EVERY_S = 120
SAMPLE_EVERY_S = 90
STORY = "training.json"  # beside the model: what it was trained on

Row = tuple[list[int], list[bool], list[int]]  # ids, which of them are learned, positions


@dataclass(slots=True)
class Batch:
    """Rows padded on the right, and what is learned of them."""

    ids: Tensor  # (rows, length) int64
    positions: Tensor  # (rows, length) int64, with gaps between turns
    learned: Tensor  # (tokens,) int64: places in the flat rows after which a token is learned
    targets: Tensor  # (tokens,) int64: the ids that come after them

    def __reduce__(self) -> tuple[Any, ...]:
        """By value: a tensor in shared memory keeps a file open, of which there may be few."""
        return _batch_of, tuple(each.numpy() for each in self.parts())

    def to(self, device: str) -> Self:
        """The same on `device`, without waiting for it."""
        return type(self)(*(each.to(device, non_blocking=True) for each in self.parts()))

    def pin_memory(self) -> Self:
        """The same where a GPU can copy it from by itself."""
        return type(self)(*(each.pin_memory() for each in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All of it, in the order in which the forward takes it."""
        return self.ids, self.positions, self.learned, self.targets


def _batch_of(*parts: Any) -> Batch:
    return Batch(*map(torch.from_numpy, parts))


@dataclass(slots=True)
class Progress:
    """Where a training stands."""

    elapsed_s: float = 0.0  # of CPU time, all threads together; on a GPU by the clock
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


def curriculum(corpus: Corpus, done: float) -> int:
    """Set `corpus` for the share of training that is `done`; the longest row in tokens."""
    if done < 0.03:
        corpus.mix = Mix(0.5, 0.0, 0.1, 0.15, lengths=(0.7, 0.3, 0.0), exchanges=(2, 5))
        return 512
    if done < 0.17:
        corpus.mix = Mix(0.12, 0.25, 0.2, 0.2, lengths=(0.4, 0.45, 0.15), exchanges=(3, 8))
        return 1200
    corpus.mix = Mix(0.1, 0.16, 0.29, 0.37, lengths=(0.3, 0.4, 0.3), exchanges=(8, 18))
    return 2048


class Pools(Dataset[list[Batch]]):
    """All that a training reads, in pools that are drawn by their number alone.

    So it is the same whoever draws it, and a training may go on at any pool.

    Args:
        encoder: Turns documents into ids.
        seed: The same seed gives the same pools.
        tokens: Of all pools together, about.
        batch_tokens: Of a batch at most, padding included.
    """

    def __init__(
        self, encoder: Encoder, seed: int, tokens: float, batch_tokens: int = BATCH_TOKENS
    ) -> None:
        self.encoder, self.seed, self.batch_tokens = encoder, seed, batch_tokens
        self.count = max(1, round(tokens / POOL_TOKENS))
        self.size = tokens / self.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> list[Batch]:
        """Batches of rows of like length, in random order."""
        mixed = self.seed * 1_000_003 + number
        corpus, rng = Corpus(mixed), random.Random(f"pool {mixed}")
        longest = curriculum(corpus, number / self.count)
        rows = drawn(corpus, self.encoder, longest, self.size, rng)
        return list(batches(rows, self.batch_tokens, self.encoder.pad, rng))


def loader(pools: Pools, first: int, workers: int, device: str) -> DataLoader[list[Batch]]:
    """The pools from `first` on, in order, drawn by `workers` processes ahead of their use.

    The processes are forked, as they only draw; the loader gives each of them one thread.
    """
    if workers:  # else the tokenizer complains of the fork, after which it is used by one thread
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return DataLoader(
        pools,
        batch_size=None,
        sampler=range(first, len(pools)),
        num_workers=workers,
        prefetch_factor=PREFETCHED if workers else None,
        multiprocessing_context="fork" if workers else None,
        pin_memory=device == "cuda",
    )


def drawn(
    corpus: Corpus, encoder: Encoder, longest: int, tokens: float, rng: random.Random
) -> list[Row]:
    """One pool of documents of `tokens` in all, none longer than `longest`."""
    rows: list[Row] = []
    total = 0
    while total < tokens:
        ids, learned, borders = encoder.document(corpus.document())
        positions = _with_gaps(len(ids), borders, rng)
        rows.append((ids[:longest], learned[:longest], positions[:longest]))
        total += len(rows[-1][0])
    return rows


def batches(rows: list[Row], most: int, pad: int, rng: random.Random) -> Iterator[Batch]:
    """Batches of rows of like length, `most` tokens in each, in random order."""
    rows.sort(key=lambda row: len(row[0]))
    groups: list[list[Row]] = [[]]
    for row in rows:
        if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > most:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    for group in groups:
        batch = _padded(group, pad)
        if len(batch.learned):
            yield batch


def _with_gaps(length: int, borders: list[int], rng: random.Random) -> list[int]:
    """Positions 0, 1, … that at times jump where a turn begins: distance without its cost."""
    positions = list(range(length))
    if rng.random() < 0.5 or len(borders) < 2:
        return positions
    room = max(0, min(CONTEXT, int(rng.choice((512, 1024, 2048, CONTEXT)))) - length)
    for border in rng.sample(borders, min(len(borders), rng.choice((1, 1, 2, 3)))):
        jump = rng.randint(0, room)
        room -= jump
        positions[border:] = [position + jump for position in positions[border:]]
    return positions


def _padded(rows: list[Row], pad: int) -> Batch:
    length = max(len(ids) for ids, _, _ in rows)
    ids = torch.full((len(rows), length), pad)
    positions = torch.zeros((len(rows), length), dtype=torch.long)
    targets = torch.full((len(rows), length), -100)
    for row, (row_ids, learned, row_positions) in enumerate(rows):
        known = torch.tensor(row_ids)
        ids[row, : len(row_ids)] = known
        positions[row, : len(row_ids)] = torch.tensor(row_positions)
        wanted = torch.tensor(learned)
        targets[row, : len(row_ids) - 1] = torch.where(wanted[1:], known[1:], -100)
    flat = targets.flatten()
    places = (flat != -100).nonzero().flatten()
    return Batch(ids, positions, places, flat[places])


def optimizers_for(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = Muon(matrices, lr=rate, weight_decay=0.05)
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [muon, adam]


def rate_at(done: float) -> float:
    """The factor of the learning rate: a short rise, then a line down to zero."""
    if done < WARM_UP:
        return max(done / WARM_UP, 0.02)
    return max(0.0, (1 - done) / (1 - WARM_UP))


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
        if resumes:
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(OUT_DIR / "tokenizer")
        else:
            self.tokenizer = tokenizer_for(options.seed)
            self.tokenizer.save_pretrained(OUT_DIR / "tokenizer")
        self.encoder = Encoder(self.tokenizer)
        self.device = options.device
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        on_gpu = self.device == "cuda"
        self.clock: Callable[[], float] = time.perf_counter if on_gpu else time.process_time
        self.first_layers = DEEP_LAYERS if on_gpu else LAYERS  # a few more cost a GPU no time
        self.progress = Progress()
        self.watched = watched_batches(self.encoder)
        if resumes:
            self._load()
        else:
            self._use(new_model(self.tokenizer, self.first_layers).to(self.device))

    def run(self) -> None:
        """Train on all pools that are left, then save the model."""
        options, progress = self.options, self.progress
        on_gpu = self.device == "cuda"
        workers = options.workers if options.workers is not None else CUDA_WORKERS * on_gpu
        scale = options.scale or (CUDA_SCALE if on_gpu else 1)
        tokens = options.tokens * scale * 1e6
        pools = Pools(self.encoder, options.seed, tokens, BATCH_TOKENS * scale)
        self.last = saved = self.sampled = self.clock()
        for pool in loader(pools, progress.pool, workers, self.device):
            self._read(pool, len(pools))
            if self.last - saved > SAVE_EVERY_S:  # where a pool ends, as it is drawn as a whole
                saved = self.last
                self._save()
        self._report()
        self._tick()
        self._save()
        save_model(self.model, self.tokenizer, options.out)
        took = "minutes" if on_gpu else "cpu_minutes"
        story = {"tokens": progress.tokens, "steps": progress.step, "seed": options.seed,
                 took: round(progress.elapsed_s / 60), "device": self.device}  # fmt: skip
        (options.out / STORY).write_text(json.dumps(story) + "\n")

    def _read(self, pool: list[Batch], pools: int) -> None:
        """Train on the next of all `pools`."""
        for number, batch in enumerate(pool):
            done = (self.progress.pool + number / len(pool)) / pools
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
        now = self.clock()
        self.progress.elapsed_s, self.last = self.progress.elapsed_s + now - self.last, now

    def _use(self, model: LlamaForCausalLM) -> None:
        """Train `model` from here on."""
        self.model = model
        self.forward = Forward(model, torch.bfloat16 if self.options.bf16 else torch.float32)
        self.optimizers = optimizers_for(model, self.options.rate)

    def _step(self, batch: Batch, done: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.options.rate * rate_at(done)
        loss = self._loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.progress.step += 1
        self.progress.tokens += batch.ids.numel()
        self.progress.losses.append(loss.detach())  # its value is waited for in reports only

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
            optimizer.load_state_dict(saved)
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
        kinds[kind] = _padded(rows, encoder.pad)
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
    parser.add_argument("--workers", type=int, help="that draw; by default 0, on a GPU 12")
    parser.add_argument(
        "--scale", type=int, help="times the tokens, in as many steps; by default 1, on a GPU 4"
    )
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--resume", action="store_true", help="go on from training/out/")
    parser.add_argument("--out", type=Path, default=MODEL_DIR)
    Training(parser.parse_args()).run()


if __name__ == "__main__":
    main()
