"""Runs of GANs -> table of their lowest and last distances: which of the seeds collapsed.

    for n in 0 1 2; do adm train fashion-biggan --set train.seed=$n --out runs/biggan-$n; done
    python benchmarks/collapse.py runs/biggan-* --picture collapse.png

A run has collapsed if its distance from held-out images has at last more than doubled since it was
lowest.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from adm.app.study.plots import FAINT, LINES, STYLE
from adm.runs.watch.curves import read_log
from adm.runs.watch.validation import FRECHET
from adm.shown import count_of
from adm.training.log import FILE

FACTOR = 2.0  # of the lowest distance; a higher last one is a collapse


class Run(NamedTuple):
    """The distances of a run.

    Attributes:
        steps: after which they were measured.
        distances: from held-out images, in the recipe's features.
    """

    name: str
    steps: list[int]
    distances: list[float]

    @property
    def collapsed(self) -> bool:
        return self.distances[-1] > FACTOR * min(self.distances)


def opened(folder: Path) -> Run:
    """Read the distances of a run from its log."""
    column = read_log(folder / FILE).get(FRECHET)
    if column is None:
        raise SystemExit(f"{folder} has no {FRECHET}: it is no GAN, or was not validated")
    return Run(folder.name, column.steps.tolist(), column.values.tolist())


def table(runs: list[Run]) -> str:
    lines = ["| run | lowest distance | at step | last | collapsed |", "|---|--:|--:|--:|---|"]
    for run in runs:
        lowest = min(run.distances)
        at = run.steps[run.distances.index(lowest)]
        verdict = "yes" if run.collapsed else "no"
        distances = f"{lowest:.3f} | {at:,} | {run.distances[-1]:.3f}"
        lines.append(f"| {run.name} | {distances} | {verdict} |")
    lost = sum(run.collapsed for run in runs)
    return "\n".join([*lines, "", f"{lost} of {count_of(len(runs), 'run')} collapsed"])


def figure(runs: list[Run]) -> Figure:
    """Draw the distance of every run over its steps."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(6.4, 3.6), dpi=144, layout="constrained")
        axes = drawn.subplots()
        for run, colour in zip(runs, [*LINES] * 8, strict=False):
            axes.plot(run.steps, run.distances, "o-", color=colour, ms=3, lw=1.2, label=run.name)
        axes.set_yscale("log")
        axes.set_xlabel("steps of the generator")
        axes.set_ylabel("Fréchet distance, held-out images")
        axes.grid(color=FAINT, lw=0.8, which="both")
        axes.legend(fontsize=8)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    runs = [opened(folder) for folder in args.runs]
    print(table(runs))
    if args.picture is not None:
        figure(runs).savefig(args.picture)


if __name__ == "__main__":
    main()
