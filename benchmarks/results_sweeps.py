"""Stored sweeps of truncation and of the guidance scale -> their scores, and lines of a figure."""

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from results_scores import strength, swept

from adm.app.study.plots import FAINT
from adm.scoring import title

DISTANCE, AT_INFINITY = "frechet", "frechet_at_infinity"
AXES = {"truncation": "BigGAN, truncation", "scale": "ADM-G, scale"}


class Sweep(NamedTuple):
    """A name, and the points of a sweep as its report has them."""

    name: str
    points: list[dict[str, Any]]

    def values(self, key: str, features: str) -> list[float]:
        """Return a score of every point."""
        return [float(point["scores"][title(key, features)]["value"]) for point in self.points]


def read_sweeps(place: Path) -> list[Sweep]:
    """Return the sweeps of a contest that have points."""
    points = {name: [*swept(place, axis).values()] for axis, name in AXES.items()}
    return [Sweep(name, own) for name, own in points.items() if own]


def distance_of(sweeps: list[Sweep], features: str) -> str:
    """Return the key of the distance at infinite N; of the plain one if images were too few."""
    points = [point["scores"] for each in sweeps for point in each.points]
    return AT_INFINITY if all(title(AT_INFINITY, features) in own for own in points) else DISTANCE


def lowest(place: Path, axis: str, features: str) -> float:
    """Return the truncation or the scale that has the lowest distance."""
    sweep = Sweep(AXES[axis], [*swept(place, axis).values()])
    distances = sweep.values(distance_of([sweep], features), features)
    return strength(sweep.points[distances.index(min(distances))])


def draw(axes: Axes, sweep: Sweep, key: str, features: str, colour: str) -> None:
    """Draw a score of a sweep over its recall, with the truncation or scale at each point."""
    x, y = sweep.values("recall", features), sweep.values(key, features)
    axes.plot(x, y, "o-", color=colour, ms=4, lw=1.4, label=sweep.name)
    aside: Any = {"xytext": (4, 4), "textcoords": "offset points", "fontsize": 7, "color": colour}
    for recall, value, point in zip(x, y, sweep.points, strict=True):
        axes.annotate(f"{strength(point):g}", (recall, value), **aside)
    axes.set_title(title(key, features))
    axes.set_xlabel("recall")
    axes.grid(color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
