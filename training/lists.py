"""Lists that have no meaning but their repetition: they teach a small model to copy and find.

Without them a model of this size does not learn to take an unseen name from its prompt.
"""

import json
import random

from training.dialogue import Turn
from training.functions import call_text
from training.grammar import load
from training.values import drawn
from training.world import Inventor

RECORD_VALUES = (
    "invented", "invented", "words", "words", "number", "amount", "name", "town", "street",
    "thing", "trade", "title", "email", "sentence",
)  # fmt: skip

FEW_SHARE = 0.25  # of the lists that are said again have words that come again


def list_document(inventor: Inventor) -> list[Turn]:
    """Words said three times, pairs that are asked for one by one, records as JSON, or calls."""
    return inventor.rng.choices(KINDS, KIND_WEIGHTS)[0](inventor)


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
    if rng.random() < FEW_SHARE:  # where one is comes of more than the word before
        items = rng.choices(items[: rng.randint(2, 6)], k=len(items))
    first = _joined(items, rng)
    again = [first if rng.random() < 0.5 else _joined(items, rng) for _ in range(2)]
    return [Turn("list", first), *(Turn("list", text, learned=1.0) for text in again)]


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
        turns.append(Turn("assistant", said, learned=1.0))
    return turns


def _records(inventor: Inventor) -> list[Turn]:
    """Keys and values of all sorts, written as the arguments of calls and as forms are."""
    rng, turns = inventor.rng, []
    keys = list(dict.fromkeys(_invented(inventor).lower() for _ in range(rng.randint(1, 5))))
    pattern = rng.choice(("{}: {}", "{} is {}", "the {} is {}", "{} = {}", "as {} take {}"))
    for _ in range(rng.randint(1, 4)):
        record = {key: _value(inventor) for key in keys}
        said = [pattern.format(key, value) for key, value in record.items()]
        rng.shuffle(said)
        turns.append(Turn("user", rng.choice(("; ", ". ", "\n")).join(said)))
        turns.append(Turn("assistant", json.dumps(record, ensure_ascii=False), learned=1.0))
    return [Turn("system", json.dumps(keys, ensure_ascii=False)), *turns]


def _catalogue(inventor: Inventor) -> list[Turn]:
    """Functions in few words, each called by a word from within its name: one has to look back
    from there to how the name begins, which many share, and on to what goes with it.
    """
    rng, verbs = inventor.rng, load("functions")["look_names"]
    words = list(dict.fromkeys(_invented(inventor).lower() for _ in range(rng.randint(3, 8))))
    keys = [inventor.of_split(inventor.invented).lower() for _ in range(rng.randint(1, 4))]
    lines, calls = [], []
    for word in words:
        name = rng.choice(verbs).replace("{what}", word).replace(" ", "_")
        key, value = rng.choice(keys), _invented(inventor)
        lines.append(json.dumps({"name": name, "description": f"{word}.", "parameters": [key]}))
        asked = rng.choice(("{0} {1}", "{0} of {1}?", "{1}: {0}", "the {0} of {1}, please"))
        calls.append((asked.format(word, value), call_text(name, {key: value})))
    turns = [Turn("system", "\n".join(lines))]
    for asked, called in rng.sample(calls, len(calls)):
        turns += [Turn("user", asked), Turn("assistant", called, learned=1.0)]
    return turns


def _value(inventor: Inventor) -> str | int:
    """Anything that may be copied: one word or several, a number, a line."""
    kind = inventor.rng.choice(RECORD_VALUES)
    if kind == "words":
        return " ".join(_invented(inventor) for _ in range(inventor.rng.randint(2, 3)))
    value: str | int = drawn(kind, inventor)
    return value


KINDS = (_repeated, _pairs, _records, _catalogue)
KIND_WEIGHTS = (3, 2, 2, 4)
