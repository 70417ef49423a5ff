"""Values of function arguments and form fields: names, numbers, times, short sentences."""

from collections.abc import Callable
from typing import Any

from training.grammar import load
from training.world import Inventor

CITIES = {
    "Berlin": "Europe/Berlin", "Paris": "Europe/Paris", "London": "Europe/London",
    "Madrid": "Europe/Madrid", "Rome": "Europe/Rome", "Vienna": "Europe/Vienna",
    "Athens": "Europe/Athens", "Oslo": "Europe/Oslo", "Tokyo": "Asia/Tokyo",
    "Seoul": "Asia/Seoul", "Shanghai": "Asia/Shanghai", "Dubai": "Asia/Dubai",
    "Cairo": "Africa/Cairo", "Nairobi": "Africa/Nairobi", "Sydney": "Australia/Sydney",
    "New York": "America/New_York", "Chicago": "America/Chicago", "Toronto": "America/Toronto",
}  # fmt: skip

_LISTS = {
    "adjective": "adjectives", "colour": "colours", "food": "foods", "animal": "animals",
    "hobby": "hobbies", "plural": "plurals", "material": "materials",
}  # fmt: skip
_FUNCTION_LISTS = {
    "language": "languages", "day": "days", "device": "devices", "status": "statuses",
    "side": "sides", "weather": "weathers", "rank": "ranks", "suit": "suits",
    "title_head": "title_heads",
}  # fmt: skip


def drawn(kind: str, inventor: Inventor) -> Any:
    """A value of `kind`, of the inventor's split where it is a name or a place."""
    if kind in _LISTS:
        return inventor.word(_LISTS[kind])
    if kind in _FUNCTION_LISTS:
        words = load("functions")["words"][_FUNCTION_LISTS[kind]]
        return inventor.rng.choice(words.split(", "))
    return _COMPOSED[kind](inventor)


def _number(low: int, high: int) -> Callable[[Inventor], int]:
    return lambda inventor: inventor.rng.randint(low, high)


def _invented(inventor: Inventor) -> str:
    return inventor.of_split(inventor.invented)


def _thing(inventor: Inventor) -> str:
    return inventor.thing() if inventor.rng.random() < 0.5 else inventor.word("things")


def _topic(inventor: Inventor) -> str:
    return inventor.word("topics") if inventor.rng.random() < 0.5 else inventor.invented().lower()


def _clock(inventor: Inventor) -> str:
    return f"{inventor.rng.randint(0, 23)}:{inventor.rng.randint(0, 59):02}"


def _phone(inventor: Inventor) -> str:
    return f"{inventor.rng.randint(100, 999)} {inventor.rng.randint(1000, 9999)}"


def _title(inventor: Inventor) -> str:
    named = inventor.word(inventor.rng.choice(("things", "plurals")))
    return f"{drawn('title_head', inventor)} {named.title()}"


def _sentence(inventor: Inventor) -> str:
    """A few words that can stand behind "that"."""
    return str(inventor.rng.choice((
        f"the {inventor.word('things')} is {inventor.word('adjectives')}",
        f"{inventor.first_name()} has the {inventor.word('things')}",
        f"we need {inventor.word('plurals')}",
        f"{inventor.first_name()} is in {inventor.town()}",
        f"there is {inventor.word('foods')} for dinner",
        f"I am {inventor.word('feelings')}",
        f"the {inventor.trade()} comes on {drawn('day', inventor)}",
        f"the {inventor.thing()} belongs to {inventor.first_name()}",
    )))  # fmt: skip


_COMPOSED: dict[str, Callable[[Inventor], Any]] = {
    "town": Inventor.town,
    "name": Inventor.name,
    "first_name": Inventor.first_name,
    "trade": Inventor.trade,
    "thing": _thing,
    "topic": _topic,
    "invented": lambda inventor: _invented(inventor).lower(),
    "boolean": lambda inventor: inventor.rng.random() < 0.5,
    "number": _number(2, 99),
    "few": _number(2, 9),
    "age": _number(16, 99),
    "amount": _number(5, 999),
    "clock": _clock,
    "percent": lambda inventor: f"{inventor.rng.randint(2, 99)} percent",
    "phone": _phone,
    "email": lambda inventor: f"{inventor.first_name()}@{_invented(inventor)}.org".lower(),
    "street": lambda inventor: f"{_invented(inventor)} Street {inventor.rng.randint(1, 99)}",
    "card": lambda inventor: f"the {drawn('rank', inventor)} of {drawn('suit', inventor)}",
    "title": _title,
    "sentence": _sentence,
}
