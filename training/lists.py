"""Lists that have no meaning but their repetition: they teach a small model to copy.

Without them a model of this size does not learn to take an unseen name from its prompt.
"""

import json
import random

from training.dialogue import Turn
from training.world import Inventor


def list_document(inventor: Inventor) -> list[Turn]:
    """Words said three times, or pairs that are asked for one by one."""
    roll = inventor.rng.random()
    if roll < 0.55:
        return _repeated(inventor)
    return _pairs(inventor)


def _invented(inventor: Inventor) -> str:
    word = inventor.of_split(inventor.invented)
    roll = inventor.rng.random()
    if roll < 0.3:
        return word.lower()
    if roll < 0.4:
        return f"{word} {inventor.of_split(inventor.invented)}"
    if roll < 0.45:
        return "".join(inventor.rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))
    return word


def _repeated(inventor: Inventor) -> list[Turn]:
    """The same words three times, with other marks around them now and then."""
    rng = inventor.rng
    items = [_invented(inventor) for _ in range(rng.randint(6, 20))]
    first = _joined(items, rng)
    again = [first if rng.random() < 0.5 else _joined(items, rng) for _ in range(2)]
    return [Turn("list", first), *(Turn("list", text, learned=True) for text in again)]


def _joined(items: list[str], rng: random.Random) -> str:
    if rng.random() < 0.3:
        return json.dumps(items, ensure_ascii=False)
    return str(rng.choice((", ", " ", "\n", ". ", " and ", "! ", ": "))).join(items)


def _pairs(inventor: Inventor) -> list[Turn]:
    """Key and value lines as a system prompt; the keys are asked for in another order."""
    rng = inventor.rng
    keys = [_invented(inventor) for _ in range(rng.randint(3, 9))]
    values = [_invented(inventor) for _ in keys]
    pattern = rng.choice(
        ("{} is {}.", "{}: {}", "{} has {}.", "{} lives in {}.", "{} = {}", '"{}": "{}"')
    )
    lines = [pattern.format(key, value) for key, value in zip(keys, values, strict=True)]
    turns = [Turn("system", rng.choice((" ", "\n")).join(lines))]
    order = list(zip(keys, values, strict=True))
    rng.shuffle(order)
    for key, value in order:
        question = rng.choice(("{}?", "What about {}?", "{}", "Tell me of {}."))
        turns.append(Turn("user", question.format(key)))
        said = pattern.format(key, value) if rng.random() < 0.5 else f"{value}."
        turns.append(Turn("assistant", said, learned=True))
    return turns
