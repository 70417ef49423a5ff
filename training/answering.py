"""Talking to a model without the app: many conversations at once, greedy or sampled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from hermes_ui.params import SamplingParams
from training.dialogue import Turn
from training.prefixes import Prefixes
from training.tokenizer import Encoder

MAX_TOKENS = 160
ROWS = 48  # conversations that are answered together
READ_ROWS = 8  # of those that are read before: more at once no longer fit a CPU's cache
READ_TOKENS = 32  # fewer are read with the rest
T = TypeVar("T")
GREEDY = SamplingParams(temperature=0, repetition_penalty=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What was said, and whether the model ended its turn itself."""

    text: str
    ids: tuple[int, ...]
    is_ended: bool


class Speaker:
    """A model and its tokenizer."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.encoder = Encoder(tokenizer)
        self.prefixes = Prefixes(self.encoder.end)

    @classmethod
    def load(cls, folder: Path) -> Self:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(model.eval(), AutoTokenizer.from_pretrained(folder))

    def answers(
        self,
        conversations: Sequence[Sequence[Turn]],
        knobs: SamplingParams = GREEDY,
        seed: int = 0,
    ) -> list[Reply]:
        """The assistant's next turn of each."""
        torch.manual_seed(seed)
        rows = [self.prompt(turns) for turns in conversations]
        self._read(rows)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        said: dict[int, Reply] = {}
        for some in _in_parts(order, ROWS):
            said.update(zip(some, self._say([rows[row] for row in some], knobs), strict=True))
        return [said[row] for row in range(len(rows))]

    def answer(self, turns: Sequence[Turn]) -> str:
        """The likeliest next turn of one conversation."""
        return self.answers([turns])[0].text

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Ids with BOS, the assistant's turn open at the end."""
        ids, _, _ = self.encoder.document(turns)
        return [*ids, *self.encoder.opening("assistant")]

    @torch.inference_mode()
    def _read(self, rows: Sequence[Sequence[int]]) -> None:
        """Read what is long and new in `rows`, up to where their last turn ends."""
        closed = sorted({tuple(self.prefixes.closed(row)) for row in rows})
        left = {ids: len(ids) - self.prefixes.known(ids) for ids in closed}
        long = sorted((ids for ids in closed if left[ids] > READ_TOKENS), key=left.__getitem__)
        for some in _in_parts(long, READ_ROWS):
            batch = self.prefixes.batch(some, self.model, self.encoder.pad)
            positions = (batch.mask.cumsum(-1) - 1).clamp(min=0)
            new_ids, places = (each[:, batch.width :] for each in (batch.ids, positions))
            self.model.model(new_ids, batch.mask, places, batch.cache)
            for number, ids in enumerate(some):
                self.prefixes.keep(ids, batch.read(number))

    @torch.inference_mode()
    def _say(self, rows: Sequence[Sequence[int]], knobs: SamplingParams) -> list[Reply]:
        pad = self.encoder.pad
        batch = self.prefixes.batch(rows, self.model, pad, room=MAX_TOKENS)
        drawn = ("temperature", "top_k", "top_p", "min_p") if knobs.temperature else ()
        how = {name: getattr(knobs, name) for name in (*drawn, "repetition_penalty")}
        out = self.model.generate(
            batch.ids, attention_mask=batch.mask, past_key_values=batch.cache,
            do_sample=knobs.temperature > 0, max_new_tokens=MAX_TOKENS,
            eos_token_id=[self.encoder.end, pad], pad_token_id=pad, disable_compile=True,
            **how,
        )  # fmt: skip
        replies = [self._reply(row) for row in out[:, batch.ids.shape[1] :].tolist()]
        for number, (ids, reply) in enumerate(zip(rows, replies, strict=True)):
            if reply.is_ended:  # else its last token was not read
                self.prefixes.keep([*ids, *reply.ids], batch.read(number, len(reply.ids)))
        return replies

    def _reply(self, ids: list[int]) -> Reply:
        ends = [ids.index(each) for each in (self.encoder.end, self.encoder.pad) if each in ids]
        said = ids[: min(ends)] if ends else ids
        return Reply(self.tokenizer.decode(said), tuple(said), bool(ends))


def _in_parts(every: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (every[start : start + size] for start in range(0, len(every), size))
