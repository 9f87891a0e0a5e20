"""a sweep's points and their scores -> lines to draw, sentences, tables, Markdown, JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from adm.evaluation import Score, title
from adm.sweep.curve import Line, parts, sentences
from adm.sweep.plan import Point, Sweep, exactly

SCALE, STEPS = "guidance scale", "steps"
DISTANCE = "frechet"
DRAWN = (DISTANCE, "precision", "recall")
NAMED = "named as meant"  # a judge's score
LOWER = (DISTANCE, "frechet_at_infinity", "spatial_frechet", "kernel_distance")  # is better


class Measured(NamedTuple):
    """What one network says of every point.

    Attributes:
        by: the network's name.
        scores: for each point, by key; see `adm.evaluation.scores`.
    """

    by: str
    scores: list[dict[str, Score]]

    @property
    def keys(self) -> list[str]:
        """The scores that every point has."""
        return [key for key in self.scores[0] if all(key in row for row in self.scores)]

    @property
    def drawn(self) -> bool:
        """Whether all that the figure shows is known."""
        return set(DRAWN) <= set(self.keys)

    def title(self, key: str) -> str:
        """What a score is called, with the network's name."""
        return f"{key} ({self.by})" if key == NAMED else title(key, self.by)


class Cell(NamedTuple):
    value: str
    interval: str = ""
    best: bool = False


class Table(NamedTuple):
    by: str
    headings: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A sweep that has been scored.

    Attributes:
        measured: by one network after another.
        notes: on the scores: few images, what is missing.
        manifest: what they follow from.
    """

    sweep: Sweep
    measured: list[Measured]
    notes: list[str]
    manifest: dict[str, Any]


def ways(sweep: Sweep, along: str = SCALE) -> dict[str, list[Point]]:
    """The points that differ in the scale alone, or in the steps alone, in its order.

    Returns:
        by a name of what they have in common; the empty name where all do.
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


def lines(outcome: Outcome, measured: Measured, along: str = SCALE) -> list[Line]:
    """One network's scores as lines of a figure."""
    place = {point: i for i, point in enumerate(outcome.sweep.points)}
    found = []
    for name, points in ways(outcome.sweep, along).items():
        rows = [measured.scores[place[point]] for point in points]
        x = [point.scale if along == SCALE else float(point.steps) for point in points]
        distance, precision, recall = ([row[key] for row in rows] for key in DRAWN)
        found.append(Line(name, x, distance, precision, recall))
    return found


def summary(outcome: Outcome, measured: Measured) -> dict[str, list[str]]:
    """What the scale does by one network, in sentences, for each way to sample."""
    if not measured.drawn or len(outcome.sweep.scales) < 2:
        return {}
    names = [measured.title(key) for key in DRAWN]
    return {line.name: sentences(*line.series(names)) for line in lines(outcome, measured)}


def tables(outcome: Outcome) -> list[Table]:
    """A row a point, a column a score; the best of each column is marked."""
    several = len(ways(outcome.sweep)) > 1
    found = []
    for measured in outcome.measured:
        keys = measured.keys
        best = {key: _best(key, [row[key].value for row in measured.scores]) for key in keys}
        rows = [
            [
                *_lead(point, several),
                *(Cell(*parts(row[key]), row[key].value == best[key]) for key in keys),
            ]
            for point, row in zip(outcome.sweep.points, measured.scores, strict=True)
        ]
        lead = ["sampler", "steps", "scale"] if several else ["scale"]
        found.append(Table(measured.by, [*lead, *map(measured.title, keys)], rows))
    return found


def markdown(outcome: Outcome, title: str) -> str:
    """Summaries and tables as text."""
    parts = [f"# {title}"]
    for measured in outcome.measured:
        for way, said in summary(outcome, measured).items():
            parts.append(f"**{', '.join(filter(None, (measured.by, way)))}.** {' '.join(said)}")
    for table in tables(outcome):
        body = [table.headings, ["---"] * len(table.headings)]
        body += [[_plain(cell) for cell in row] for row in table.rows]
        parts += [f"## By {table.by}", "\n".join(f"| {' | '.join(row)} |" for row in body)]
    return "\n\n".join([*parts, *outcome.notes]) + "\n"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Every score of every point, the summary, and what they follow from."""
    return {
        "summary": {
            measured.by: said
            for measured in outcome.measured
            if (said := summary(outcome, measured))
        },
        "points": [
            {
                **point._asdict(),
                "scores": {
                    measured.title(key): score.to_json()
                    for measured in outcome.measured
                    for key, score in measured.scores[i].items()
                },
            }
            for i, point in enumerate(outcome.sweep.points)
        ],
        "notes": outcome.notes,
        "manifest": outcome.manifest,
    }


def _best(key: str, values: Sequence[float]) -> float:
    return min(values) if key in LOWER else max(values)


def _lead(point: Point, several: bool) -> list[Cell]:
    scale = Cell(exactly(point.scale))
    return [Cell(point.sampler), Cell(str(point.steps)), scale] if several else [scale]


def _plain(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.best else cell.value
    return f"{value} ({cell.interval})" if cell.interval else value
