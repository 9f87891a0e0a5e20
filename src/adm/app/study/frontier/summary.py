"""Frontier -> tables of the points and of the recommended settings, commands, Markdown."""

import math
from collections.abc import Sequence

from adm.app.scoring import Score, title
from adm.app.study.curve import parts
from adm.app.study.frontier.choose import Budget, factor, recommended, scored, spoken
from adm.app.study.frontier.stored import Distance, Frontier, Measured
from adm.app.study.summary import MARKED, Cell, Table, marks, plain
from adm.shown import exactly

DISTANCE = "frechet"
SETTINGS = ["sampler", "spacing", "steps", "precision", "network calls", "classifier calls"]
FAST = "fast"
BEST = "best"
WITHIN = (
    "Fast: the fastest settings whose distance lies within the 95% interval of the lowest one, by "
    "all features. Best: of these, those of the lowest distance by {first}. The other rows are for "
    "a time for an image: the lowest distance by {first}, and the best settings where they fit."
)


def as_score(distance: Distance) -> Score:
    """Return a stored distance as a score."""
    low, high = (math.nan if x is None else x for x in (distance.low, distance.high))
    return Score(distance.value, low, high)


def command(frontier: Frontier, model: str, point: Measured) -> str:
    """Return the command that samples with the settings of a point.

    Args:
        model: as the user has given it, with its options.
    """
    words = ["adm sample", model, point.point.options, frontier.shared.options]
    return " ".join(filter(None, [*words, "--out out/samples"]))


def distance_title(features: str) -> str:
    """Return the title of the distance by these features, which names them."""
    return title(DISTANCE, features)


def scored_table(frontier: Frontier, scale: float) -> Table:
    """Return a table of the points of a scale that were sampled in full, the fastest first."""
    points = sorted(scored(frontier, scale), key=lambda one: one.seconds)
    columns = {
        name: [as_score(one.distances[name]) for one in points] for name in frontier.features
    }
    best = {name: marks(DISTANCE, scores) for name, scores in columns.items()}
    rows = [
        [
            *_settings(one),
            _seconds(one),
            _error(one),
            *(Cell(*parts(columns[name][i]), best[name][i]) for name in columns),
        ]
        for i, one in enumerate(points)
    ]
    headings = [*SETTINGS, "seconds an image", "error", *map(distance_title, columns)]
    return Table(f"scale {exactly(scale)}", headings, rows)


def trial_table(frontier: Frontier, scale: float) -> Table:
    """Return a table of all points of a scale after the first pass, the fastest first."""
    points = sorted(frontier.at(scale), key=lambda one: (one.seconds, one.error or math.inf))
    rows = [[*_settings(one), _seconds(one), _error(one), _fate(one, points)] for one in points]
    headings = [*SETTINGS, "seconds an image", "error", "error / lowest of all as fast"]
    return Table(f"scale {exactly(scale)}", headings, rows)


def recommendations(frontier: Frontier, model: str) -> list[tuple[float, list[list[str]]]]:
    """Return the rows of the recommended settings of each scale.

    A row has what it is for, seconds an image, the distance by each of the features, and the
    command.
    """
    found = []
    for scale in frontier.scales:
        if (chosen := recommended(frontier, scale)) is None:
            continue
        uses = [(FAST, chosen.fast), (BEST, chosen.best)]
        uses += [(_at_most(each), each.point) for each in chosen.budgets]
        rows = [
            [
                use,
                spoken(one.seconds),
                *(parts(as_score(one.distances[name]))[0] for name in frontier.features),
                command(frontier, model, one),
            ]
            for use, one in uses
        ]
        found.append((scale, rows))
    return found


def recommendation_headings(frontier: Frontier) -> list[str]:
    """Return the headings of `recommendations`."""
    return ["for", "an image", *map(distance_title, frontier.features), "command"]


def sentences(frontier: Frontier) -> list[str]:
    """Return a sentence for each scale on what it takes to be as good as the best."""
    found = []
    for scale in frontier.scales:
        if (chosen := recommended(frontier, scale)) is None:
            continue
        fast, best = chosen.fast, chosen.best
        first = distance_title(frontier.features[0])
        lead = (
            f"At scale {exactly(scale)}, {best.point} is best, with a {first} of "
            f"{_value(frontier, best)} in {spoken(best.seconds)} an image"
        )
        if fast.point == best.point:
            found.append(f"{lead}; nothing faster is as good by all features.")
            continue
        found.append(
            f"{lead}; {fast.point} takes {spoken(fast.seconds)}, "
            f"{best.seconds / fast.seconds:.1f} times less, for {_value(frontier, fast)}."
        )
    return found


def markdown(frontier: Frontier, model: str, heading: str, pruned: Sequence[str]) -> str:
    """Format the points that were sampled in full, and the recommended settings, as Markdown.

    Args:
        model: see `command`.
        pruned: sentences on the points that were not sampled in full.
    """
    found = [f"# {heading}", " ".join(sentences(frontier))]
    for scale in frontier.scales:
        table = scored_table(frontier, scale)
        rows = [[plain(cell) for cell in row] for row in table.rows]
        found += [f"## Scale {exactly(scale)}", _table(table.headings, rows)]
    found += [MARKED, *pruned, *frontier.notes, "## Recommended settings", within(frontier)]
    for scale, rows in recommendations(frontier, model):
        commands = [[*row[:-1], f"`{row[-1]}`"] for row in rows]
        body = _table(recommendation_headings(frontier), commands)
        found += [f"### Scale {exactly(scale)}", body]
    return "\n\n".join(found) + "\n"


def within(frontier: Frontier) -> str:
    """Say what the recommended settings are for."""
    return WITHIN.format(first=frontier.features[0])


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    body = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in body)


def _at_most(budget: Budget) -> str:
    return f"--budget {spoken(budget.seconds).replace(' ', '')}"


def _value(frontier: Frontier, one: Measured) -> str:
    return parts(as_score(one.distances[frontier.features[0]]))[0]


def _settings(one: Measured) -> list[Cell]:
    point = one.point
    words = point.sampler, point.grid, point.steps, point.precision, one.network, one.classifier
    return [Cell(str(word)) for word in words]


def _seconds(one: Measured) -> Cell:
    low, high = one.timing.low, one.timing.high
    return Cell(f"{one.seconds:.3g}", f"{low:.3g} to {high:.3g}")


def _error(one: Measured) -> Cell:
    if one.diverged:
        return Cell("NaN")
    return Cell("" if one.error is None else f"{one.error:.3f}")


def _fate(one: Measured, points: Sequence[Measured]) -> Cell:
    """Return how far a point is from the frontier, marked if it was sampled in full."""
    if one.error is None:
        return Cell("", best=bool(one.distances))
    return Cell(f"{factor(one, points):.2f}", best=bool(one.distances))
