"""Invented people and places: who a persona is, before anything is said about it.

Names, towns and trades are split by a hash of their spelling, so that what the held-out
split says was never seen in training, whatever the seed.
"""

import random
import zlib
from dataclasses import dataclass, field
from typing import Literal

from training.grammar import expand, load, words

Split = Literal["train", "held_out"]

HELD_OUT_IN = 8  # one name, town or trade in so many is kept for evaluation

STYLES = ("plain", "pirate", "formal", "terse", "cheerful", "gloomy", "poetic")
FACTS: tuple[str, ...] = tuple(load("facts"))
NAME_LIKE_SHARE = 0.6  # of the invented words
MADE = ("things", "things", "materials", "animals", "colours", "foods", "hobbies")  # for trades


def in_split(text: str, split: Split) -> bool:
    """Whether a spelling may be used as a name, town or trade in `split`."""
    held_out = zlib.crc32(text.lower().encode()) % HELD_OUT_IN == 0
    return held_out == (split == "held_out")


def with_article(noun: str) -> str:
    """`noun` behind "a" or "an"."""
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


@dataclass(slots=True)
class World:
    """One persona and the person it talks to, with everything that could be said of them."""

    values: dict[str, str]  # all facts, stated or not
    style: str
    mood: str  # warm, cold, shy or bright
    adjectives: list[str]
    pronoun: str  # she, he or they
    acts: bool  # whether *actions* are used
    stated: set[str] = field(default_factory=set)  # keys of FACTS that the prompt states

    @property
    def name(self) -> str:
        return self.values["name"]


class Inventor:
    """Draws words and worlds of one split. Not safe to share between threads.

    Attributes:
        is_late: Whether wordings under `late` are drawn too; may be set while drawing.
    """

    def __init__(self, rng: random.Random, split: Split = "train") -> None:
        self.rng = rng
        self.split = split
        self.is_late = False

    def wordings(self, usual: list[str], late: list[str]) -> list[str]:
        """What may be asked now, of templates that always may and those of a finish."""
        return usual + late if self.is_late else usual

    def word(self, list_name: str) -> str:
        """A word of words.yaml, whatever the split."""
        return self.rng.choice(words(list_name))

    def invented(self) -> str:
        """A word that hardly anyone has written before: like a name, or barely pronounceable."""
        if self.rng.random() < NAME_LIKE_SHARE:
            middles = (self.word("name_middles") for _ in range(self.rng.choice((0, 0, 1, 1, 2))))
            return "".join((self.word("name_starts"), *middles, self.word("name_ends")))
        syllables = self.rng.choice((1, 2, 2, 2, 2, 3))
        parts = []
        for _ in range(syllables):
            parts += [self.word("onsets"), self.word("vowels"), self.word("codas")]
        return "".join(parts).capitalize()

    def of_split(self, draw) -> str:
        """What `draw` draws, again until it belongs to this split."""
        while True:
            text = str(draw())
            if in_split(text, self.split):
                return text

    def first_name(self) -> str:
        return self.of_split(
            lambda: self.invented() if self.rng.random() < 0.55 else self.word("first_names")
        )

    def name(self) -> str:
        """A first name, at times with a title or a family name."""
        first, roll = self.first_name(), self.rng.random()
        if roll < 0.68:
            return first
        if roll < 0.84:
            last = self.word("last_names") if self.rng.random() < 0.5 else self.invented()
            return f"{first} {last}"
        return f"{self.word('titles')} {first}"

    def town(self) -> str:
        return self.of_split(self._any_town)

    def _any_town(self) -> str:
        roll = self.rng.random()
        if roll < 0.35:
            return self.invented()
        if roll < 0.6:
            return self.invented() + self.word("place_tails")
        if roll < 0.8:
            return f"{self.word('place_firsts')} {self.word('place_seconds')}"
        return f"{self.invented()} {self.word('place_seconds')}"

    def place(self) -> tuple[str, str]:
        """A place, and the same behind its preposition."""
        roll = self.rng.random()
        if roll < 0.6:
            town = self.town()
            return town, f"in {town}"
        if roll < 0.85:
            sign = self.of_split(self._any_sign)
            venue = f"the {sign} {self.word('venues')}"
            return venue, f"at {venue}"
        kind = self.rng.choice(("village", "port", "city", "kingdom", "island", "space station"))
        place = f"the {kind} of {self.town()}"
        return place, ("on " if kind in ("island", "space station") else "in ") + place

    def _any_sign(self) -> str:
        return f"{self.word('adjectives')} {self.word('things')}".title()

    def trade(self) -> str:
        return self.of_split(self._any_trade)

    def _any_trade(self) -> str:
        """A listed trade, or a maker of anything: too many of them to be learned by heart."""
        roll = self.rng.random()
        if roll < 0.25:
            return self.word("trades")
        if roll < 0.45:
            return f"{self.invented().lower()} {self.word('makers')}"
        return f"{self.word(self.rng.choice(MADE))} {self.word('makers')}"

    def thing(self) -> str:
        """An adjective and a noun, such as "dusty lantern"."""
        adjective = self.word(self.rng.choice(("adjectives", "materials")))
        return f"{adjective} {self.word('things')}"

    def article(self, noun: str) -> str:
        return with_article(noun)

    def article_thing(self) -> str:
        return with_article(self.thing())

    def fill(self, list_name: str) -> str:
        """A template of words.yaml with fresh words in it."""
        fresh = {
            "other": self.first_name(), "town": self.town(), "topic": self.word("topics"),
            "thing": self.word("things"), "material": self.word("materials"),
            "adjective": self.word("adjectives"), "plurals": self.word("plurals"),
            "trade": self.trade(), "food": self.word("foods"), "hobby": self.word("hobbies"),
            "a_adjthing": with_article(self.thing()), "my": "my",
            "a_animal": with_article(self.word("animals")), "a_trade": with_article(self.trade()),
        }  # fmt: skip
        text = expand(self.word(list_name), fresh, self.rng)
        assert text is not None, list_name
        return text

    def world(self) -> World:
        """Somebody new; nothing is stated yet."""
        rng = self.rng
        place, inplace = self.place()
        trade, animal = self.trade(), self.word("animals")
        item, secret = self.thing(), self.thing()
        like, hate = rng.sample(words("plurals"), 2)
        mood = rng.choice(("warm", "cold", "shy", "bright"))
        values = {
            "name": self.name(), "trade": trade, "a_trade": with_article(trade),
            "place": place, "inplace": inplace, "animal": animal,
            "a_animal": with_article(animal), "petname": self.first_name(),
            "like": like, "hate": hate, "fear": self.word("fears"), "goal": self.fill("goals"),
            "item": item, "a_item": with_article(item), "origin": self.town(),
            "age": self.word("ages"), "friend": self.name(), "rival": self.name(),
            "food": self.word("foods"), "a_secret": with_article(secret), "secret": secret,
            "time": self.word("times"), "event": self.fill("events"),
            "years": self.word("numbers"), "task": self.word("tasks"),
        }  # fmt: skip
        style = "plain" if rng.random() < 0.5 else rng.choice(STYLES[1:])
        adjectives = rng.sample(words(f"moods_{mood}"), 2)
        pronoun = rng.choice(("she", "he", "they"))
        return World(values, style, mood, adjectives, pronoun, acts=rng.random() < 0.5)
