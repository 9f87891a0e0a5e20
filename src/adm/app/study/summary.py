"""SweepResult -> lines to plot, sentences, tables, Markdown, JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, NamedTuple

from adm.app.scoring import Score
from adm.app.study.curve import (
    SCALES,
    TRUNCATIONS,
    Line,
    apart,
    bounded,
    lowest_of_all,
    parts,
    sentences,
)
from adm.app.study.plan import Point, spoken
from adm.app.study.run import JUDGE_ACCURACY, NetworkScores, SweepResult
from adm.app.study.truncations import TRUNCATION, AnySweep
from adm.generation.generator import Cost
from adm.shown import exactly

SCALE, STEPS = "guidance scale", "steps"
DISTANCE = "frechet"
CALLS = ("network calls", "classifier calls")  # per image
PLOTTED = (DISTANCE, "precision", "recall")
MARKED = (
    "Bold: the best value of a column, and all whose 95% intervals overlap its interval. A column "
    "has no mark if all do."
)
LOWER_IS_BETTER = (DISTANCE, "frechet_at_infinity", "spatial_frechet", "kernel_distance")


class Cell(NamedTuple):
    """A score and its interval as text, and whether it is among the best of its column."""

    value: str
    interval: str = ""
    best: bool = False


class Table(NamedTuple):
    """The scores by one network: a row for each point."""

    network: str
    headings: list[str]
    rows: list[list[Cell]]


def ways(sweep: AnySweep, along: str = SCALE) -> dict[str, list[Point]]:
    """Group the points that differ only in the scale, or only in the number of steps.

    Args:
        along: `SCALE` or `STEPS`, by which each group is sorted.

    Returns:
        The points of each group, by what they have in common, such as `ddim, 25 steps`. The name
        of a single group is empty.
    """
    found: dict[str, list[Point]] = {}
    for point in sweep.points:
        rest = f"{point.steps} steps" if along == SCALE else point.at
        found.setdefault(f"{point.sampler}, {rest}", []).append(point)
    # Small truncations are strong, and large scales of guidance.
    sign = -1 if sweep.axis == TRUNCATION else 1
    ordered = {
        name: sorted(points, key=lambda p: sign * p.scale if along == SCALE else p.steps)
        for name, points in found.items()
    }
    return ordered if len(ordered) > 1 else {"": next(iter(ordered.values()))}


def plottable(network: NetworkScores) -> bool:
    """Return whether every point has all scores of the figure."""
    return set(PLOTTED) <= set(network.keys)


def lines(sweep: AnySweep, network: NetworkScores, along: str = SCALE) -> list[Line]:
    """Return the scores by one network as lines of a figure."""
    place = {point: i for i, point in enumerate(sweep.points)}
    found = []
    for name, points in ways(sweep, along).items():
        rows = [network.scores[place[point]] for point in points]
        x = [point.scale if along == SCALE else float(point.steps) for point in points]
        distance, precision, recall = ([row[key] for row in rows] for key in PLOTTED)
        found.append(Line(name, x, distance, precision, recall))
    return found


def summary(sweep: AnySweep, network: NetworkScores) -> dict[str, list[str]]:
    """Describe the effect of the scale by one network, for each group of `ways`."""
    if not plottable(network) or len(sweep.scales) < 2:
        return {}
    names = [network.short_title(key) for key in PLOTTED]
    axis = TRUNCATIONS if sweep.axis == TRUNCATION else SCALES
    return {line.name: sentences(*line.series(names), axis) for line in lines(sweep, network)}


def tables(result: SweepResult) -> list[Table]:
    """Return a table per network: a row per point, a column per score, the best ones marked."""
    several = len(ways(result.sweep)) > 1
    found = []
    for network in result.networks:
        keys = network.keys
        best = {key: marks(key, [row[key] for row in network.scores]) for key in keys}
        rows = [
            [
                *_lead(point, several),
                *_calls(result.sweep.job(point).cost),
                *(Cell(*parts(row[key]), best[key][i]) for key in keys),
            ]
            for i, (point, row) in enumerate(zip(result.sweep.points, network.scores, strict=True))
        ]
        scale = spoken(result.sweep.axis)
        lead = ["sampler", "steps", scale] if several else [scale]
        headings = [*lead, *CALLS, *map(network.short_title, keys)]
        found.append(Table(network.network, headings, rows))
    return found


def markdown(result: SweepResult, title: str) -> str:
    """Format summaries, tables and notes as Markdown."""
    parts = [f"# {title}"]
    for network in result.networks:
        for way, said in summary(result.sweep, network).items():
            lead = ", ".join(filter(None, (network.network, way)))
            parts.append(f"**{lead}.** {' '.join(said)}")
    for table in tables(result):
        body = [table.headings, ["---"] * len(table.headings)]
        body += [[plain(cell) for cell in row] for row in table.rows]
        parts += [f"## By {table.network}", "\n".join(f"| {' | '.join(row)} |" for row in body)]
    return "\n\n".join([*parts, *table_notes(result)]) + "\n"


def as_json(result: SweepResult) -> dict[str, Any]:
    """Return summaries, all scores of all points, notes and manifest, as JSON values."""
    return {
        "summary": {
            network.network: said
            for network in result.networks
            if (said := summary(result.sweep, network))
        },
        "points": [
            {
                **point._asdict(),
                "calls_per_image": asdict(result.sweep.job(point).cost),
                "scores": {
                    network.title(key): score.to_json()
                    for network in result.networks
                    for key, score in network.scores[i].items()
                },
            }
            for i, point in enumerate(result.sweep.points)
        ],
        "notes": result.notes,
        "manifest": result.manifest,
    }


def marks(key: str, scores: Sequence[Score]) -> list[bool]:
    """Return which scores of a column are marked: the best, and all that may equal it.

    Two scores differ if their intervals do not overlap. None is marked if all may be equal, or if
    an interval is unknown.
    """
    extreme = min if key in LOWER_IS_BETTER else max
    best = extreme(scores, key=lambda score: score.value)
    found = [not apart(score, best) for score in scores]
    known = all(bounded(score) for score in scores)
    return found if known and not all(found) else [False] * len(scores)


def table_notes(result: SweepResult) -> list[str]:
    """Return the notes below the tables, the first of which explains the marks, if there are."""
    cells = (cell for table in tables(result) for row in table.rows for cell in row)
    return [*([MARKED] if any(cell.best for cell in cells) else []), *result.notes]


def figure_notes(drawn: Sequence[tuple[str, list[Line]]]) -> list[str]:
    """Explain what figures show: intervals, the spacing and rings, each only where it is drawn.

    Args:
        drawn: (`SCALE` or `STEPS`, lines) of each figure.
    """
    lines = [line for _, each in drawn for line in each]
    scores = [s for line in lines for s in (*line.distance, *line.precision, *line.recall)]
    spread = {"scales" if along == SCALE else STEPS for along, each in drawn if uneven(each[0].x)}
    notes = []
    if any(bounded(score) for score in scores):
        notes.append("Bands and bars are 95% intervals over samples of the same generator.")
    if spread:
        notes.append(f"The {' and '.join(sorted(spread))} are drawn at equal spacing.")
    if any(lowest_of_all(line.distance) is not None for line in lines):
        notes.append("A ring marks a distance whose interval is below all others of its line.")
    return notes


def uneven(x: Sequence[float]) -> bool:
    """Return whether the distances between successive values differ."""
    return len({round(b - a, 9) for a, b in pairwise(x)}) > 1


def feature_names(result: SweepResult) -> list[str]:
    """Return the names of the features, without a network that is only the judge."""
    return [n.network for n in result.networks if set(n.keys) != {JUDGE_ACCURACY}]


def _lead(point: Point, several: bool) -> list[Cell]:
    scale = Cell(exactly(point.scale))
    return [Cell(point.sampler), Cell(str(point.steps)), scale] if several else [scale]


def _calls(cost: Cost) -> list[Cell]:
    return [Cell(f"{cost.network:,}"), Cell(f"{cost.classifier:,}")]


def plain(cell: Cell) -> str:
    """Format a cell as Markdown: the best ones bold, the interval in parentheses."""
    value = f"**{cell.value}**" if cell.best else cell.value
    return f"{value} ({cell.interval})" if cell.interval else value
