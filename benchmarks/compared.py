"""Names, sweep folders -> one table of their points, and a figure of distance against recall.

    adm sweep fashion-fast --vary steps=2,4 --vary scale=1,4 --reference lite.npz,judge.npz \
        --out out/fast
    adm sweep fashion --vary scale=1,4 --reference lite.npz,judge.npz --out out/teacher
    python benchmarks/compared.py teacher=out/teacher student=out/fast --picture compared.png

A folder with @0,2 behind it stands for the points of these scales. With --from and --to, two of the
names, a line states how much of the gap between their lowest distances each of the others closes.
--samples draws the first images of every point: those of one column are from the same noise.
"""

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as DrawnPath
from matplotlib.text import Annotation
from matplotlib.transforms import BboxBase
from PIL import Image

from adm.app.study.plots import FAINT, LINES, STYLE
from adm.app.study.run import JUDGE_ACCURACY
from adm.app.study.study import SAMPLES
from adm.generation.folder import images_of
from adm.pictures import Row, sheet
from adm.scoring import Score, title

SHOWN = 16  # images of a row of samples
GAP = 3  # pixels that a scale is apart from others and from the lines
STRENGTHS = ("scale", "truncation", "guide")
DISTANCE, AT_INFINITY = "frechet", "frechet_at_infinity"
SPREAD = "precision", "recall", "coverage"


class Compared(NamedTuple):
    """A name, the folder of a sweep, and its points as its report has them."""

    name: str
    folder: Path
    points: list[dict[str, Any]]

    def values(self, key: str, features: str) -> list[float]:
        """Return a score of every point."""
        return [float(point["scores"][title(key, features)]["value"]) for point in self.points]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", nargs="+", metavar="NAME=FOLDER[@SCALES]")
    parser.add_argument("--features", nargs="+", default=["fashion-judge", "efficientnet-lite0"])
    parser.add_argument("--from", dest="start", metavar="NAME")
    parser.add_argument("--to", dest="end", metavar="NAME")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--samples", type=Path)
    args = parser.parse_args()
    sweeps = [each for spec in args.sweeps for each in opened(*spec.split("=", 1))]
    print("\n".join(table(sweeps, args.features)))
    if args.start and args.end:
        named = {each.name: each for each in sweeps}
        print("\n" + "\n".join(closed(sweeps, named[args.start], named[args.end], args.features)))
    if args.samples:
        samples(sweeps).save(args.samples, optimize=True)
    if args.picture:
        figure(sweeps, args.features).savefig(args.picture)


def opened(name: str, spec: str) -> list[Compared]:
    """Read the points of a sweep: a line for each combination of its settings but the scale.

    Args:
        spec: the folder; with @0,2 behind it, only the points of these scales.
    """
    folder, _, chosen = spec.partition("@")
    scales = {float(scale) for scale in chosen.split(",")} if chosen else None
    report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    ways: dict[str, list[dict[str, Any]]] = {}
    for point in report["points"]:
        if scales is not None and strength(point) not in scales:
            continue
        others = [f"{key} {own}" for key, own in point["settings"].items() if key not in STRENGTHS]
        ways.setdefault(", ".join(others), []).append(point)
    several = len(ways) > 1
    return [
        Compared(f"{name}, {way}" if several else name, Path(folder), points)
        for way, points in ways.items()
    ]


def distance_of(sweeps: list[Compared], features: str) -> str:
    """Return the key of the distance at infinite N; of the plain one if images were too few."""
    points = [point["scores"] for each in sweeps for point in each.points]
    return AT_INFINITY if all(title(AT_INFINITY, features) in own for own in points) else DISTANCE


def strength(point: dict[str, Any]) -> float:
    """Return the scale or the truncation of a point, or the scale of its guide."""
    settings = point["settings"]
    if "guide" in settings:
        scale = re.search(r"scale=([0-9.]+)", str(settings["guide"]))
        return float(scale[1]) if scale else 0.0
    return next(float(settings[key]) for key in STRENGTHS if key in settings)


def table(sweeps: list[Compared], features: list[str]) -> list[str]:
    """Return the rows of a Markdown table: precision, recall and coverage by the last features."""
    spread = [title(key, features[-1]) for key in SPREAD]
    keys = [*(title(DISTANCE, name) for name in features), *spread, *_judges(sweeps)]
    rows = [["", "scale", "network calls", "classifier calls", *keys]]
    rows.append(["---"] * len(rows[0]))
    for each in sweeps:
        for point in each.points:
            calls = point["calls_per_image"]
            lead = [f"{strength(point):g}"]
            lead += [f"{calls[network]:g}" for network in ("network", "classifier")]
            rows.append([each.name, *lead, *(cell(point["scores"].get(key)) for key in keys)])
    return [f"| {' | '.join(row)} |" for row in rows]


def closed(
    sweeps: list[Compared], start: Compared, end: Compared, features: list[str]
) -> list[str]:
    """Return sentences: the share of the gap between two distances that each sweep closes."""
    lines: list[str] = []
    for name in features:
        lowest = {each.name: min(each.values(DISTANCE, name)) for each in sweeps}
        gap = lowest[start.name] - lowest[end.name]
        lines.append(f"{name}: from {lowest[start.name]:.2f} to {lowest[end.name]:.2f}; closed by")
        lines += [
            f"  {other} ({value:.2f}): {(lowest[start.name] - value) / gap:.0%}"
            for other, value in lowest.items()
            if other not in (start.name, end.name)
        ]
    return lines


def figure(sweeps: list[Compared], features: list[str]) -> Figure:
    """Draw a panel for each of the features: a line per sweep, and the scale at each point."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(5.6 * len(features), 4.4), dpi=144, layout="constrained")
        for axes, name in zip(
            drawn.subplots(1, len(features), squeeze=False)[0], features, strict=True
        ):
            for each, colour in zip(sweeps, [*LINES] * 8, strict=False):
                line(axes, each, DISTANCE, name, colour)
            name_scales(axes, sweeps, DISTANCE, name)
        drawn.axes[-1].legend(fontsize=8)
    return drawn


def line(axes: Axes, sweep: Compared, key: str, features: str, colour: str) -> None:
    """Draw a score of a sweep over its recall."""
    x, y = sweep.values("recall", features), sweep.values(key, features)
    axes.plot(x, y, "o-", color=colour, ms=4, lw=1.4, label=sweep.name)
    axes.set_title(title(key, features))
    axes.set_xlabel("recall")
    axes.grid(color=FAINT, lw=0.8)
    axes.set_axisbelow(True)


def name_scales(axes: Axes, sweeps: list[Compared], key: str, features: str) -> None:
    """Write the scale beside each point of the lines drawn, on the outer side of its bend.

    Where that would cover a line or another scale, it is on the next side that is free.
    """
    axes.margins(0.06)
    axes.autoscale_view()
    drawn = axes.get_figure(root=True)
    assert drawn is not None
    drawn.draw_without_rendering()  # the layout moves the axes
    paths = [line.get_transform().transform_path(line.get_path()) for line in axes.lines]
    taken: list[BboxBase] = []
    for sweep, colour in zip(sweeps, [*LINES] * 8, strict=False):
        places = np.stack([sweep.values("recall", features), sweep.values(key, features)], axis=1)
        asides = outside(axes.transData.transform(places))
        for place, aside, point in zip(places, asides, sweep.points, strict=True):
            written = axes.annotate(
                f"{strength(point):g}",
                tuple(place),
                xytext=(0, 0),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=7,
                color=colour,
            )
            move_aside(written, 9 * aside, paths, taken)
            taken.append(written.get_window_extent())


def move_aside(
    written: Annotation, first: np.ndarray, paths: list[DrawnPath], taken: list[BboxBase]
) -> None:
    """Move a scale to the first offset around its point that is free; to `first` if none is."""
    for offset in [*around(first), first]:
        written.set_position(tuple(offset))
        box = written.get_window_extent().padded(GAP)
        crossed = any(path.intersects_bbox(box, filled=False) for path in paths)
        if not crossed and not any(box.overlaps(each) for each in taken):
            return


def around(first: np.ndarray) -> list[np.ndarray]:
    """Return a vector (2,) and its rotations, the smallest first, at one and a half and twice."""
    angles = np.deg2rad([0, 45, -45, 90, -90, 135, -135, 180])
    turns = [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    return [length * turn @ first for length in (1, 1.5, 2) for turn in turns]


def outside(path: np.ndarray) -> np.ndarray:
    """Points (N, 2) of a path -> unit vectors (N, 2) away from both neighbours of each."""
    steps = unit(np.diff(path, axis=0))
    before, after = np.pad(steps, ((1, 0), (0, 0))), np.pad(steps, ((0, 1), (0, 0)))
    bend, along = before - after, before + after
    across = along[:, ::-1] * (1, -1)  # where the path is almost straight, to its right
    straight = np.linalg.norm(bend, axis=1, keepdims=True) < 0.3
    return unit(np.where(straight, across, bend))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, 2) -> the same of length 1; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def samples(sweeps: list[Compared]) -> Image.Image:
    """Draw the first `SHOWN` images of every point."""
    rows = []
    for each in sweeps:
        for point in each.points:
            images = images_of(each.folder / SAMPLES / point["name"])[range(SHOWN)]
            rows.append(Row(f"{each.name}\nscale {strength(point):g}", list(images)))
    return sheet("", [("", SHOWN)], rows).quantize(128)


def _judges(sweeps: list[Compared]) -> list[str]:
    """Return the titles of the judges' accuracies in any of the reports."""
    titles = [score for each in sweeps for point in each.points for score in point["scores"]]
    return [*dict.fromkeys(score for score in titles if score.startswith(JUDGE_ACCURACY))]


def cell(stored: dict[str, float | None] | None) -> str:
    """Format a score with its interval, as a sweep's own report; empty without one."""
    if stored is None:
        return ""
    values = (stored[key] for key in Score._fields)
    score = Score(*(math.nan if value is None else value for value in values))
    return score.text()


if __name__ == "__main__":
    main()
