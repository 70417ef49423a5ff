"""The app's own personas as training contexts: their prompts as the app builds them.

What they answer comes from grammar/starters.yaml; a persona without an entry there is left
out, and without the folder there are none.
"""

import json
import random
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from hermes_ui.messages import Message, ToolCall, ToolResult
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.personas.persona import Persona
from hermes_ui.prompt.build import build, expand_greeting
from hermes_ui.prompt.chatml import IM_END, IM_START, Pieces
from hermes_ui.prompt.tools import rendered
from hermes_ui.toolbox import TOOLBOX
from training.dialogue import Talk, Turn
from training.grammar import load, pick
from training.questions import held_out, questions, wording
from training.speech import first_sentence
from training.typing_habits import typed
from training.world import FACTS, Inventor, World

FOLDER = Path(__file__).parent.parent / "personas"
OWN_SHARE = 0.68  # of the exchanges that only this persona has
IDENTITY_SHARE = 0.4  # of the others
DENIALS = ("No, ", "No. ", "I am not ")  # how it begins to say that it is no other model
DICE_SHARE = 0.25  # of the exchanges of a game master
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUDGET = 1_000_000


@cache
def starters() -> tuple[str, ...]:
    """The slugs of the personas that the grammar knows."""
    return tuple(slug for slug in load("starters") if (FOLDER / f"{slug}.yaml").exists())


@cache
def _persona(slug: str) -> Persona:
    return PersonaLibrary(FOLDER).get(slug)


@cache
def kept_wordings() -> frozenset[str]:
    """What no conversation may ask, as it is kept for the evaluation.

    The personas' own tests are everyday questions, which only they may not hear.
    """
    kept = {wording(each) for each in load("identity")["held_out"]}
    for slug in starters():
        tests = {wording(each.say) for each in _persona(slug).tests}
        kept |= {wording(each.say) for each in questions(slug)} - tests
    return frozenset(kept)


def starter_talk(inventor: Inventor, slug: str) -> Talk:
    """A talk with its system turn, its example dialogue and one of its greetings."""
    rng, rules = inventor.rng, load("starters")[slug]
    persona = _persona(slug)
    told = rng.random() < 0.6
    user = inventor.first_name() if told else rng.choice(("User", "You", "Traveller"))
    world = _world(inventor, rules["facts"])
    known = {key: value for key, value in world.values.items() if key in rules["facts"]}
    if told and "{{user}}" in f"{persona.scenario}{persona.system_prompt}{persona.description}":
        known["user"] = user
    number = rng.randrange(1 + len(persona.alternate_greetings))
    greeting, _ = expand_greeting(persona, number, user=user, seed=1, now=NOW)
    turns = [*_turns(_prompt(persona, user)), Turn("assistant", greeting)]
    return Talk(world, inventor, known, turns=turns)


def starter_document(inventor: Inventor, exchanges: tuple[int, int]) -> list[Turn] | None:
    """A conversation with one of the starters, or None where there are none."""
    if not starters():
        return None
    slug = inventor.rng.choice(starters())
    talk = starter_talk(inventor, slug)
    for _ in range(inventor.rng.randint(*exchanges) + 2):
        starter_step(talk, slug)
    return talk.turns


def starter_step(talk: Talk, slug: str) -> None:
    """One more exchange, in which nothing is asked that questions.yaml keeps for evaluation."""
    rules, before = load("starters")[slug], len(talk.turns)
    known, told = dict(talk.known), dict(talk.told)
    while True:
        if "dice" in rules and talk.rng.random() < DICE_SHARE:
            talk.turns += dice_turns(talk, rules)
        elif talk.rng.random() < OWN_SHARE:
            own_exchange(talk, rules, talk.rng.choice(rules["exchanges"]))
        else:
            _everyday(talk, rules)
        asked = [turn.text for turn in talk.turns[before:] if turn.role == "user"]
        if not any(held_out(slug, text) for text in asked):
            return
        del talk.turns[before:]
        talk.known, talk.told = dict(known), dict(told)


def _world(inventor: Inventor, facts: dict[str, str]) -> World:
    world = inventor.world()
    world.values.update(facts)
    world.style, world.acts, world.mood = "plain", False, "warm"
    world.stated = {fact for fact in FACTS if fact in facts}
    return world


@cache
def _prompt_pieces(slug_user: tuple[str, str]) -> Pieces:
    slug, user = slug_user
    persona = PersonaLibrary(FOLDER).get(slug)
    tools = [TOOLBOX.get(name) for name in persona.tools] if persona.tools else []
    return build(
        persona, (), user=user, budget=BUDGET, count=lambda pieces: sum(map(len, pieces)),
        seed=1, now=NOW, tools=tools,
    ).pieces  # fmt: skip


def _prompt(persona: Persona, user: str) -> Pieces:
    slug = next(slug for slug in starters() if _persona(slug) is persona)
    pieces = _prompt_pieces((slug, "\ue000"))
    return tuple(piece.replace("\ue000", user) for piece in pieces)


def _turns(pieces: Pieces) -> list[Turn]:
    """The closed turns of a prompt; the assistant's open one at its end is left out."""
    turns = []
    for before, text, after in zip(pieces, pieces[1:], pieces[2:], strict=False):
        if before == IM_START and after == IM_END:
            role, _, said = text.partition("\n")
            turns.append(Turn(role, said))
    return turns


def _everyday(talk: Talk, rules: dict[str, Any]) -> None:
    """Small talk and facts, in this persona's wrapping."""
    before = len(talk.turns)
    talk.step("identity" if talk.rng.random() < IDENTITY_SHARE else None)
    for turn, asked in zip(talk.turns[before + 1 :: 2], talk.turns[before::2], strict=True):
        if "demonstration model" in turn.text:
            if "identity" in rules:
                denial = "No. " if turn.text.startswith(DENIALS) else ""
                turn.text = denial + talk.rng.choice(rules["identity"])
            continue
        core = turn.text if talk.rng.random() < 0.4 else first_sentence(turn.text)
        core = core.replace('"', "")
        if rules.get("one_question"):
            core = _told_only(core)
        words = {**_scene(talk, rules), "core": core}
        said = pick(rules["wrap"], words, talk.rng)
        assert said, asked.text
        turn.text = said


def _told_only(core: str) -> str:
    """`core` without its questions, for a persona that asks one of its own."""
    told = [each for each in re.split(r"(?<=[.!?])\s+", core) if not each.endswith("?")]
    return " ".join(told).replace("?", ".") or "Noted."


def own_exchange(talk: Talk, rules: dict[str, Any], exchange: dict[str, Any]) -> None:
    """Something that only this persona is asked."""
    rng = talk.rng
    words = _scene(talk, rules)
    topic = {"topic": talk.inventor.word("topics")} if rng.random() < 0.7 else (
        {"topic": talk.inventor.invented().lower()}
    )  # fmt: skip
    words |= {
        **topic, "topicname": talk.inventor.first_name(),
        "a_topicthing": talk.inventor.article_thing(),
    }  # fmt: skip
    asked = pick(talk.inventor.wordings(exchange["user"], exchange.get("late", [])), words, rng)
    assert asked
    used = [key for key in ("topic", "topicname", "a_topicthing") if words[key] in asked]
    if used:
        words["about"] = words[used[-1]]
        if used[-1] == "topicname":
            talk.known["user"] = words["about"]
    reply = pick(exchange["reply"], words, rng)
    assert reply, asked
    talk.turns.append(Turn("user", typed(asked, talk.inventor, talk.known)))
    talk.turns.append(Turn("assistant", reply.strip(), learned=1.0))


def dice_turns(talk: Talk, rules: dict[str, Any]) -> list[Turn]:
    """Something risky: the call of roll_dice, its result, and what comes of it."""
    rng, words = talk.rng, _scene(talk, rules)
    words["a_topicthing"] = talk.inventor.article_thing()
    dice = rules["dice"]
    asked, said = pick(dice["user"], words, rng), rng.randint(1, 20)
    level = "bad" if said < 8 else "mixed" if said < 15 else "good"
    words["rolled"] = str(said)
    reply = pick(dice[level], words, rng)
    assert asked
    assert reply
    content = {"notation": "1d20", "rolls": [said], "total": said}
    call = ToolCall("call", "roll_dice", '{"notation": "1d20"}')
    result = ToolResult("call", "roll_dice", json.dumps(content))
    return [
        Turn("user", typed(asked, talk.inventor, talk.known)),
        Turn("assistant", rendered(Message("assistant", "", tool_calls=(call,))), learned=1.0),
        Turn("tool", rendered(Message("tool", "", tool_results=(result,)))),
        Turn("assistant", reply, learned=1.0),
    ]


def _scene(talk: Talk, rules: dict[str, Any]) -> dict[str, str]:
    """Fresh words, with the persona's own tails, actions and whatever else it lists."""
    rng, inventor = talk.rng, talk.inventor
    words = talk.words() | {
        "tail": rng.choice(rules["tails"]), "tail2": rng.choice(rules["tails"]),
        "action": rng.choice(rules["actions"]), "n2": inventor.word("spanish_numbers"),
        "foreignish": inventor.word("spanish_words"),
    }  # fmt: skip
    for key in ("fen", "scene", "measure", "bo"):
        if key in rules:
            words[key] = rng.choice(rules[key])
    if "licks" not in words:
        words |= _story(inventor)
    return words


def _story(inventor: Inventor) -> dict[str, str]:
    """Lines of an unfinished story about the same person and thing."""
    rng = inventor.rng
    words = {
        "who": inventor.trade(), "other": inventor.first_name(), "town": inventor.town(),
        "thing": inventor.word("things"), "material": inventor.word("materials"),
        "adjective": inventor.word("adjectives"), "plurals": inventor.word("plurals"), "my": "a",
    }  # fmt: skip
    steps = rng.sample(_lines("story_steps"), 3)
    line = rng.choice(load("words")["story_lines"].split('", "')).strip('" \n')
    filled = [
        pick([text.strip()], words, random.Random(rng.random()))
        for text in (*steps, line, rng.choice(_lines("story_turns")),
                     rng.choice(_lines("story_others")))
    ]  # fmt: skip
    story, story2, story3, line, turn1, turn2 = map(str, filled)
    return {
        "story": story, "story2": story2, "story3": story3, "line": line, "turn1": turn1,
        "turn2": turn2.removeprefix("or "), "licks": rng.choice(("licks the pencil",
                                                                 "moves the cat", "nods")),
    }  # fmt: skip


def _lines(name: str) -> list[str]:
    return [line.strip() for line in load("words")[name].split("|")]
