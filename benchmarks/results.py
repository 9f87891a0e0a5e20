"""Shipped models -> the tables and the figure of docs/results/results.md.

    python benchmarks/results.py --out out/results
    python benchmarks/results.py --out out/results --only fashion --processes 2
    python benchmarks/results.py --out out/results --so-far --docs docs

Samples every row and scores it by commands of `adm` and of baselines/, which it prints. An
interrupted call continues. --so-far writes the tables of what has been measured, and measures
nothing. --rehearse N takes N images a row, to try the whole of it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_costs
import results_gan
import results_page
import results_scores
import results_sweeps
from results_plan import CHOSEN, FEW, SCALES, TRUNCATIONS, Contest, Row, contests
from results_scores import of_few

from adm.app.study.scoring import judge_accuracy
from adm.app.study.study import balanced_labels
from adm.data import open_source
from adm.generation.labels import labels_like
from adm.metrics.accuracy import wilson
from adm.models.load import load_classifier
from adm.models.pair import GUIDES
from adm.samplers import Sampling
from adm.scoring import Score
from adm.store.files import write_text
from adm.store.samples import ARCHIVE

LABELS = "labels.csv"  # of the images of a reference


@dataclass(frozen=True)
class Runner:
    """Where and how the commands are run."""

    out: Path
    processes: int
    rehearsal: int | None

    def count(self, requested: int) -> int:
        return requested if self.rehearsal is None else min(requested, self.rehearsal)

    def adm(self, *arguments: object, into: Path | None = None) -> None:
        """Print a command of `adm`, and run it in `processes` processes; keep what it writes."""
        words = [str(each) for each in arguments]
        print(f"$ adm {shlex.join(words)}", flush=True)
        several = ["torch.distributed.run", "--standalone", "--nproc-per-node", self.processes]
        launcher = [*map(str, several), "-m", "--"] if self.processes > 1 else []
        each = max(1, (os.cpu_count() or 1) // self.processes)
        own = {"OMP_NUM_THREADS": str(each), "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-m", *launcher, "adm", *words]
        kept = subprocess.PIPE if into else None
        done = subprocess.run(command, check=True, env=os.environ | own, stdout=kept, text=True)
        if into is not None:
            write_text(into, done.stdout)

    def python(self, *arguments: object) -> None:
        """Print a command of Python, and run it."""
        words = [str(each) for each in arguments]
        print(f"$ python {shlex.join(words)}", flush=True)
        subprocess.run([sys.executable, *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/results"))
    parser.add_argument("--only", choices=list(contests()))
    parser.add_argument("--processes", type=int, default=1, help="that share the images")
    parser.add_argument("--rehearse", type=int, metavar="N")
    parser.add_argument("--so-far", action="store_true", help="measure nothing")
    parser.add_argument("--docs", type=Path, help="folder of results.md and images/ to write to")
    args = parser.parse_args()
    runner = Runner(args.out, args.processes, args.rehearse)
    for name, contest in contests().items():
        if args.only in (None, name):
            place = runner.out / name
            if not args.so_far:
                measure(contest, runner, place)
            measured = results_scores.read_rows(contest, place)
            if not measured:  # the section of the page stays
                print(f"{name}: nothing has been measured in {place}")
                continue
            results_costs.add(measured, contest, place)
            results_page.write(measured, contest, place, args.docs)


def measure(contest: Contest, runner: Runner, place: Path) -> None:
    """Sample, score and time all rows."""
    place.mkdir(parents=True, exist_ok=True)
    references(contest, runner, place)
    if contest.proportional:
        list_labels(contest, place)
    sweeps(contest, runner, place)
    for row in contest.rows:
        score(contest, row, runner, place)
    results_costs.clock(contest, results_scores.read_rows(contest, place), place)


def references(contest: Contest, runner: Runner, place: Path) -> None:
    """Compute the reference of each of the features at each size."""
    needed = ((each, row.size) for row in contest.rows for each in contest.features_of(row))
    for features, size in dict.fromkeys(needed):
        out = reference(place, features, size)
        if not out.exists():
            sized = [] if size is None else ["--size", size]
            split = ["--split", contest.split, "--features", features]
            runner.adm("reference", contest.data, *split, *sized, "--out", out)


def reference(place: Path, features: str, size: int | None) -> Path:
    return place / f"{features}{'' if size is None else f'-{size}'}.npz"


def list_labels(contest: Contest, place: Path) -> None:
    """Write the list of labels whose proportions samples have, that of the reference's images."""
    source = open_source(contest.data, split=contest.split)
    lines = [f"{i},{source.classes[label]}" for i, label in enumerate(source.labels)]
    write_text(place / LABELS, "\n".join(["file,label", *lines, ""]))


def proportions(contest: Contest, place: Path) -> list[object]:
    """Return the options of the proportions of classes."""
    return ["--proportions", place / LABELS] if contest.proportional else []


def sweeps(contest: Contest, runner: Runner, place: Path) -> None:
    """Sweep the GAN's truncation and the guidance scale."""
    files = [reference(place, each, contest.rows[0].size) for each in contest.features]
    if missing := _missing(place, "truncation", TRUNCATIONS):
        out, points = place / "by-truncation", []
        for value in missing:
            folder, reports = out / f"truncation-{value:g}", list[Path]()
            options = {"truncation": value}
            sample_rival(contest, contest.gan, options, runner.count(FEW), runner, place, folder)
            for file in files:
                reports.append(folder / f"{file.stem}.json")
                runner.adm("evaluate", folder, "--reference", file, "--out", reports[-1])
            points.append(results_gan.point(value, reports))
        results_gan.store_points(out, contest.gan, points)
        results_scores.store_sweep(place, "truncation", out)
    if missing := _missing(place, "scale", SCALES):
        out = place / "by-scale"
        spread = ["--vary", f"scale={','.join(f'{value:g}' for value in missing)}"]
        count = ["--count", runner.count(FEW), "--out", out]
        against = ["--reference", ",".join(map(str, files)), *proportions(contest, place)]
        runner.adm("sweep", contest.guided, *spread, *against, *count)
        results_scores.store_sweep(place, "scale", out)


def _missing(place: Path, axis: str, values: Sequence[float]) -> list[float]:
    stored = results_scores.swept(place, axis)
    return [value for value in values if value not in stored]


def sample_rival(
    contest: Contest,
    weights: str,
    options: dict[str, Any],
    count: int,
    runner: Runner,
    place: Path,
    out: Path,
) -> None:
    """Sample a rival of baselines/, unless its folder is there."""
    if not (out / ARCHIVE).exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        labels = labels_of(contest, place, results_gan.classes_of(weights), count)
        runner.python(*results_gan.words(weights, labels, options, out))


def resolved(contest: Contest, row: Row, place: Path) -> dict[str, Any]:
    """Return a row's options, with the truncation of the lowest distance and the model's scale."""

    def chosen(axis: str) -> float:
        if axis == "scale":
            assert row.model is not None
            return Sampling(guide=GUIDES[row.model]).scale
        return results_sweeps.lowest(place, axis, contest.features[0])

    of_row = row.options.items()
    return row.options | {key: chosen(key) for key, value in of_row if value == CHOSEN}


def score(contest: Contest, row: Row, runner: Runner, place: Path) -> None:
    """Sample a row unless it is of real images; evaluate what is left, and store the scores.

    The scores of a row are of one machine: on another one, a row that lacks some gets all again.
    """
    stored = results_scores.read_rows(contest, place).get(row.name, {"scores": {}})
    if not any(lacking(contest, row, stored["scores"])):
        return
    of_here = results_scores.stored_here(place, row).get("scores", {})
    reports, others = lacking(contest, row, of_here)
    options = resolved(contest, row, place)
    if row.model is not None:
        sample(contest, row, options, runner, place)
    of = place / row.name if row.model is not None else contest.real
    sized = [] if row.model is not None or row.size is None else ["--size", row.size]
    files = {name: place / f"{row.name}.{name}.json" for name in reports}
    for name, (features, count) in reports.items():
        if not files[name].exists():
            against = reference(place, features, row.size)
            counted = ["--count", runner.count(min(count, row.count))]
            runner.adm(
                "evaluate", of, "--reference", against, *sized, *counted, "--out", files[name]
            )
    own = {key: OTHERS[key](contest, row, runner, place) for key in others}
    results_scores.store_row(place, row, options, files, {contest.judge: own} if own else {})


def lacking(
    contest: Contest, row: Row, known: dict[str, dict[str, Any]]
) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Return what a row has no scores of.

    Args:
        known: features -> key -> score.

    Returns:
        Reports by name, their features and number of images; and keys of `OTHERS`.
    """
    first, own = contest.features[0], contest.features_of(row)
    counts = {of_few(first): (first, FEW)} | {each: (each, row.count) for each in own}
    judged = row.model is not None and contest.judge in own
    needed = [key for key in OTHERS if judged and (row.claimed or key != "copies")]
    return (
        {name: counted for name, counted in counts.items() if name not in known},
        [key for key in needed if key not in known.get(contest.judge, {})],
    )


def copies(contest: Contest, row: Row, runner: Runner, place: Path) -> Score:
    """Return the share of a row's samples that are likely copies, by the judge's features."""
    out = place / f"{row.name}.nearest"
    if not (report := out.with_suffix(".json")).exists():
        against = [contest.data, "--split", "train", "--features", contest.judge]
        picture = ["--out", out.with_suffix(".png")]
        runner.adm("nearest", place / row.name, *against, *picture, "--json", into=report)
    found = json.loads(report.read_text("utf-8"))
    return wilson(found["flagged"], found["samples"])


def sample(
    contest: Contest, row: Row, options: dict[str, Any], runner: Runner, place: Path
) -> None:
    """Sample the images of a row that its folder does not have."""
    if row.rival:
        assert row.model is not None
        out, number = place / row.name, runner.count(row.count)
        sample_rival(contest, row.model, options, number, runner, place, out)
        return
    count = ["--count", runner.count(row.count), "--out", place / row.name]
    if row.base is None:
        runner.adm("sample", row.model, *flags(options), *proportions(contest, place), *count)
        return
    (base,) = (each for each in contest.rows if each.name == row.base)
    sample(contest, base, results_costs.without_upsampler(options), runner, place)
    runner.adm("sample", options["upsampler"], "--condition", place / base.name, *count)


def flags(options: dict[str, Any]) -> list[object]:
    """Return the options as `adm sample` takes them."""
    return [
        part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)
    ]


def accuracy(contest: Contest, row: Row, runner: Runner, place: Path) -> Score:
    """Return the share of a row's samples that the judge assigns to their classes."""
    judge = load_classifier(contest.judge)
    labels = labels_of(contest, place, judge.classes, runner.count(row.count))
    return judge_accuracy(judge, row.name, place / row.name, place, labels)


OTHERS = {"accuracy": accuracy, "copies": copies}  # scores of the judge beside its report


def labels_of(contest: Contest, place: Path, classes: Sequence[str], count: int) -> list[int]:
    """Return the labels of the images of a row, those that `adm sample` gives them."""
    if contest.proportional:
        return labels_like(str(place / LABELS), None, classes, count)
    return balanced_labels(range(len(classes)), count)


if __name__ == "__main__":
    main()
