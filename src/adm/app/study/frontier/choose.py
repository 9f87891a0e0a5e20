"""Measured points -> those on or near a frontier, the best within a time, recommendations.

A point is on the frontier of time and a cost, such as an error, if no other is as fast and has a
lower one.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

from adm.app.study.frontier.stored import Frontier, Measured, options
from adm.shown import exactly
from adm.spec import SettingError

T = TypeVar("T")
time_of = attrgetter("seconds")  # of a measured point
DIGITS = 2  # significant, of the budgets that are recommended
EQUAL = 1.05  # times that differ by less are equal, as far as repeated measurements tell


class Budget(NamedTuple):
    """The best point within a time, and the time from which another one is better."""

    seconds: float
    point: Measured


class Recommended(NamedTuple):
    """The recommended points of a scale.

    Attributes:
        fast: the fastest whose distance is within the interval of the lowest one, by all features.
        best: of these, the one of the lowest distance by the first features; of all points if there
            are none.
        budgets: the best point from each time on, in order of time.
    """

    scale: float
    fast: Measured
    best: Measured
    budgets: list[Budget]


def on_frontier(
    points: Sequence[T], seconds: Callable[[T], float], cost: Callable[[T], float]
) -> list[T]:
    """Return the points that no other one beats in both time and cost, the fastest first."""
    found: list[T] = []
    lowest = math.inf
    for each in sorted(points, key=lambda one: (seconds(one), cost(one))):
        if cost(each) < lowest:
            found.append(each)
            lowest = cost(each)
    return found


def factor(point: Measured, points: Sequence[Measured]) -> float:
    """Return the error of a point, divided by the lowest of all that are as fast, or nearly so."""
    if point.error is None:
        return math.inf
    within = EQUAL * point.seconds
    errors = [one.error for one in points if one.seconds <= within and one.error is not None]
    lowest = min(errors)
    return point.error / lowest if lowest else float(point.error > 0) or 1.0


def select_promising(points: Sequence[Measured], keep: int) -> list[Measured]:
    """Return the points of one scale whose quality is measured on all images.

    Those are all points on the frontier of time and error, but for those that others of equal time
    beat; then those that are nearest to it by `factor`, up to `keep`.

    Args:
        points: after the first pass.
        keep: the number of points, unless the frontier alone has more.
    """
    compared = [one for one in points if one.error is not None]
    ahead = [one for one in compared if not _beaten(one, compared)]
    others = [one for one in compared if one not in ahead]
    others.sort(key=lambda one: (factor(one, compared), one.seconds))
    chosen = [*ahead, *others[: max(0, keep - len(ahead))]]
    return [one for one in points if one in chosen]


def _beaten(point: Measured, points: Sequence[Measured]) -> bool:
    """Whether another point has a lower error in the same time, or the same error sooner."""
    sooner = (one for one in points if one.seconds < point.seconds)
    return factor(point, points) > 1 or any(one.error == point.error for one in sooner)


def distance(frontier: Frontier) -> Callable[[Measured], float]:
    """Return the function point -> distance by the first features, which decides what is best."""
    first = frontier.features[0]
    return lambda point: point.distances[first].value


def recommend(frontier: Frontier, scale: float) -> Recommended | None:
    """Return the recommended points of a scale; None if none was scored."""
    points = frontier.scored(scale)
    if not points:
        return None
    cost, equal = rank(frontier, scale), _equal(frontier, points)
    best = min(points, key=cost)
    fast = min(equal, key=lambda one: (one.seconds, cost(one)), default=best)
    budgets = [Budget(round_up(one.seconds), one) for one in on_frontier(points, time_of, cost)]
    return Recommended(scale, fast, best, budgets)


def rank(frontier: Frontier, scale: float) -> Callable[[Measured], float]:
    """Return the function point -> distance by the first features, -infinity for the best one."""
    points, cost = frontier.scored(scale), distance(frontier)
    best = min(_equal(frontier, points) or points, key=cost)
    return lambda point: -math.inf if point == best else cost(point)


def _equal(frontier: Frontier, points: Sequence[Measured]) -> list[Measured]:
    """Return the points whose distance is within the interval of the lowest by all features."""
    highest = {
        name: min((one.distances[name] for one in points), key=lambda of: of.value).highest
        for name in frontier.features
    }
    return [
        one
        for one in points
        if all(one.distances[name].value <= most for name, most in highest.items())
    ]


def round_up(seconds: float) -> float:
    """Return a time that is not shorter, with two significant digits."""
    unit = 10.0 ** (math.floor(math.log10(seconds)) + 1 - DIGITS)
    return float(f"{math.ceil(seconds / unit) * unit:.{DIGITS}g}")


def within(frontier: Frontier, scale: float, seconds: float, slower: float = 1.0) -> Measured:
    """Return the best point, by `rank`, that takes at most so many seconds an image.

    Args:
        slower: seconds here for one second on the machine of the frontier.

    Raises:
        SettingError: no point of this scale is as fast; names the fastest one.
    """
    points = frontier.scored(scale)
    fitting = [one for one in points if one.seconds * slower <= seconds]
    if not fitting:
        fastest = min(points, key=time_of)
        least = round_up(fastest.seconds * slower)
        raise SettingError(
            "budget",
            f"at least {least:g}s at scale {exactly(scale)}",
            spoken(seconds),
            f"the fastest settings are {options(fastest.settings)}",
        )
    return min(fitting, key=rank(frontier, scale))


def check_scale(frontier: Frontier, scale: float) -> None:
    """Raise SettingError unless points of this scale were scored."""
    known = [each for each in frontier.scales if frontier.scored(each)]
    if scale not in known:
        listed = ", ".join(map(exactly, known))
        raise SettingError("scale", f"one that was measured, {listed}", scale)


def spoken(seconds: float) -> str:
    """Return a time in words: 1.52 s, 49 ms or 0.31 ms."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1000:.3g} ms"
