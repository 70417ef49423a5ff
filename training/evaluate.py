"""Measures a trained model on people, places, functions and forms that training never saw.

    python -m training.evaluate [--model models/hermes-mini] [--share 1.0]

Prints one Markdown table, each skill against its bar. Answers are greedy where the row does
not say otherwise. On two cores it takes some eight minutes.
"""

import argparse
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hermes_ui.params import SamplingParams
from hermes_ui.toolbox import TOOLBOX
from training.answering import GREEDY, Reply, Speaker
from training.dialogue import Turn
from training.functions import result_text, run_own
from training.skills import (
    ALL_STYLES,
    Examiner,
    Try,
    is_filled,
    is_form,
    parsed_calls,
)
from training.starters import starters
from training.train import MODEL_DIR
from training.world import Inventor

SEED = 77
RECALLED = ("name", "colour", "food", "season", "animal", "hobby")
FURTHEST = 6  # turns back
LOOP = 8  # tokens
TOOL_ROUNDS = 2  # calls that are answered after one line
TIMED_TOKENS = 120
DRAWN = "as the app draws"  # with the defaults of its sampling panel


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `right` of `tries`, and the share that is asked for."""

    skill: str
    right: float
    tries: int
    bar: float | None = None

    @property
    def share(self) -> float:
        return self.right / max(1, self.tries)

    def __str__(self) -> str:
        bar = f"{self.bar:.0%}" if self.bar else ""
        met = "" if self.bar is None else "yes" if self.share >= self.bar - 1e-9 else "no"
        return f"| {self.skill} | {self.share:.1%} | {self.tries} | {bar} | {met} |"


HEAD = "| skill, on held-out data | right | tries | bar | met |\n|---|---|---|---|---|"


@dataclass(slots=True)
class Evaluation:
    """Has conversations, many at once, and remembers every reply."""

    speaker: Speaker
    knobs: SamplingParams = GREEDY
    replies: list[tuple[Try, Reply]] = field(default_factory=list)
    failures: list[Try] = field(default_factory=list)

    def score(self, skill: str, tries: Iterable[Try], bar: float | None = None) -> Row:
        """Have all of `tries`, line by line, and judge them."""
        return self.scores({skill: tries}, bar)[0]

    def scores(self, skills: dict[str, Iterable[Try]], bar: float | None = None) -> list[Row]:
        """The same of several skills at once, which takes less time."""
        each = {skill: list(tries) for skill, tries in skills.items()}
        self._have([one for tries in each.values() for one in tries])
        return [self._judged(skill, tries, bar) for skill, tries in each.items()]

    def _judged(self, skill: str, tries: list[Try], bar: float | None) -> Row:
        right = [float(one.judge(one.answers)) for one in tries]
        self.failures += [one for one, good in zip(tries, right, strict=True) if good < 1]
        return Row(skill, sum(right), len(tries), bar)

    def _have(self, tries: list[Try]) -> None:
        for number in range(max(max(len(one.lines), 1) for one in tries)):
            now = [one for one in tries if number < max(len(one.lines), 1)]
            for one in now:
                if one.lines:
                    one.turns.append(Turn("user", one.lines[number]))
            self._answer(now)

    def _answer(self, tries: list[Try], rounds: int = TOOL_ROUNDS) -> None:
        replies = self.speaker.answers([one.turns for one in tries], self.knobs, SEED)
        called = []
        for one, reply in zip(tries, replies, strict=True):
            self.replies.append((one, reply))
            one.answers.append(reply.text)
            one.turns.append(Turn("assistant", reply.text))
            if one.runs_tools and rounds and (result := _tool_turn(reply.text)):
                one.turns.append(result)
                called.append(one)
        if called:
            self._answer(called, rounds - 1)

    def manners(self, of: str, bar: float) -> Iterator[Row]:
        """What must hold of every reply so far."""
        texts = [
            (one, reply) for one, reply in self.replies if not reply.text.startswith(("<", "{"))
        ]
        total = len(self.replies)
        yield Row(f"ends its turn, {of}", sum(r.is_ended for _, r in self.replies), total, bar)
        yield Row(
            f"never speaks for the user, {of}",
            sum(not speaks_for(one.user, reply.text) for one, reply in texts), len(texts), bar,
        )  # fmt: skip
        yield Row(
            f"no {LOOP} tokens twice in a reply, {of}",
            sum(not loops(reply.ids) for _, reply in texts), len(texts), bar,
        )  # fmt: skip


def _tool_turn(text: str) -> Turn | None:
    """The real tool's answer to a call of one of the app's own."""
    calls = parsed_calls(text) if text.startswith("<") else None
    if not calls or calls[0][0] not in TOOLBOX:
        return None
    name, arguments = calls[0]
    return Turn("tool", result_text(name, run_own(name, arguments, random.Random(SEED))))


def speaks_for(user: str, text: str) -> bool:
    """Whether a line of `text` is put into the user's mouth."""
    names = tuple(f"{name}:" for name in (user, "User", "You", "user") if name)
    return any(line.strip(' *"').startswith(names) for line in text.splitlines())


def loops(ids: tuple[int, ...], size: int = LOOP) -> bool:
    """Whether any `size` tokens in a row occur twice in one reply."""
    grams = [ids[i : i + size] for i in range(len(ids) - size + 1)]
    return len(set(grams)) < len(grams)


def rows(run: Evaluation, share: float) -> Iterator[Row]:
    """All measurements, in the order of the table; `share` of the usual number of tries."""

    def count(usual: int) -> int:
        return max(2, round(usual * share))

    exam = Examiner(Inventor(random.Random(SEED), "held_out"))
    for fact in ("name", "trade", "place"):
        yield run.score(f"says its {fact}", exam.facts(fact, count(150)), 0.95)
    by_style = run.scores(
        {f"style: {style}": exam.styles(style, count(20)) for style in ALL_STYLES}
    )
    yield Row(
        "keeps its style", sum(r.right for r in by_style), sum(r.tries for r in by_style), 0.9
    )
    yield from by_style
    yield from recalls(run, exam, count)
    yield run.score("calls the right function rightly", exam.calls(count(200)), 0.95)
    yield run.score("calls none when none fits", exam.no_calls(count(120)), 0.95)
    yield run.score("uses the result", exam.results(count(150)), 0.9)
    yield run.score("form: valid JSON of the schema", exam.forms(count(150), is_form), 0.95)
    yield run.score("form: every value right", exam.forms(count(150), is_filled), 0.85)
    yield run.score("says what it is, unseen wordings", exam.identity(2), 1.0)
    by_slug = run.scores({f"questions to {slug}": exam.starters(slug) for slug in starters()})
    yield Row(
        "questions to the app's personas", sum(r.right for r in by_slug),
        sum(r.tries for r in by_slug), 0.9,
    )  # fmt: skip
    yield from by_slug
    run.score("chat", exam.chats(count(24)))
    yield from run.manners("greedy", 0.99)
    drawn = Evaluation(run.speaker, SamplingParams())
    drawn.score("chat", exam.chats(count(24)))
    yield from drawn.manners(DRAWN, 0.99)
    names = [each for ago in (1, 3, 5) for each in exam.recalls("name", ago, count(40))]
    yield drawn.score(f"recalls the user's name, {DRAWN}", names)
    asked = [each for slug in starters() for each in exam.starters(slug)]
    yield drawn.score(f"questions to the app's personas, {DRAWN}", asked)


def recalls(run: Evaluation, exam: Examiner, count) -> Iterator[Row]:
    """What the user told, by how many turns ago."""
    found = {}
    for ago in range(1, FURTHEST + 1):
        usual = {kind: 40 if kind == "name" else 8 for kind in RECALLED}
        tries = {kind: exam.recalls(kind, ago, count(usual[kind])) for kind in RECALLED}
        for row in run.scores(tries):
            found[row.skill, ago] = row
    for label, kinds in (("name", RECALLED[:1]), ("favourite thing", RECALLED[1:])):
        all_rows = [row for (kind, _), row in found.items() if kind in kinds]
        yield Row(
            f"recalls the user's {label}, told 1 to {FURTHEST} turns ago",
            sum(row.right for row in all_rows), sum(row.tries for row in all_rows), 0.9,
        )  # fmt: skip
        for ago in range(1, FURTHEST + 1):
            at = [row for (kind, back), row in found.items() if kind in kinds and back == ago]
            yield Row(f"{label}, {ago} ago", sum(r.right for r in at), sum(r.tries for r in at))


@torch.inference_mode()
def milliseconds_per_token(speaker: Speaker) -> float:
    """Of the plain forward loop, one conversation of a persona, prompt not counted."""
    talk = Examiner(Inventor(random.Random(SEED), "held_out")).persona("middle")
    fed, cache = torch.tensor([speaker.prompt(talk.turns)]), None
    began = 0.0
    for number in range(TIMED_TOKENS + 1):
        if number == 1:
            began = time.perf_counter()
        out = speaker.model(input_ids=fed, past_key_values=cache, use_cache=True)
        fed, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
    return (time.perf_counter() - began) / TIMED_TOKENS * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of tries")
    parser.add_argument("--failures", type=int, default=0, help="show so many that went wrong")
    options = parser.parse_args()
    torch.set_num_threads(2)
    began = time.perf_counter()
    run = Evaluation(Speaker.load(options.model))
    print(HEAD)
    for row in rows(run, options.share):
        print(row, flush=True)
    print(f"\n{milliseconds_per_token(run.speaker):.1f} ms a token in the plain forward loop; "
          f"the table took {(time.perf_counter() - began) / 60:.1f} minutes.")  # fmt: skip
    for failed in random.Random(1).sample(run.failures, min(options.failures, len(run.failures))):
        print("\n" + "\n".join(f"{turn.role}: {turn.text[-400:]}" for turn in failed.turns[-6:]))


if __name__ == "__main__":
    main()
