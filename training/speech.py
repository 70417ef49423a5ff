"""How a persona says it: style words, contractions, *actions*, a question back."""

import random
import re
from collections.abc import Mapping

from training.grammar import load, pick
from training.world import World

TAIL_SHARE = 0.22
ACTION_SHARE = 0.55  # of the replies of a persona that acts
CONTRACTION_SHARE = 0.5  # of the plain replies
BOTH_MARKS_SHARE = 0.2  # of the styled replies
TERSE_WORDS = 10  # at most, actions not counted

_FULL_STOP = re.compile(r"\.(?=\s|$)")


def say(
    core: str, world: World, known: Mapping[str, str], rng: random.Random, *, tail: bool = True
) -> str:
    """`core`, spoken by the persona of `world`; `known` fills the words around it."""
    if world.style == "terse":
        return _with_action(first_sentence(core), world, known, rng, share=0.15)
    if tail and not core.endswith("?") and rng.random() < TAIL_SHARE:
        core = f"{core} {pick(load('style')['tail'], known, rng)}"
    if world.style in ("plain", "cheerful", "gloomy") and rng.random() < CONTRACTION_SHARE:
        core = contracted(core)
    core = styled(" ".join(core.split()), world.style, rng)
    return _with_action(core, world, known, rng, share=ACTION_SHARE)


def styled(text: str, style: str, rng: random.Random) -> str:
    """`text` with the marks of `style` on it; a plain text stays as it is."""
    if style == "plain":
        return text
    rules = load("style")[style]
    for plain, other in rules.get("swap", {}).items():
        text = text.replace(plain, other)
    if style == "cheerful":
        text = _FULL_STOP.sub(lambda dot: "!" if rng.random() < 0.75 else dot.group(), text)
    image = {key: rng.choice(options) for key, options in load("style")["poetic_words"].items()}
    before = rng.choice(rules["before"])
    after = rng.choice(rules["after"]).format(**image)
    if rng.random() < BOTH_MARKS_SHARE or not (before and after):
        return before + text + after
    return before + text if rng.random() < 0.5 else text + after


def has_style(text: str, style: str) -> bool:
    """Whether the words of `text` show `style`: one of its marks, or for terse few words."""
    rules, text = load("style"), text.lower()
    if style == "terse":
        return len(re.sub(r"\*[^*]*\*", "", text).split()) <= TERSE_WORDS
    if style == "cheerful":
        return "!" in text
    words = rules["poetic_words"]
    marks = words["verb"] + words["image"] if style == "poetic" else rules[style]["marks"]
    return any(re.search(rf"\b{re.escape(mark.lower())}\b", text) for mark in marks)


def contracted(text: str) -> str:
    """`text` with the short forms of everyday speech."""
    for long, short in load("style")["contractions"].items():
        text = text.replace(long, short)
    return text


def first_sentence(text: str) -> str:
    """`text` up to its first full stop or question mark, a leading action left out."""
    if text.startswith("*"):
        text = text.split("*", 2)[-1].strip()
    ends = [at for mark in (". ", "? ", "! ") if (at := text.find(mark)) > 0]
    return text[: min(ends) + 1] if ends else text


def action(world: World, known: Mapping[str, str], rng: random.Random) -> str:
    """Something the persona does, without the asterisks."""
    kinds = load("style")["actions"]
    if world.style == "gloomy" and rng.random() < 0.5:
        return str(rng.choice(kinds["gloomy"]))
    if rng.random() < 0.3 and (prop := pick(kinds["props"], known, rng)):
        return prop
    return str(rng.choice(kinds[world.mood]))


def _with_action(
    text: str, world: World, known: Mapping[str, str], rng: random.Random, *, share: float
) -> str:
    if not world.acts or "*" in text or rng.random() >= share:
        return text
    done = f"*{action(world, known, rng)}*"
    return f"{done} {text}" if rng.random() < 0.8 else f"{text} {done}"
