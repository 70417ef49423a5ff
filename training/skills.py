"""What Hermes Mini must be able to do: tries of each skill on data that training never saw.

A try is a held-out conversation, the lines that a user says in it, and a judge of the answers.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hermes_ui.generation.calls import CLOSE_CALL, OPEN_CALL, parse_calls
from training.corpus import greeting, helpful_assistant, start_talk
from training.dialogue import Talk, Turn
from training.forms import ask_for, draw_form, fill
from training.functions import Function, call, draw_functions, offer, refuse
from training.grammar import load, pick
from training.questions import Question, passes, questions
from training.speech import has_style
from training.starters import starter_talk, starters
from training.typing_habits import typed
from training.world import STYLES, Inventor

SMALL_TALK = (
    "Hello there!", "how are you?", "I went to the market and bought a hat", "thank you so much",
    "what do you see?", "what should we do now?", "*sits down next to you*",
    "do you like thunder?", "what do you think about submarines?", "I am so tired",
    "why?", "you are very funny", "that was a stupid answer", "yes", "ok", "haha", "hm",
    "Can you explain how a bicycle works?", "I am looking for my brother", "tell me a story",
)  # fmt: skip
CALM = tuple(line for line in SMALL_TALK if "story" not in line)

Judge = Callable[[list[str]], float]  # the answers to all lines; 1.0 is right


@dataclass(slots=True)
class Try:
    """One conversation to have. `turns` grows as it is had."""

    turns: list[Turn]
    lines: list[str]
    judge: Judge
    user: str = ""  # whom the model must not speak for
    runs_tools: bool = False  # a call is answered, and the reply after it counts too
    answers: list[str] = field(default_factory=list)


class Examiner:
    """Draws tries of the held-out split. The same `inventor` state gives the same tries."""

    def __init__(self, inventor: Inventor) -> None:
        self.inventor = inventor
        self.rng = inventor.rng

    def facts(self, fact: str, count: int) -> Iterator[Try]:
        """Asks for what the system prompt states; `fact` is name, trade or place."""
        for number in range(count):
            talk = self.persona(("short", "middle", "long")[number % 3], fact)
            if fact == "name":
                asked = pick(load("talk")["name"]["user"], talk.words(), self.rng)
            else:
                asked, _ = talk.about_fact(fact)
            before = self.rng.sample(CALM, self.rng.randint(0, 2))
            value = talk.world.values[fact].lower()
            yield self._try(
                talk,
                [*before, typed(str(asked), self.inventor, {}, slips=False)],
                lambda said, value=value: value in said[-1].lower(),
            )

    def styles(self, style: str, count: int) -> Iterator[Try]:
        for _ in range(count):
            while (talk := self.persona("short")).world.style != style:
                pass
            yield self._try(
                talk,
                self.rng.sample(CALM, 5),
                lambda said: sum(has_style(each, style) for each in said) / len(said),
            )

    def recalls(self, kind: str, turns_ago: int, count: int) -> Iterator[Try]:
        """Tells a name or a favourite thing, and asks for it `turns_ago` turns later."""
        rules = load("people")[kind]
        for _ in range(count):
            talk = self.persona("middle")
            told = talk.new_told(kind)
            words = {**talk.words(), **told}
            tell, ask = (str(pick(rules[key], words, self.rng)) for key in ("tell", "ask"))
            between = self.rng.sample(CALM, turns_ago - 1)
            value = told["told"].lower()
            yield self._try(
                talk, [tell, *between, ask], lambda said, value=value: value in said[-1].lower()
            )

    def identity(self, count: int) -> Iterator[Try]:
        """Every unseen wording, to `count` invented personas and to the app's own."""
        for question in load("identity")["held_out"]:
            talks = [self.persona("middle") for _ in range(count)]
            talks += [starter_talk(self.inventor, slug) for slug in starters()]
            for talk in talks:
                yield self._try(talk, [question], lambda said: "demonstration model" in said[-1])

    def calls(self, count: int) -> Iterator[Try]:
        """A function fits: its name and arguments have to be right."""
        for _ in range(count):
            talk, functions = self._offered()
            before = len(talk.turns)
            request = call(talk, function := self.rng.choice(functions))
            asked = talk.turns[before].text
            del talk.turns[before:]
            wanted = [(function.tool.name, dict(request.arguments))]
            yield self._try(
                talk, [asked], lambda said, wanted=wanted: parsed_calls(said[-1]) == wanted
            )

    def no_calls(self, count: int) -> Iterator[Try]:
        """Nothing on offer fits what is said."""
        for number in range(count):
            talk, functions = self._offered()
            before = len(talk.turns)
            if number % 2:
                refuse(talk, functions)
            else:
                talk.step()
            asked = talk.turns[before].text
            del talk.turns[before:]
            yield self._try(talk, [asked], lambda said: OPEN_CALL not in said[-1])

    def results(self, count: int) -> Iterator[Try]:
        """A call was made and answered: the reply has to say what came of it."""
        for _ in range(count):
            talk, functions = self._offered()
            told = call(talk, self.rng.choice(functions)).told
            del talk.turns[-1]
            yield self._try(
                talk, [], lambda said, told=told: any(each.lower() in said[-1].lower()
                                                      for each in told),
            )  # fmt: skip

    def forms(self, count: int, judge: Callable[[str, dict[str, Any]], float]) -> Iterator[Try]:
        for number in range(count):
            alone = number % 2 == 0
            talk = (
                helpful_assistant(self.inventor) if alone else self.persona("short", greets=False)
            )
            form = draw_form(self.inventor)
            ask_for(talk, form, alone=alone)
            values = fill(talk, form)
            asked = talk.turns[-2].text
            del talk.turns[-2:]
            yield self._try(talk, [asked], lambda said, values=values: judge(said[-1], values))

    def starters(self, slug: str) -> Iterator[Try]:
        """The twenty questions to one of the app's personas, each in a new conversation."""
        for question in questions(slug):
            talk = starter_talk(self.inventor, slug)
            asked = self._try(talk, [question.say], judge_of(question))
            asked.runs_tools = True
            yield asked

    def chats(self, count: int) -> Iterator[Try]:
        """Ten lines of small talk, for what holds of every reply."""
        for _ in range(count):
            talk = self.persona(self.rng.choice(("short", "middle", "long")))
            yield self._try(talk, self.rng.sample(SMALL_TALK, 10), lambda _: 1.0)

    def persona(self, length: str, wanted: str = "name", *, greets: bool = True) -> Talk:
        """A held-out persona, with its greeting; one that states `wanted`."""
        while True:
            talk = start_talk(self.inventor, length)
            if talk.known["name"] == "Hermes Mini":
                continue
            if wanted == "name" or wanted in talk.world.stated:
                if greets:
                    talk.turns.append(Turn("assistant", greeting(talk)))
                return talk

    def _offered(self) -> tuple[Talk, Sequence[Function]]:
        """A persona, or nobody, with one to three functions on offer."""
        functions = draw_functions(self.inventor, self.rng.choice((1, 2, 3)))
        alone = self.rng.random() < 0.3
        talk = helpful_assistant(self.inventor) if alone else self.persona("short")
        offer(talk, functions, alone=alone)
        return talk, functions

    def _try(self, talk: Talk, lines: list[str], judge: Judge) -> Try:
        return Try(list(talk.turns), lines, judge, talk.known.get("user", ""))


def judge_of(question: Question) -> Judge:
    """Judges all that was said in answer, a call of a tool and the words after it included."""
    return lambda said: float(passes("\n".join(said), question))


def parsed_calls(text: str) -> list[tuple[str, Any]] | None:
    """Names and arguments of a reply that is nothing but calls."""
    text = text.strip()
    if not (text.startswith(OPEN_CALL) and text.endswith(CLOSE_CALL)):
        return None
    blocks = text.removeprefix(OPEN_CALL).removesuffix(CLOSE_CALL)
    calls = parse_calls(blocks.replace(f"{CLOSE_CALL}\n{OPEN_CALL}", ","))
    return calls and [(name, json.loads(arguments)) for name, arguments in calls]


def is_form(text: str, values: dict[str, Any]) -> float:
    """Whether `text` is one JSON object with the fields of `values`, each of its type."""
    try:
        filled = json.loads(text, object_pairs_hook=_each_once)
    except ValueError:
        return 0.0
    return float(
        isinstance(filled, dict)
        and filled.keys() == values.keys()
        and all(type(filled[key]) is type(value) for key, value in values.items())
    )


def is_filled(text: str, values: dict[str, Any]) -> float:
    """Whether `text` has every value of the form right."""
    try:
        return float(json.loads(text, object_pairs_hook=_each_once) == values)
    except ValueError:
        return 0.0


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; one that has a key twice is none."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


ALL_STYLES = STYLES[1:]
