"""scores at every scale -> what the scale buys and what it costs, in sentences.

The paper's figure 4 says: as the scale grows, precision and Inception Score rise and recall falls,
and FID is best in between. Whether the numbers at hand say so too is decided by their intervals:
two scores differ where their intervals do not meet.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from adm.evaluation import Score


class Series(NamedTuple):
    """One score at every scale.

    Attributes:
        name: of the score.
        scales: from the smallest on, at least one.
        scores: one a scale.
    """

    name: str
    scales: Sequence[float]
    scores: Sequence[Score]

    @property
    def moves(self) -> str:
        """From the first scale to the last: `rises`, `falls` or `stays`."""
        first, last = self.scores[0], self.scores[-1]
        if last.low > first.high:
            return "rises"
        return "falls" if last.high < first.low else "stays"

    def up_to(self, place: int | None) -> "Series":
        """The same without the scales after one; all of them where it is None."""
        end = None if place is None else place + 1
        return Series(self.name, self.scales[:end], self.scores[:end])

    def at(self, place: int) -> str:
        return f"{written(self.scores[place])} at {self.scales[place]:g}"

    @property
    def lowest(self) -> int:
        """The place of the lowest score; the first of equals."""
        return min(range(len(self.scores)), key=lambda i: self.scores[i].value)

    @property
    def highest(self) -> int:
        return max(range(len(self.scores)), key=lambda i: self.scores[i].value)

    @property
    def between(self) -> bool:
        """Whether the lowest score is neither at the first scale nor at the last, beyond doubt."""
        low = self.scores[self.lowest].high
        return low < self.scores[0].low and low < self.scores[-1].low


class Line(NamedTuple):
    """One way to sample, at every value of what is swept along the line.

    Attributes:
        name: of the way; empty where there is one only.
        x: what is swept, in order.
        distance: the Fréchet distance at each.
        precision, recall: at each.
    """

    name: str
    x: Sequence[float]
    distance: Sequence[Score]
    precision: Sequence[Score]
    recall: Sequence[Score]

    def series(self, names: Sequence[str]) -> tuple[Series, Series, Series]:
        """As `sentences` takes them.

        Args:
            names: of the three scores.
        """
        parts = zip(names, (self.distance, self.precision, self.recall), strict=True)
        first, second, third = (Series(name, self.x, scores) for name, scores in parts)
        return first, second, third


def sentences(distance: Series, precision: Series, recall: Series) -> list[str]:
    """What these numbers say of the trade-off; the last sentence is the verdict."""
    if len(distance.scales) < 3:
        return ["A trade-off takes at least three scales to be seen."]
    said = [f"{_path(precision)}.", f"{_path(recall)}.", f"{_valley(distance)}."]
    return [*said, _verdict(distance, precision, recall)]


def _verdict(distance: Series, precision: Series, recall: Series) -> str:
    """Whether all three parts are there, up to the scale at which precision is highest."""
    top = precision.highest
    rises = precision.up_to(top).moves == "rises"
    amiss = []
    if not rises:
        amiss.append(f"{precision.name} {_denied(precision.moves)}")
    if recall.up_to(top if rises else None).moves != "falls":
        amiss.append(f"{recall.name} {_denied(recall.moves)}")
    if not distance.between:
        amiss.append(f"the {distance.name} is not clearly best in between")
    if amiss:
        return f"This is not the paper's trade-off: {'; '.join(amiss)}."
    if precision.scores[-1].high < precision.scores[top].low:
        end = f"up to scale {precision.scales[top]:g}; beyond, {precision.name} falls too"
        return f"This is the paper's trade-off {end}."
    return "This is the paper's trade-off."


def written(score: Score) -> str:
    """A score with its interval, in as many digits as that leaves sure."""
    value, interval = parts(score)
    return f"{value} ({interval})" if interval else value


def parts(score: Score) -> tuple[str, str]:
    """The number, and its interval; empty where none is known."""
    value, low, high = (f"{x:.{digits(score)}f}" for x in score)
    return value, f"{low} to {high}" if math.isfinite(score.low) else ""


def digits(score: Score) -> int:
    """Decimals that leave about two digits of the interval's width."""
    width = score.high - score.low
    return max(0, min(6, 1 - math.floor(math.log10(width)))) if width > 0 else 3


def _path(series: Series) -> str:
    """How a score goes from the first scale to the last, and a turn on the way if there is one."""
    first, last = series.scores[0], series.scores[-1]
    name = series.name[:1].upper() + series.name[1:]
    ends = f"from {series.at(0)} to {series.at(len(series.scores) - 1)}"
    turns = ((series.highest, "after a peak of"), (series.lowest, "after a low of"))
    by_the_way = [
        f", {words} {series.at(place)}"
        for place, words in turns
        if _apart(series.scores[place], first) and _apart(series.scores[place], last)
    ]
    if series.moves == "stays":
        return f"{name} does not move beyond its intervals, {ends}{''.join(by_the_way)}"
    return f"{name} {series.moves} {ends}{''.join(by_the_way)}"


def _valley(distance: Series) -> str:
    place, last = distance.lowest, len(distance.scales) - 1
    lead = f"The {distance.name} is lowest at scale {distance.scales[place]:g}"
    value = written(distance.scores[place])
    if place == 0:
        return f"{lead}, {value}, and {distance.at(last)}: guidance does not improve it"
    if place == last:
        return f"{lead}, {value}, against {distance.at(0)}: larger scales may be better still"
    unsure = "" if distance.between else ", which the intervals do not tell apart"
    return f"{lead}, {value}, against {distance.at(0)} and {distance.at(last)}{unsure}"


def _denied(moves: str) -> str:
    return "does not move beyond its intervals" if moves == "stays" else moves


def _apart(one: Score, other: Score) -> bool:
    return one.low > other.high or one.high < other.low
