"""SweepResult -> lines to plot, sentences, tables, Markdown, JSON."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from adm.sweep.curve import Line, parts, sentences
from adm.sweep.plan import Point, Sweep, exactly
from adm.sweep.run import NetworkScores, SweepResult

SCALE, STEPS = "guidance scale", "steps"
DISTANCE = "frechet"
PLOTTED = (DISTANCE, "precision", "recall")
LOWER_IS_BETTER = (DISTANCE, "frechet_at_infinity", "spatial_frechet", "kernel_distance")


class Cell(NamedTuple):
    """A score and its interval as text, and whether it is the best of its column."""

    value: str
    interval: str = ""
    best: bool = False


class Table(NamedTuple):
    """The scores by one network: a row for each point."""

    network: str
    headings: list[str]
    rows: list[list[Cell]]


def ways(sweep: Sweep, along: str = SCALE) -> dict[str, list[Point]]:
    """Group the points that differ only in the scale, or only in the number of steps.

    Args:
        along: `SCALE` or `STEPS`, by which each group is sorted.

    Returns:
        The points of each group, by what they have in common, such as `ddim, 25 steps`. The name
        of a single group is empty.
    """
    found: dict[str, list[Point]] = {}
    for point in sweep.points:
        rest = f"{point.steps} steps" if along == SCALE else f"scale {exactly(point.scale)}"
        found.setdefault(f"{point.sampler}, {rest}", []).append(point)
    ordered = {
        name: sorted(points, key=lambda p: p.scale if along == SCALE else p.steps)
        for name, points in found.items()
    }
    return ordered if len(ordered) > 1 else {"": next(iter(ordered.values()))}


def plottable(network: NetworkScores) -> bool:
    """Return whether every point has all scores of the figure."""
    return set(PLOTTED) <= set(network.keys)


def lines(sweep: Sweep, network: NetworkScores, along: str = SCALE) -> list[Line]:
    """Return the scores by one network as lines of a figure."""
    place = {point: i for i, point in enumerate(sweep.points)}
    found = []
    for name, points in ways(sweep, along).items():
        rows = [network.scores[place[point]] for point in points]
        x = [point.scale if along == SCALE else float(point.steps) for point in points]
        distance, precision, recall = ([row[key] for row in rows] for key in PLOTTED)
        found.append(Line(name, x, distance, precision, recall))
    return found


def summary(sweep: Sweep, network: NetworkScores) -> dict[str, list[str]]:
    """Describe the effect of the scale by one network, for each group of `ways`."""
    if not plottable(network) or len(sweep.scales) < 2:
        return {}
    names = [network.title(key) for key in PLOTTED]
    return {line.name: sentences(*line.series(names)) for line in lines(sweep, network)}


def tables(result: SweepResult) -> list[Table]:
    """Return a table per network: a row per point, a column per score, the best one marked."""
    several = len(ways(result.sweep)) > 1
    found = []
    for network in result.networks:
        keys = network.keys
        best = {key: _best(key, [row[key].value for row in network.scores]) for key in keys}
        rows = [
            [
                *_lead(point, several),
                *(Cell(*parts(row[key]), row[key].value == best[key]) for key in keys),
            ]
            for point, row in zip(result.sweep.points, network.scores, strict=True)
        ]
        lead = ["sampler", "steps", "scale"] if several else ["scale"]
        found.append(Table(network.network, [*lead, *map(network.title, keys)], rows))
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
        body += [[_plain(cell) for cell in row] for row in table.rows]
        parts += [f"## By {table.network}", "\n".join(f"| {' | '.join(row)} |" for row in body)]
    return "\n\n".join([*parts, *result.notes]) + "\n"


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


def _best(key: str, values: Sequence[float]) -> float:
    return min(values) if key in LOWER_IS_BETTER else max(values)


def _lead(point: Point, several: bool) -> list[Cell]:
    scale = Cell(exactly(point.scale))
    return [Cell(point.sampler), Cell(str(point.steps)), scale] if several else [scale]


def _plain(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.best else cell.value
    return f"{value} ({cell.interval})" if cell.interval else value
