"""Scores at every scale -> sentences on fidelity, diversity and distance.

Two scores differ if their intervals do not overlap.
"""

from collections.abc import Sequence
from typing import NamedTuple

from adm.scoring import Score


class Series(NamedTuple):
    """One score at every scale.

    Attributes:
        name: title of the score.
        scales: of each score, as text, from the weakest to the strongest.
        scores: one for each scale.
    """

    name: str
    scales: Sequence[str]
    scores: Sequence[Score]

    @property
    def trend(self) -> str:
        """The change from the first scale to the last: `rises`, `falls` or `stays`."""
        first, last = self.scores[0], self.scores[-1]
        if last.low > first.high:
            return "rises"
        return "falls" if last.high < first.low else "stays"

    def at(self, place: int) -> str:
        """Return the text of a score and its scale."""
        return f"{self.scores[place].text()} at {self.scales[place]}"

    @property
    def lowest(self) -> int:
        """The index of the lowest score, the first one of equals."""
        return min(range(len(self.scores)), key=lambda i: self.scores[i].value)

    @property
    def highest(self) -> int:
        """The index of the highest score, the first one of equals."""
        return max(range(len(self.scores)), key=lambda i: self.scores[i].value)


class Line(NamedTuple):
    """The scores of points that differ in one setting, such as the scale.

    Attributes:
        name: what the points have in common; empty for a single line.
        distance, precision, recall: at each value of the setting.
    """

    name: str
    distance: Series
    precision: Series
    recall: Series

    @property
    def x(self) -> Sequence[str]:
        """Values of the setting as text, from the weakest to the strongest."""
        return self.distance.scales


def sentences(
    distance: Series, precision: Series, recall: Series, setting: str = "scale"
) -> list[str]:
    """Describe each score over a setting.

    Args:
        setting: the name of what varies.
    """
    return [f"{changes(precision)}.", f"{changes(recall)}.", f"{_valley(distance, setting)}."]


def lowest_of_all(scores: Sequence[Score]) -> int | None:
    """Return the index of the score whose interval is below all others, or None."""
    place = min(range(len(scores)), key=lambda i: scores[i].value)
    others = [score for i, score in enumerate(scores) if i != place]
    clear = all(scores[place].apart(other) for other in others)
    return place if others and clear else None


def changes(series: Series) -> str:
    """Describe how a score changes from the first scale to the last, with a peak or low between."""
    first, last = series.scores[0], series.scores[-1]
    name = series.name[:1].upper() + series.name[1:]
    ends = f"from {series.at(0)} to {series.at(len(series.scores) - 1)}"
    turns = ((series.highest, "after a peak of"), (series.lowest, "after a low of"))
    by_the_way = [
        f", {words} {series.at(place)}"
        for place, words in turns
        if series.scores[place].apart(first) and series.scores[place].apart(last)
    ]
    if series.trend == "stays":
        return f"{name} does not change beyond its intervals, {ends}{''.join(by_the_way)}"
    return f"{name} {series.trend} {ends}{''.join(by_the_way)}"


def _valley(distance: Series, setting: str) -> str:
    place, last = distance.lowest, len(distance.scales) - 1
    ends = [end for end in (0, last) if end != place]
    text = (
        f"The {distance.name} is lowest at {setting} {distance.scales[place]}, "
        f"{distance.scores[place].text()}, against {' and '.join(map(distance.at, ends))}"
    )
    level = [end for end in ends if not distance.scores[place].apart(distance.scores[end])]
    if not level:
        return text
    named = " and ".join(distance.scales[end] for end in level)
    return f"{text}; the difference from {setting} {named} is within the intervals"
