"""The rows: what is measured, of whom, and the bar that our figure is held against."""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.generation.engines import Absent, Engines
from benchmarks.generation.jobs import Author, Batch, Job
from benchmarks.generation.options import USERS
from benchmarks.generation.table import OURS, Bar, Outcome

GB = 1e9


@dataclass(frozen=True)
class Sizes:
    """Tokens, turns and repetitions; small ones for a smoke run."""

    prompt: int = 512
    reply: int = 64
    chat: int = 4000
    turns: int = 20
    crowd: tuple[int, int] = (128, 2048)  # context of each user
    steps: int = 24
    rounds: int = 3


QUICK = Sizes(prompt=64, reply=8, chat=400, turns=5, crowd=(32, 128), steps=6, rounds=1)


@dataclass(frozen=True)
class Floor:
    """Where the rows are measured."""

    engines: Engines
    author: Author
    sizes: Sizes


@dataclass(frozen=True)
class Row:
    """`measure` gives one round's figure of the named engine, in `unit`."""

    key: str
    title: str
    unit: str
    measure: Callable[[Floor, str], float]
    contenders: tuple[str, ...]
    bars: tuple[Bar, ...]
    once: bool = False  # repeating would give the same, or `measure` repeats by itself


def prompt_speed(floor: Floor, name: str) -> float:
    reply = floor.engines.ask(name, [floor.author.job(floor.sizes.prompt, 1)]).replies[0]
    return floor.sizes.prompt / reply.end


def one_user(floor: Floor, name: str) -> float:
    return floor.engines.ask(name, [floor.author.job(16, floor.sizes.reply)]).tokens_per_second


def all_users(floor: Floor, name: str) -> float:
    return floor.engines.ask(
        name, floor.author.jobs(USERS, 16, floor.sizes.reply)
    ).tokens_per_second


def late_turn(floor: Floor, name: str) -> float:
    """Seconds to the first token of a chat's last turn: after the turn before : never read."""
    sizes = floor.sizes
    before, last = floor.author.chat(sizes.turns, sizes.chat)
    said = floor.engines.ask(name, [Job(before, sizes.steps)]).replies[0].text
    warm = floor.engines.ask(name, [Job((*before, said, *last), 1)]).replies[0].end
    stranger, last = floor.author.chat(sizes.turns, sizes.chat)
    cold = floor.engines.ask(name, [Job((*stranger, said, *last), 1)]).replies[0].end
    return warm / cold


def step_growth(floor: Floor, name: str) -> float:
    """Seconds between two tokens with much context for each user : with little, in turns."""
    short, long = (crowd(floor, name, context) for context in floor.sizes.crowd)
    growths = [next(long).seconds_per_token / next(short).seconds_per_token for _ in range(3)]
    if math.isnan(growth := statistics.median(growths)):
        raise Absent("its users never spoke all at once")
    return growth


def crowd(floor: Floor, name: str, context: int) -> Iterator[Batch]:
    """All users speak at once, their prompts having been read before; again and again."""
    prompts = floor.author.jobs(USERS, context, 1)
    floor.engines.ask(name, prompts)
    jobs = [Job(prompt.pieces, floor.sizes.steps) for prompt in prompts]
    while True:
        yield floor.engines.ask(name, jobs)


def step_time(floor: Floor, name: str) -> float:
    """Milliseconds between two tokens of one user, from the first to the last."""
    reply = floor.engines.ask(name, [floor.author.job(16, floor.sizes.reply)]).replies[0]
    return (reply.end - reply.first) / max(1, reply.tokens - 1) * 1000


def resident(floor: Floor, name: str) -> float:
    floor.engines.restart(name)
    return next(crowd(floor, name, floor.sizes.crowd[1])).resident / GB


def peak_at_load(floor: Floor, name: str) -> float:
    return floor.engines.ready(name).peak / GB


LLAMA_SERVERS = ("llama-server-q8", "llama-server-q4", "llama-py-server-q8")
ROWS = (
    Row(
        "prompt", "reading a prompt of 512 tokens", "tokens/s", prompt_speed,
        (OURS, "llama-q4", "llama-q8", "plain", "serve-cb"),
        (Bar(1.5, True, "llama-q4"), Bar(10, True, "plain")),
    ),
    Row(
        "one", "one user", "tokens/s", one_user,
        (OURS, "llama-q8", "llama-q4", "plain", "serve", "serve-cb"),
        (Bar(1, True, "llama-q8"), Bar(3, True, "plain")),
    ),
    Row(
        "eight", "8 users together", "tokens/s", all_users,
        (OURS, *LLAMA_SERVERS, "serve-cb"),
        (Bar(2, True, "llama-server-q8"), Bar(2, True, "llama-py-server-q8")),
    ),
    Row(
        "turn", "first token in turn 20 of a 4,000-token chat : cold start", "×", late_turn,
        (OURS, "llama-q8", "llama-server-q8"), (Bar(0.05, False),), once=True,
    ),
    Row(
        "resident", "memory with 8 users of 2,048 tokens", "GB", resident,
        (OURS, "llama-server-q8", "serve-cb"), (Bar(6.5, False),), once=True,
    ),
    Row(
        "peak", "peak memory at load", "GB", peak_at_load,
        (OURS, "llama-q8", "plain", "serve"), (Bar(8, False),), once=True,
    ),
    Row(
        "step", "step with 8 users of 2,048 tokens each : of 128", "×", step_growth,
        (OURS, "llama-server-q8", "serve-cb"), (Bar(1.6, False),), once=True,
    ),
    Row(
        "overhead", "a step of one user", "ms", step_time,
        (OURS, "bare"), (Bar(1.15, False, "bare"),),
    ),
)  # fmt: skip


def measured(row: Row, floor: Floor, contenders: tuple[str, ...]) -> dict[str, Outcome]:
    """Every contender's outcome; they take turns, so that a noisy machine hits all alike."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    absent: dict[str, str] = {}
    what: dict[str, str] = {}
    for _ in range(1 if row.once else floor.sizes.rounds):
        for name in contenders:
            if name in absent:
                continue
            try:
                values[name].append(row.measure(floor, name))
                what[name] = floor.engines.ready(name).what
            except Absent as error:
                absent[name] = str(error)
    return {
        name: Outcome(tuple(values[name]), absent.get(name, ""), what.get(name, ""))
        for name in contenders
    }
