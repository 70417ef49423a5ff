"""Trains Hermes Mini from nothing: on two cores in three to four hours, on a GPU in minutes.

    python -m training.train                   # the model as it is shipped
    python -m training.train --tokens 3        # a quick one: three million tokens
    python -m training.train --resume          # goes on after an interruption

Writes the finished model to models/hermes-mini/ and its checkpoints to training/out/.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

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
POOL_DOCUMENTS = 384  # documents that are sorted by length together
MILLION_TOKENS = 68
WARM_UP = 0.04  # of a round
FINAL_RATE = 0.03  # of the learning rate, at the end of a round
SAVE_EVERY_S = 120
SAMPLE_EVERY_S = 90
STORY = "training.json"  # beside the model: what it was trained on


@dataclass(frozen=True, slots=True)
class Round:
    """A part of the training, in which the learning rate rises and falls once."""

    ends: float  # the share of training that is done then
    peak: float  # of the learning rate
    layers: int


ROUNDS = (Round(0.38, 1.0, 5), Round(0.662, 0.6, 5), Round(1.0, 0.4, 7))


@dataclass(slots=True)
class Batch:
    """Rows padded on the right; `targets` is -100 where nothing is learned."""

    ids: Tensor  # (rows, length) int64
    positions: Tensor  # (rows, length) int64, with gaps between turns
    targets: Tensor  # (rows, length) int64: the next id

    def to(self, device: str) -> Self:
        """The same on `device`."""
        return type(self)(self.ids.to(device), self.positions.to(device), self.targets.to(device))


@dataclass(slots=True)
class Progress:
    """Where a training stands."""

    elapsed_s: float = 0.0  # of CPU time, all threads together
    step: int = 0
    tokens: int = 0
    losses: list[float] = field(default_factory=list)


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
    corpus.mix = Mix(0.05, 0.3, 0.26, 0.24, lengths=(0.3, 0.4, 0.3), exchanges=(8, 18))
    return 2048


def batches(corpus: Corpus, encoder: Encoder, longest: int, rng: random.Random) -> Iterator[Batch]:
    """One pool of documents as batches of rows of like length, in random order."""
    rows = []
    for _ in range(POOL_DOCUMENTS):
        ids, learned, borders = encoder.document(corpus.document())
        positions = _with_gaps(len(ids), borders, rng)
        rows.append((ids[:longest], learned[:longest], positions[:longest]))
    rows.sort(key=lambda row: len(row[0]))
    groups: list[list[Any]] = [[]]
    for row in rows:
        if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(row)
    rng.shuffle(groups)
    for group in groups:
        batch = _padded(group, encoder.pad)
        if (batch.targets != -100).any():
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


def _padded(rows: list[Any], pad: int) -> Batch:
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
    return Batch(ids, positions, targets)


def optimizers_for(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    muon = Muon(matrices, lr=rate, weight_decay=0.05)
    adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [muon, adam]


def round_at(done: float) -> tuple[Round, float]:
    """The round at this share of training, and the share of the round that is done."""
    begins = 0.0
    for part in ROUNDS:
        if done < part.ends:
            return part, (done - begins) / (part.ends - begins)
        begins = part.ends
    return ROUNDS[-1], 1.0


def rate_at(done: float) -> float:
    """The factor of the learning rate: in each round a short rise, then half a cosine."""
    now, part = round_at(done)
    if part < WARM_UP:
        return now.peak * max(part / WARM_UP, 0.02)
    fallen = 0.5 * (1 + math.cos(math.pi * part))
    return FINAL_RATE + (now.peak - FINAL_RATE) * fallen


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
        self.progress = Progress()
        self.watched = watched_batches(self.encoder)
        if resumes:
            self._load()
        else:
            self._use(new_model(self.tokenizer, ROUNDS[0].layers).to(self.device))

    def run(self) -> None:
        """Train until all tokens are read, then save the model."""
        options, progress = self.options, self.progress
        limit = options.tokens * 1e6
        corpus = Corpus(options.seed * 1_000_003 + progress.step)
        rng = random.Random(options.seed + progress.step)
        last = saved = sampled = time.process_time()
        while progress.tokens < limit:
            done = progress.tokens / limit
            longest = curriculum(corpus, done)
            if self._is_too_flat(limit):
                self._use(deepened(self.model, round_at(done)[0].layers))
            for batch in batches(corpus, self.encoder, longest, rng):
                self._step(batch, progress.tokens / limit)
                now = time.process_time()
                progress.elapsed_s, last = progress.elapsed_s + now - last, now
                if now - sampled > SAMPLE_EVERY_S:
                    sampled = now
                    self._report()
                if now - saved > SAVE_EVERY_S:
                    saved = now
                    self._save()
                if progress.tokens >= limit or self._is_too_flat(limit):
                    break
        self._report()
        self._save()
        save_model(self.model, self.tokenizer, options.out)
        story = {"tokens": progress.tokens, "steps": progress.step, "seed": options.seed,
                 "cpu_minutes": round(progress.elapsed_s / 60), "device": self.device}  # fmt: skip
        (options.out / STORY).write_text(json.dumps(story) + "\n")

    def _is_too_flat(self, limit: float) -> bool:
        """Whether the round that has begun wants more layers."""
        return round_at(self.progress.tokens / limit)[0].layers > len(self.model.model.layers)

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
        self.progress.losses.append(loss.item())

    def _loss(self, batch: Batch) -> Tensor:
        batch = batch.to(self.device)
        return self.forward.loss(batch.ids, batch.positions, batch.targets)

    def _report(self) -> None:
        progress, recent = self.progress, self.progress.losses[-100:] or [math.nan]
        print(
            f"{progress.elapsed_s / 60:5.1f} min  step {progress.step:5d}  "
            f"{progress.tokens / 1e6:5.2f}M tokens  loss {sum(recent) / len(recent):.3f}",
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
        self.progress = Progress(state["elapsed_s"], state["step"], state["tokens"])


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
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--resume", action="store_true", help="go on from training/out/")
    parser.add_argument("--out", type=Path, default=MODEL_DIR)
    Training(parser.parse_args()).run()


if __name__ == "__main__":
    main()
