"""The training text: conversations of invented people, calls of functions, filled forms, and
lists that teach copying and finding.

The same seed gives the same corpus. The held-out split has other names, places and trades,
other functions and other forms.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from training.dialogue import Talk, Turn, known_at_start
from training.forms import MOST_FIELDS, ask_for, draw_form, fill
from training.functions import Function, call, draw_functions, offer, refuse
from training.grammar import load, pick
from training.lists import list_document
from training.prompts import PromptWriter
from training.questions import asks_any
from training.starters import kept_wordings, starter_document
from training.world import Inventor, Split, World

LENGTHS = ("short", "middle", "long")
ALIKE_SHARE = 0.35  # of the documents with functions offer lookups of one domain only
DRILL_SHARE = 0.5  # of the documents with functions are requests and calls, no more


@dataclass(frozen=True, slots=True)
class Mix:
    """What a corpus is made of; `lists` is of all documents, the others of the rest."""

    lists: float = 0.1
    starters: float = 0.2
    functions: float = 0.2
    forms: float = 0.15
    lengths: tuple[float, float, float] = (0.4, 0.4, 0.2)  # of system prompts, see LENGTHS
    exchanges: tuple[int, int] = (3, 9)
    requests: tuple[int, int] = (3, 7)  # instead, with functions: later calls copy the first
    is_even: bool = False  # whether all that is learned counts alike


class Corpus:
    """An endless, repeatable stream of documents, each a list of turns.

    Args:
        seed: The same seed gives the same documents.
        split: Which names, places and trades occur.
        mix: May be set while drawing.
    """

    def __init__(self, seed: int, split: Split = "train", mix: Mix | None = None) -> None:
        self.inventor = Inventor(random.Random(seed), split)
        self.mix = mix or Mix()

    def __iter__(self) -> Iterator[list[Turn]]:
        while True:
            yield self.document()

    def document(self) -> list[Turn]:
        """One document, in which nothing is asked that is kept for the evaluation."""
        while True:
            turns = self._any_document()
            asked = (turn.text for turn in turns if turn.role == "user")
            if self.inventor.split == "held_out" or not any(
                asks_any(kept_wordings(), each) for each in asked
            ):
                break
        if self.mix.is_even:
            for turn in turns:
                turn.learned = min(turn.learned, 1.0)
        return turns

    def _any_document(self) -> list[Turn]:
        rng, mix = self.inventor.rng, self.mix
        if rng.random() < mix.lists:
            return list_document(self.inventor)
        roll = rng.random()
        if roll < mix.starters and (turns := starter_document(self.inventor, mix.exchanges)):
            return turns
        roll -= mix.starters
        if 0 <= roll < mix.functions:
            return self.drill() if rng.random() < DRILL_SHARE else self.calls()
        roll -= mix.functions
        if 0 <= roll < mix.forms:
            return self.forms()
        return self.conversation()

    def conversation(self) -> list[Turn]:
        """A system prompt, at times an example dialogue, a greeting, and some exchanges."""
        talk = self._talk()
        self._open(talk, examples_share=0.15)
        for _ in range(self.inventor.rng.randint(*self.mix.exchanges)):
            talk.step()
        return talk.turns

    def calls(self) -> list[Turn]:
        """A conversation with functions on offer; not everything that is said needs one."""
        rng = self.inventor.rng
        functions = draw_functions(
            self.inventor, rng.choices((1, 2, 3, 4), (3, 4, 3, 1))[0],
            alike=rng.random() < ALIKE_SHARE,
        )  # fmt: skip
        alone = rng.random() < 0.25
        talk = helpful_assistant(self.inventor) if alone else self._talk(longest=1)
        offer(talk, functions, alone=alone)
        if not alone:
            self._open(talk, examples_share=0.05)
        uncalled: list[Function] = []
        for _ in range(rng.randint(*self.mix.requests)):
            roll = rng.random()
            if roll < 0.5:
                uncalled = uncalled or rng.sample(functions, len(functions))
                call(talk, uncalled.pop())
            elif roll < 0.85:
                refuse(talk, functions)
            else:
                talk.step()
        return talk.turns

    def drill(self) -> list[Turn]:
        """Several functions, each asked for once among requests that none fits: only choosing."""
        rng = self.inventor.rng
        functions = draw_functions(
            self.inventor, rng.randint(2, 6), alike=rng.random() < ALIKE_SHARE
        )
        talk = helpful_assistant(self.inventor)
        offer(talk, functions, alone=True)
        for function in rng.sample(functions, len(functions)):
            while rng.random() < 0.5:
                refuse(talk, functions)
            call(talk, function)
            del talk.turns[-2:]  # the result, and what is said of it
        return talk.turns

    def forms(self) -> list[Turn]:
        """One form, filled a few times, as later fillings copy the first; half have many fields."""
        rng = self.inventor.rng
        alone = rng.random() < 0.5
        talk = helpful_assistant(self.inventor) if alone else self._talk(longest=1)
        form = draw_form(self.inventor, rng.choice((1, MOST_FIELDS - 2)))
        ask_for(talk, form, alone=alone)
        if not alone and rng.random() < 0.5:
            talk.turns.append(Turn("assistant", greeting(talk)))
        for _ in range(rng.randint(2, 4)):
            fill(talk, form)
        return talk.turns

    def _talk(self, longest: int = 2) -> Talk:
        lengths = self.mix.lengths[: longest + 1]
        return start_talk(
            self.inventor, self.inventor.rng.choices(LENGTHS[: longest + 1], lengths)[0]
        )

    def _open(self, talk: Talk, *, examples_share: float) -> None:
        rng = self.inventor.rng
        if rng.random() < examples_share:
            talk.turns += examples(talk)
        if rng.random() < 0.75:
            talk.turns.append(Turn("assistant", greeting(talk)))


def start_talk(inventor: Inventor, length: str, world: World | None = None) -> Talk:
    """A talk with only its system turn."""
    rng = inventor.rng
    if world is None:
        if rng.random() < 0.04:
            return helpful_assistant(inventor)
        world = inventor.world()
    user = inventor.first_name() if rng.random() < 0.5 else None
    system = PromptWriter(world, inventor, user, length).write()
    known = known_at_start(world, system, user if user and user in system else None)
    return Talk(world, inventor, known, turns=[Turn("system", system)])


def helpful_assistant(inventor: Inventor) -> Talk:
    """No persona at all: the model answers as itself."""
    system = inventor.rng.choice((
        "You are a helpful assistant.", "You are a helpful, honest assistant.",
        "You are Hermes Mini, a helpful assistant.", "You are an assistant. Answer briefly.",
    ))  # fmt: skip
    world = inventor.world()
    world.values["name"] = "Hermes Mini"
    world.style, world.acts, world.stated = "plain", False, set()
    return Talk(world, inventor, {"name": "Hermes Mini"}, turns=[Turn("system", system)])


def greeting(talk: Talk) -> str:
    """The first message, which the app takes from the persona's file."""
    world, rng = talk.world, talk.rng
    actions = load("style")["actions"][world.mood]
    known = {**talk.words(), "action": rng.choice(actions), "action3": rng.choice((
        "looks up", "opens the door", "sits by the window", "does not turn around",
    ))}  # fmt: skip
    templates = load("prompt")["greeting"]
    if not world.acts:
        templates = templates[:1] + templates[2:3]
        known.pop("action")
    text = pick(templates, known, rng) or "Hello."
    if not world.acts and text.startswith("*"):
        text = text.split("* ", 1)[-1]
    return text


def examples(talk: Talk) -> list[Turn]:
    """One or two exchanges with somebody else, shown as examples of how the persona speaks."""
    shown = Talk(talk.world, talk.inventor, {k: v for k, v in talk.known.items() if k != "user"})
    for _ in range(talk.rng.randint(1, 2)):
        shown.step("talk")
    return shown.turns


def main() -> None:
    parser = argparse.ArgumentParser(description="Prints documents of the training text.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    options = parser.parse_args()
    for document in islice(Corpus(options.seed, options.split), options.count):
        for turn in document:
            print(f"[{turn.role}, learned × {turn.learned:g}]\n{turn.text}")
        print("=" * 80)


if __name__ == "__main__":
    main()
