"""The training text: conversations of invented people, and lists that teach copying.

The same seed gives the same corpus. The held-out split has other names, places and trades.
"""

import random
from collections.abc import Iterator

from training.dialogue import Talk, Turn, known_at_start
from training.grammar import load, pick
from training.lists import list_document
from training.prompts import PromptWriter
from training.starters import starter_document
from training.world import Inventor, Split, World

LENGTHS = ("short", "middle", "long")


class Corpus:
    """An endless, repeatable stream of documents, each a list of turns.

    Args:
        seed: The same seed gives the same documents.
        split: Which names, places and trades occur.
        list_share: How many documents are lists for copying; may be set while drawing.
        lengths: Relative weights of short, middle and long system prompts.
    """

    def __init__(self, seed: int, split: Split = "train") -> None:
        self.inventor = Inventor(random.Random(seed), split)
        self.list_share = 0.33
        self.starter_share = 0.15  # of the conversations
        self.lengths = (0.4, 0.4, 0.2)
        self.exchanges = (3, 9)

    def __iter__(self) -> Iterator[list[Turn]]:
        while True:
            yield self.document()

    def document(self) -> list[Turn]:
        rng = self.inventor.rng
        if rng.random() < self.list_share:
            return list_document(self.inventor)
        if rng.random() < self.starter_share and (
            turns := starter_document(self.inventor, self.exchanges)
        ):
            return turns
        return self.conversation()

    def conversation(self) -> list[Turn]:
        """A system prompt, at times an example dialogue, a greeting, and some exchanges."""
        rng = self.inventor.rng
        talk = start_talk(self.inventor, rng.choices(LENGTHS, self.lengths)[0])
        if rng.random() < 0.15:
            talk.turns += examples(talk)
        if rng.random() < 0.75:
            talk.turns.append(Turn("assistant", greeting(talk)))
        for _ in range(rng.randint(*self.exchanges)):
            talk.step()
        return talk.turns


def start_talk(inventor: Inventor, length: str, world: World | None = None) -> Talk:
    """A talk with only its system turn."""
    rng = inventor.rng
    if world is None:
        world = inventor.world()
        if rng.random() < 0.04:
            return helpful_assistant(inventor, world)
    user = inventor.first_name() if rng.random() < 0.5 else None
    system = PromptWriter(world, inventor, user, length).write()
    known = known_at_start(world, system, user if user and user in system else None)
    return Talk(world, inventor, known, turns=[Turn("system", system)])


def helpful_assistant(inventor: Inventor, world: World) -> Talk:
    """No persona at all: the model answers as itself."""
    system = inventor.rng.choice((
        "You are a helpful assistant.", "You are a helpful, honest assistant.",
        "You are Hermes Mini, a helpful assistant.", "You are an assistant. Answer briefly.",
    ))  # fmt: skip
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
        shown._talk()
    return shown.turns
