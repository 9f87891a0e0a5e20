"""Scores at every scale -> sentences on the trade-off between fidelity and diversity.

In the paper's figure 4, precision and Inception Score rise with the scale, recall falls, and FID is
best in between. Whether these scores agree is decided by their intervals: two scores differ if
their intervals do not overlap.
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

    def up_to(self, place: int | None) -> "Series":
        """Return the series up to and including index `place`; all of it for None."""
        end = None if place is None else place + 1
        return Series(self.name, self.scales[:end], self.scores[:end])

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

    @property
    def dips(self) -> bool:
        """Whether the lowest score is below the first and the last, by the intervals."""
        low = self.scores[self.lowest]
        return all(low.apart(self.scores[end]) for end in (0, -1))


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
    """Describe each score over a setting; the last sentence says whether they show a trade-off.

    Args:
        setting: the name of what varies.
    """
    if len(distance.scales) < 3:
        return [f"At least three values of {setting} are needed to assess a trade-off."]
    described = [f"{changes(precision)}.", f"{changes(recall)}.", f"{_valley(distance, setting)}."]
    return [*described, _verdict(distance, precision, recall, setting)]


def _verdict(distance: Series, precision: Series, recall: Series, setting: str) -> str:
    """Judge all three conditions, up to the scale at which precision is highest."""
    top = precision.highest
    rises = precision.up_to(top).trend == "rises"
    if precision.trend == recall.trend == "stays" and not distance.dips and not rises:
        return "None of these changes is beyond the intervals: assess a trade-off with more images."
    amiss = []
    if not rises:
        amiss.append(f"{precision.name} {_denied(precision.trend)}")
    if recall.up_to(top if rises else None).trend != "falls":
        amiss.append(f"{recall.name} {_denied(recall.trend)}")
    if not distance.dips:
        amiss.append(f"the {distance.name} is not clearly best in between")
    if amiss:
        return f"This is not the paper's trade-off: {'; '.join(amiss)}."
    if precision.scores[-1].high < precision.scores[top].low:
        end = f"{setting} {precision.scales[top]}"
        return f"This is the paper's trade-off up to {end}; beyond it, {precision.name} falls too."
    return "This is the paper's trade-off."


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


def _denied(trend: str) -> str:
    return "does not change beyond its intervals" if trend == "stays" else trend
