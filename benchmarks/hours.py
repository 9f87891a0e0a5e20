"""Weights that a rival's run has stored -> distance against core-hours: a CSV file and a figure.

    python benchmarks/hours.py fashion R3GAN runs/r3gan --out out/results
    python benchmarks/hours.py

The first samples and scores each file of weights, an interrupted call continues, and adds lines to
docs/results/data/hours.csv. Both draw what is there.
"""

import argparse
import csv
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import results_gan
from matplotlib.figure import Figure
from results import Runner, list_labels, reference, references, sample_rival
from results_plan import FEW, Contest, contests
from results_sweeps import AT_INFINITY

from adm.app.study.plots import FAINT, LINES, STYLE
from adm.scoring import load_report

DOCS = Path(__file__).parents[1] / "docs"
LINES_OF = DOCS / "results/data/hours.csv"
HEAD = ("data", "system", "core-hours", "distance", "low", "high", "precision", "recall")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("contest", nargs="?", choices=list(contests()))
    parser.add_argument("system", nargs="?", help="the name of the line")
    parser.add_argument("run", nargs="?", type=Path, help="what `train --out` of a rival has made")
    parser.add_argument("--out", type=Path, default=Path("out/results"))
    args = parser.parse_args()
    known = list(csv.DictReader(LINES_OF.read_text("utf-8").splitlines()))
    if args.run is not None:
        contest = contests()[args.contest]
        contest = replace(contest, features=contest.features[:1], rows=contest.rows[:1])
        added = measure(contest, args.run, Runner(args.out, 1, None), args.out / contest.name)
        line = {"data": args.contest, "system": args.system}
        known = [each for each in known if not line.items() <= each.items()]
        known += [line | point for point in added]
        with LINES_OF.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, HEAD, lineterminator="\n")
            writer.writeheader()
            writer.writerows(known)
    draw(known).savefig(DOCS / "images/hours.png")


def measure(contest: Contest, run: Path, runner: Runner, place: Path) -> list[dict[str, str]]:
    """Return the core-hours and the scores of each file of weights, in the order of training."""
    place.mkdir(parents=True, exist_ok=True)
    references(contest, runner, place)
    if contest.proportional:
        list_labels(contest, place)
    (features,), (row,), points = contest.features, contest.rows, list[dict[str, str]]()
    for weights in sorted(run.glob("step-*.safetensors")):
        out = place / "hours" / run.name / weights.stem
        if not (report := out.with_suffix(".json")).exists():
            sample_rival(contest, str(weights), {}, FEW, runner, place, out)
            against = reference(place, features, row.size)
            runner.adm("evaluate", out, "--reference", against, "--out", report)
        scores = load_report(report).scores
        distance = scores[AT_INFINITY]
        values = {"core-hours": results_gan.facts_of(str(weights))["seconds"] / 3600}
        values |= {"distance": distance.value, "low": distance.low, "high": distance.high}
        values |= {key: scores[key].value for key in ("precision", "recall")}
        points.append({key: f"{value:.4g}" for key, value in values.items()})
    return points


def draw(known: list[dict[str, str]]) -> Figure:
    """Draw distance and recall over core-hours, a line of each system on each data set."""
    names = list(dict.fromkeys(line["data"] for line in known))
    systems = list(dict.fromkeys(line["system"] for line in known))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6 * len(names), 6.4), dpi=144, layout="constrained")
        panels: Any = figure.subplots(2, len(names), squeeze=False, sharex="col")
        for (name, system), own in groupby(known, lambda line: (line["data"], line["system"])):
            points = list(own)
            column, colour = panels[:, names.index(name)], LINES[systems.index(system)]

            def of(key: str, points: list[dict[str, str]] = points) -> list[float]:
                return [float(point[key]) for point in points]

            column[0].fill_between(of("core-hours"), of("low"), of("high"), color=colour, alpha=0.2)
            for axes, key in zip(column, ("distance", "recall"), strict=True):
                axes.plot(of("core-hours"), of(key), "o-", ms=4, lw=1.4, color=colour, label=system)
                axes.set_title(f"{name}: {key}")
        for axes in panels.flat:
            axes.grid(color=FAINT, lw=0.8)
            axes.set_axisbelow(True)
        for axes in panels[0]:
            axes.set_yscale("log")
            axes.legend(fontsize=8)
        for axes in panels[1]:
            axes.set_xlabel("core-hours")
    return figure


if __name__ == "__main__":
    main()
