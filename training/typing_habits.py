"""How people type: with or without capitals and marks, with fillers, at times wrongly."""

import random
from collections.abc import Mapping

from training.world import Inventor

BEFORE = (
    "so, ",
    "well, ",
    "ok, ",
    "hey, ",
    "um, ",
    "and ",
    "listen, ",
    "oh, ",
    "so ",
    "hm, ",
    "hey ",
)
BEFORE_LATE = ("but ", "sorry, ", "now ", "ok so ", "right, ", "please, ")  # in a finish, too
BEFORE_SENTENCES = (
    "I had a long day. ", "It is cold outside. ", "Good evening. ", "Hello! ", "*sits down* ",
    "*looks at you* ", "Hi there. ", "I see. ", "Thank you. ", "One more thing. ", "Okay. ",
    "Excuse me. ", "That is good to hear. ", "*nods* ", "Interesting. ", "Never mind that. ",
)  # fmt: skip


def typed(text: str, inventor: Inventor, known: Mapping[str, str], *, slips: bool = True) -> str:
    """`text` as somebody might type it; without `slips` every word stays as it is."""
    rng, is_late = inventor.rng, inventor.is_late
    roll = rng.random()
    if roll < (0.12 if is_late else 0.1) and text[0] != "*":
        text = rng.choice((*BEFORE, *BEFORE_LATE) if is_late else BEFORE) + text
    elif roll < 0.2:
        text = rng.choice(BEFORE_SENTENCES) + text[:1].upper() + text[1:]
    elif roll < 0.26 and "name" in known and known["name"] not in text:
        mark = text[-1] if text[-1] in "?!." else ""
        text = f"{text.rstrip('?!.')}, {known['name']}{mark}"
    if rng.random() < 0.55 and not text.startswith("*"):
        text = text[:1].upper() + text[1:]
    if text[-1].isalnum() and rng.random() < 0.5:
        text += rng.choice((".", ".", "!"))
    elif text[-1] in "?.!" and rng.random() < 0.22:
        text = text.rstrip("?.!")
    if not slips:
        return text
    if rng.random() < 0.03:
        text = _slip(text, rng)
    if rng.random() < 0.06 and text.isascii() and "{" not in text:
        text = text.replace("'", "")
    return text or "..."


def _slip(text: str, rng: random.Random) -> str:
    """Two neighbouring small letters swapped."""
    spots = [i for i in range(1, len(text) - 1) if text[i : i + 2].isalpha() and text[i].islower()]
    if not spots:
        return text
    at = rng.choice(spots)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
