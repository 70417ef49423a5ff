"""Measurements against bars, as one Markdown table. Pure: nothing here runs an engine."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OURS = "ours"


@dataclass(frozen=True)
class Bar:
    """What our figure must be: by itself, or as a multiple of a peer's where `peer` is set."""

    value: float
    at_least: bool
    peer: str = ""

    def is_met(self, figure: float) -> bool:
        return figure >= self.value if self.at_least else figure <= self.value

    def __str__(self) -> str:
        unit = " ×" if self.peer else ""
        return f"{'at least' if self.at_least else 'at most'} {self.value:g}{unit}"


@dataclass(frozen=True)
class Outcome:
    """What one engine did in one row: a value a round, or why there are none."""

    values: tuple[float, ...] = ()
    absent: str = ""
    what: str = ""  # the engine's number format and settings

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Line:
    """One line of the table. `is_met` is None where no bar applies or it cannot be told."""

    row: str
    engine: str
    figure: str
    ratio: str = ""
    bar: str = ""
    is_met: bool | None = None

    def __str__(self) -> str:
        met = {None: "", True: "yes", False: "**no**"}[self.is_met]
        return f"| {self.row} | {self.engine} | {self.figure} | {self.ratio} | {self.bar} | {met} |"


def ratio(ours: Outcome, peer: Outcome) -> float:
    """Ours as a multiple of the peer's: the median over rounds, in which both took turns."""
    pairs = zip(ours.values, peer.values, strict=False)
    return statistics.median(a / b for a, b in pairs)


def lines(
    title: str, unit: str, bars: Sequence[Bar], outcomes: dict[str, Outcome], names: dict[str, str]
) -> list[Line]:
    """The lines of one row: ours first, then every peer beside its bar."""
    ours = outcomes.get(OURS, Outcome(absent="not run"))
    own = next((bar for bar in bars if not bar.peer), None)
    result = []
    for name, outcome in outcomes.items():
        engine = names[name] + (f" ({outcome.what})" if outcome.what else "")
        figure = shown(outcome, unit)
        if name == OURS:
            met = own.is_met(ours.median) if own and ours.values else None
            result.append(Line(title, engine, figure, "", str(own or ""), met))
            continue
        bar = next((bar for bar in bars if bar.peer == name), None)
        times = ratio(ours, outcome) if ours.values and outcome.values else None
        met = bar.is_met(times) if bar and times is not None else None
        told = "" if times is None or (own and not bar) else f"{times:.2f} ×"
        result.append(Line("", engine, figure, told, str(bar or ""), met))
    return result


def shown(outcome: Outcome, unit: str) -> str:
    if not outcome.values:
        return outcome.absent
    figure = outcome.median
    digits = 0 if abs(figure) >= 100 else 1 if abs(figure) >= 10 else 2
    if unit == "×":
        digits = 3
    spread = ""
    if len(outcome.values) > 1:
        low, high = min(outcome.values), max(outcome.values)
        spread = f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{figure:.{digits}f} {unit}{spread}"


def markdown(rows: Iterable[Sequence[Line]]) -> str:
    head = ["| | engine | median (range) | ours : it | bar | met |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(str(line) for row in rows for line in row)])


def verdict(rows: Iterable[Sequence[Line]]) -> str:
    """How many bars are met, and which could not be told."""
    barred = [line for row in rows for line in row if line.bar]
    met = sum(line.is_met is True for line in barred)
    missed = sum(line.is_met is False for line in barred)
    untold = len(barred) - met - missed
    return f"{met} bars met, {missed} not met, {untold} not measured"
