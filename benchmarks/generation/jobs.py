"""What is asked of every engine, and what comes back: prompts of exact lengths, and replies.

Prompts are made of words that are one token each, so that all engines read the same number
of tokens whether they are handed pieces, text or ids.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from hermes_ui.prompt.chatml import IM_END, IM_START, Control, Pieces, opening, turn

_COMMON = """
the and was over with from that this have been near under after before where while quiet slow
cold dark light lamp stone water storm wind night door road hand house tower ship boat tide
coast wall table window winter summer morning letter song voice story garden river bridge
market bread salt rope sail map key book paper candle fire rain snow cloud star moon
"""
WORDS = tuple(_COMMON.split())
CONTROLS = (IM_START, IM_END)


@dataclass(frozen=True)
class Job:
    """One user's request: `pieces` is the prompt, `tokens` the length of the reply."""

    pieces: Pieces
    tokens: int

    def to_wire(self) -> dict:
        return {"pieces": list(self.pieces), "tokens": self.tokens}

    @classmethod
    def from_wire(cls, wire: dict) -> "Job":
        pieces = (Control(each) if each in CONTROLS else each for each in wire["pieces"])
        return cls(tuple(pieces), wire["tokens"])

    @property
    def text(self) -> str:
        """For engines that take text, in which control tokens are spelled out."""
        return "".join(self.pieces)


@dataclass(frozen=True)
class Reply:
    """What one user saw. Times are seconds since all jobs of the batch were handed over."""

    tokens: int
    times: list[float]  # of every piece of text
    end: float
    text: str = ""
    cached: int | None = None  # prompt tokens that were not read again; None: unknown

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.times[0] if self.times else self.end


@dataclass(frozen=True)
class Batch:
    """The replies to jobs that were handed over together, and the engine's memory after."""

    replies: list[Reply] = field(default_factory=list)
    resident: int = 0  # bytes

    def to_wire(self) -> dict:
        return {"replies": [vars(each) for each in self.replies], "resident": self.resident}

    @classmethod
    def from_wire(cls, wire: dict) -> "Batch":
        return cls([Reply(**each) for each in wire["replies"]], wire["resident"])

    @property
    def tokens_per_second(self) -> float:
        """Of all users together, from the hand-over to the last word, prompts included."""
        return sum(each.tokens for each in self.replies) / max(each.end for each in self.replies)

    @property
    def seconds_per_token(self) -> float:
        """Between two tokens of a user, while all of them are being answered."""
        began = max(each.first for each in self.replies)
        ended = min(each.end for each in self.replies)
        steps = [
            (max(inside) - min(inside)) / (len(inside) - 1)
            for each in self.replies
            if len(inside := [moment for moment in each.times if began <= moment <= ended]) > 1
        ]
        return sum(steps) / len(steps) if steps else float("nan")


class Author:
    """Writes prompts that nobody has read before."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

        def is_one_token(word: str) -> bool:
            return len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) == 1

        self._words = [word for word in WORDS if is_one_token(word)]
        if len(self._words) < 10:
            raise ValueError(f"the tokenizer of {folder} cuts common words in pieces")
        self._seeds = count()

    def text(self, tokens: int) -> str:
        """A new text of exactly so many tokens."""
        dice = random.Random(next(self._seeds))
        return "".join(f" {dice.choice(self._words)}" for _ in range(tokens))

    def job(self, prompt_tokens: int, tokens: int) -> Job:
        return Job((self.text(prompt_tokens),), tokens)

    def jobs(self, users: int, prompt_tokens: int, tokens: int) -> list[Job]:
        return [self.job(prompt_tokens, tokens) for _ in range(users)]

    def chat(self, turns: int, prompt_tokens: int) -> Iterator[Pieces]:
        """A chat up to the user's last turn but one, and then what the user says last.

        Both together have about `prompt_tokens` tokens; a reply of the model fits between.
        """
        each = prompt_tokens // turns
        said = each // 5
        pieces = turn("system", self.text(each // 2))
        for _ in range(turns - 2):
            pieces += turn("user", self.text(said)) + turn("assistant", self.text(each - said - 10))
        yield pieces + turn("user", self.text(said)) + opening("assistant")
        yield (IM_END, "\n", *turn("user", self.text(said)), *opening("assistant"))
