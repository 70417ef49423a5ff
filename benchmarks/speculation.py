"""What guessing the next tokens from the text gains, and what it costs where it does not work.

    python -m benchmarks.speculation [--model models/hermes-mini] [--rounds 3]

The same requests with drafts and without, in turns, on one loaded model. A model of random
weights says nothing that could be guessed, so two texts are forced on it: one word over and
over, and a few words in random order, of which most guesses are wrong. Replies to what people
ask the starters show a real text, where the model can speak.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hermes_ui.generation.capacity import Capacity
from hermes_ui.generation.engine import Finish
from hermes_ui.generation.loading import ModelChoice, load
from hermes_ui.generation.local import TransformersEngine
from hermes_ui.generation.placement import place
from hermes_ui.messages import Message
from hermes_ui.params import SamplingParams
from hermes_ui.personas.library import PersonaLibrary
from hermes_ui.prompt.build import HistoryItem, Prompt, build
from hermes_ui.prompt.chatml import opening, turn

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / "models" / "hermes-mini"
CERTAIN = 100.0  # what is added to the logit of a forced word
TOKENS = 96  # of a reply


@dataclass(frozen=True, slots=True)
class Case:
    """Requests that one user makes one after the other."""

    name: str
    requests: Sequence[tuple[Prompt, SamplingParams]]


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one run: tokens a second, and steps of the model for each token."""

    tokens_s: float
    steps: float


def forced(name: str, ids: Sequence[int]) -> Case:
    params = SamplingParams(
        seed=1, temperature=2, top_p=1, min_p=0, repetition_penalty=1, max_tokens=TOKENS,
        logit_bias=dict.fromkeys(ids, CERTAIN),
    )  # fmt: skip
    return Case(name, [(Prompt(turn("user", "Say it again.") + opening("assistant")), params)])


def asked_of_starters() -> Case:
    """The questions of the starters' own tests, at the starters' own sampling."""
    library = PersonaLibrary(ROOT / "personas")
    requests = []
    for persona in (entry.persona for entry in library.entries()):
        for test in persona.tests[:3]:
            said = Message("user", test.say)
            prompt = build(
                persona, [HistoryItem(1, said)], user="Ada", budget=4000, seed=1,
                count=lambda pieces: sum(map(len, pieces)) // 3, now=datetime.now(UTC),
            )  # fmt: skip
            knobs = persona.sampling.model_copy(update={"seed": 1, "max_tokens": TOKENS})
            requests.append((prompt, knobs))
    return Case("questions to the starters", requests)


def timed(engine: TransformersEngine, steps: list[int], case: Case) -> tuple[Speed, list[str]]:
    """One run, and what was said. The prompts are read before the clock starts."""
    tokens, spent, said = 0, 0.0, []
    before = sum(steps)
    for prompt, params in case.requests:
        events = engine.stream(prompt, params)
        text = [next(events)]
        start = time.perf_counter()
        text += events
        spent += time.perf_counter() - start
        finish = text.pop()
        assert isinstance(finish, Finish)
        tokens += finish.completion_tokens
        said.append("".join(str(getattr(each, "text", "")) for each in text))
    return Speed(tokens / spent, (sum(steps) - before) / tokens), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    choice = ModelChoice(options.model, options.model.name, "asked for")
    drafting = load(choice, place(choice, "cpu", "auto", "auto"), context_length=4096)
    ids = sorted(set(drafting.token_ids((" the lamp and a boat of old wood",))[1:]))
    cases = [forced("one word, again and again", ids[:1]), forced("a few words at random", ids)]
    if options.model == EMBEDDED:
        cases.append(asked_of_starters())
    print(f"{'text':<28}{'tokens/s':>9}{'drafts':>9}{'ratio':>7}{'steps a token':>15}  same text")
    model, steps = drafting._batcher.model, [0]
    model.register_forward_hook(lambda *_: steps.append(1))
    capacity = Capacity(4096, 1, 1, cache_tokens=4096, step_tokens=128, draft_tokens=0)
    plain = TransformersEngine(model, drafting._tokenizer, drafting.identity, capacity)
    with closing(drafting), closing(plain):
        for case in cases:
            runs = [
                (timed(plain, steps, case), timed(drafting, steps, case))
                for _ in range(options.rounds + 1)
            ][1:]
            base = statistics.median(one.tokens_s for (one, _), _ in runs)
            fast = statistics.median(two.tokens_s for _, (two, _) in runs)
            same = all(left == right for (_, left), (_, right) in runs)
            print(
                f"{case.name:<28}{base:>9.1f}{fast:>9.1f}{fast / base:>7.2f}"
                f"{runs[0][1][0].steps:>15.2f}  {'yes' if same else 'NO'}"
            )


if __name__ == "__main__":
    main()
