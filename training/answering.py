"""Talking to a model without the app: many conversations at once, greedy or sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from hermes_ui.params import SamplingParams
from training.dialogue import Turn
from training.tokenizer import Encoder

MAX_TOKENS = 160
ROWS = 48  # conversations in one batch
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
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        said: dict[int, Reply] = {}
        for start in range(0, len(order), ROWS):
            batch = order[start : start + ROWS]
            replies = self._batch([rows[row] for row in batch], knobs)
            said.update(zip(batch, replies, strict=True))
        return [said[row] for row in range(len(rows))]

    def answer(self, turns: Sequence[Turn]) -> str:
        """The likeliest next turn of one conversation."""
        return self.answers([turns])[0].text

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Ids with BOS, the assistant's turn open at the end."""
        ids, _, _ = self.encoder.document(turns)
        return [*ids, self.encoder.start, *self.encoder.text("assistant\n")]

    @torch.inference_mode()
    def _batch(self, rows: list[list[int]], knobs: SamplingParams) -> list[Reply]:
        longest = max(map(len, rows))
        pad, end = self.encoder.pad, self.encoder.end
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        drawn = ("temperature", "top_k", "top_p", "min_p") if knobs.temperature else ()
        how = {name: getattr(knobs, name) for name in (*drawn, "repetition_penalty")}
        device = self.model.device
        out = self.model.generate(
            ids.to(device), attention_mask=mask.to(device), do_sample=knobs.temperature > 0,
            max_new_tokens=MAX_TOKENS, eos_token_id=[end, pad], pad_token_id=pad, **how,
        )  # fmt: skip
        return [self._reply(row[longest:].tolist()) for row in out]

    def _reply(self, ids: list[int]) -> Reply:
        ends = [ids.index(each) for each in (self.encoder.end, self.encoder.pad) if each in ids]
        said = ids[: min(ends)] if ends else ids
        return Reply(self.tokenizer.decode(said), tuple(said), bool(ends))
