"""Values of function arguments and form fields: names, numbers, times, short sentences."""

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

_FROM_WORDS = {
    "adjective": "adjectives", "colour": "colours", "food": "foods", "animal": "animals",
    "hobby": "hobbies", "plural": "plurals", "material": "materials",
}  # fmt: skip
_FROM_FUNCTIONS = {
    "language": "languages", "day": "days", "device": "devices", "status": "statuses",
    "side": "sides", "weather": "weathers",
}  # fmt: skip


def drawn(kind: str, inventor: Inventor) -> Any:
    """A value of `kind`, of the inventor's split where it is a name or a place."""
    rng = inventor.rng
    match kind:
        case "town":
            return inventor.town()
        case "name":
            return inventor.name()
        case "first_name":
            return inventor.first_name()
        case "trade":
            return inventor.trade()
        case "thing":
            return inventor.thing() if rng.random() < 0.5 else inventor.word("things")
        case "topic":
            return inventor.word("topics") if rng.random() < 0.5 else inventor.invented().lower()
        case "invented":
            return inventor.of_split(inventor.invented).lower()
        case "boolean":
            return rng.random() < 0.5
        case _ if kind in _FROM_WORDS:
            return inventor.word(_FROM_WORDS[kind])
        case _ if kind in _FROM_FUNCTIONS:
            return rng.choice(load("functions")["words"][_FROM_FUNCTIONS[kind]].split(", "))
        case _:
            return _number(kind, inventor)


def _number(kind: str, inventor: Inventor) -> Any:
    rng = inventor.rng
    match kind:
        case "number":
            return rng.randint(2, 99)
        case "few":
            return rng.randint(2, 9)
        case "age":
            return rng.randint(16, 99)
        case "amount":
            return rng.randint(5, 999)
        case "clock":
            return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02}"
        case "percent":
            return f"{rng.randint(2, 99)} percent"
        case "phone":
            return f"{rng.randint(100, 999)} {rng.randint(1000, 9999)}"
        case _:
            return _composed(kind, inventor)


def _composed(kind: str, inventor: Inventor) -> str:
    rng = inventor.rng
    match kind:
        case "email":
            return f"{inventor.first_name()}@{inventor.of_split(inventor.invented)}.org".lower()
        case "street":
            return f"{inventor.of_split(inventor.invented)} Street {rng.randint(1, 99)}"
        case "card":
            words = load("functions")["words"]
            rank = rng.choice(words["ranks"].split(", "))
            return f"the {rank} of {rng.choice(words['suits'].split(', '))}"
        case "title":
            head = rng.choice(load("functions")["words"]["title_heads"].split(", "))
            return f"{head} {inventor.word(rng.choice(('things', 'plurals'))).title()}"
        case "sentence":
            return _sentence(inventor)
    raise KeyError(kind)


def _sentence(inventor: Inventor) -> str:
    """A few words that can stand behind "that"."""
    rng = inventor.rng
    return str(rng.choice((
        f"the {inventor.word('things')} is {inventor.word('adjectives')}",
        f"{inventor.first_name()} has the {inventor.word('things')}",
        f"we need {inventor.word('plurals')}",
        f"{inventor.first_name()} is in {inventor.town()}",
        f"there is {inventor.word('foods')} for dinner",
        f"I am {inventor.word('feelings')}",
        f"the {inventor.trade()} comes on {drawn('day', inventor)}",
        f"the {inventor.thing()} belongs to {inventor.first_name()}",
    )))  # fmt: skip
