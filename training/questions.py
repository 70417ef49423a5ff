"""Twenty held-out questions to each starter, and the judge of their answers.

The questions are in grammar/questions.yaml, in the form of the `tests` of a persona file.
"""

import re
from collections.abc import Iterable
from functools import cache

from pydantic import Field

from hermes_ui.personas.persona import PersonaTest
from training.grammar import load


class Question(PersonaTest):
    """A test of a persona, with what only the training knows about it."""

    exchange: str = Field(description="The key in starters.yaml of what answers it.")
    calls: str = Field("", description="A tool that must be called before the answer.")
    about: str = Field("", description="A word of the user's that the answer should take up.")
    asks: int | None = Field(None, ge=0, description="The exact number of question marks.")


@cache
def questions(slug: str) -> tuple[Question, ...]:
    """The questions to one starter, in the order of the file; none for an unknown one."""
    return tuple(Question.model_validate(each) for each in load("questions").get(slug, ()))


def passes(answer: str, question: Question) -> bool:
    """Whether `answer` obeys the rule of `question`.

    Where a tool must be called, `answer` is the text of the call and of what was said after
    its result, together.
    """
    if question.calls and not re.search(
        rf'<tool_call>[^<]*"name":\s*"{re.escape(question.calls)}"', answer
    ):
        return False
    said = re.sub(r"<tool_call>.*?</tool_call>", "", answer, flags=re.DOTALL).strip()
    folded = said.casefold()
    holds = [
        [text.casefold() in folded for text in texts]
        for texts in (question.expect_any, question.expect_all, question.expect_none)
    ]
    return (
        bool(said)
        and (not holds[0] or any(holds[0]))
        and all(holds[1])
        and not any(holds[2])
        and question.asks in (None, said.count("?"))
    )


def wording(text: str) -> str:
    """`text` in small letters without its marks, for comparing what was asked."""
    return " ".join(re.findall(r"\w+", text.replace("'", "").casefold()))


@cache
def _endings(slug: str) -> tuple[str, ...]:
    """How a line ends that asks one of the questions to `slug`, its name behind them or not."""
    name = wording(load("starters")[slug]["facts"]["name"])
    said = [wording(question.say) for question in questions(slug)]
    return (*said, *(f"{each} {name}" for each in said))


def held_out(slug: str, asked: str) -> bool:
    """Whether `asked` is one of the questions to `slug`, but for words typed around it."""
    return asks_any(_endings(slug), asked)


def asks_any(endings: Iterable[str], asked: str) -> bool:
    """Whether `asked` ends in one of `endings`, which are in the form of `wording`."""
    return f" {wording(asked)}".endswith(tuple(f" {each}" for each in endings))
