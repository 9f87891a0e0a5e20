"""Shipped models -> the tables and figures of docs/results.md.

    python benchmarks/results.py --out out/results
    python benchmarks/results.py --out out/results --only fashion --processes 2

Samples every row and scores it by the commands of `adm`, which it prints; what an interrupted call
has finished is not done again. --rehearse N takes N images a row, to try the whole of it.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import compared
import results_page
import torch
from results_plan import BEST, SCALES, SWEPT, TRUNCATIONS, Contest, Row, contests

import adm
from adm.evaluation import Score, load_report
from adm.evaluation.manifest import versions
from adm.files import write_json
from adm.generation.gan_pipeline import GANPipeline
from adm.generation.pipeline import Pipeline
from adm.models.described import described as described_model
from adm.models.load import load_classifier
from adm.models.paths import resolve
from adm.processor import described
from adm.sweep.plan import balanced
from adm.sweep.scoring import judge_accuracy

ROUNDS = 5  # of timings, of which the first is not counted
BLOCKS = {True: 16, False: 64}  # images of a timing, by whether the row has many steps
MANY = 100  # network calls

AnyPipeline: TypeAlias = Pipeline | GANPipeline


@dataclass(frozen=True)
class Runner:
    """Where and how the commands are run."""

    out: Path
    processes: int
    rehearsal: int | None

    def count(self, wanted: int) -> int:
        return wanted if self.rehearsal is None else min(wanted, self.rehearsal)

    def adm(self, *arguments: object) -> None:
        """Print a command, and run it in as many processes as were asked for."""
        words = [str(each) for each in arguments]
        print(f"$ adm {shlex.join(words)}", flush=True)
        several = ["torch.distributed.run", "--standalone", "--nproc-per-node", self.processes]
        launcher = [*map(str, several), "-m", "--"] if self.processes > 1 else []
        each = max(1, (os.cpu_count() or 1) // self.processes)
        own = {"OMP_NUM_THREADS": str(each), "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, "-m", *launcher, "adm", *words]
        subprocess.run(command, check=True, env=os.environ | own)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("out/results"))
    parser.add_argument("--only", choices=list(contests()))
    parser.add_argument("--processes", type=int, default=1, help="that share the images")
    parser.add_argument("--rehearse", type=int, metavar="N")
    parser.add_argument("--docs", type=Path, help="folder of results.md and images/ to write to")
    given = parser.parse_args()
    runner = Runner(given.out, given.processes, given.rehearse)
    for name, contest in contests().items():
        if given.only in (None, name):
            results_page.write(measured(contest, runner), contest, runner.out / name, given.docs)


def measured(contest: Contest, runner: Runner) -> dict[str, Any]:
    """Sample, score and time all rows; return what the page shows of them."""
    place = runner.out / contest.name
    place.mkdir(parents=True, exist_ok=True)
    references(contest, runner, place)
    sweeps(contest, runner, place)
    found = {}
    for row in contest.rows:
        options = resolved(row.options, place, contest.features[0])
        score(contest, row, options, runner, place)
        found[row.name] = {
            "scores": scores(contest, row, place),
            "options": options,
            "count": _counted(report(place, row, contest.features[0])),
        }
    pictures(contest, runner, place)
    pipelines = {row.name: opened(row) for row in contest.rows if row.model is not None}
    clock(pipelines, found, place)
    for name, pipeline in pipelines.items():
        found[name] |= costs(pipeline, found[name]["options"])
    return found


def references(contest: Contest, runner: Runner, place: Path) -> None:
    """Compute the reference of each of the features at each size."""
    for features in contest.features:
        for size in dict.fromkeys(row.size for row in contest.rows):
            if features == contest.judge and size == 64:
                continue  # a classifier knows images of one size
            out = reference(place, features, size)
            if not out.exists():
                sized = [] if size is None else ["--size", size]
                split = ["--split", contest.split, "--features", features]
                runner.adm("reference", contest.data, *split, *sized, "--out", out)


def reference(place: Path, features: str, size: int | None) -> Path:
    return place / f"{features}{'' if size is None else f'-{size}'}.npz"


def sweeps(contest: Contest, runner: Runner, place: Path) -> None:
    """Sweep the GAN's truncation and the guidance scale."""
    files = [reference(place, each, contest.rows[0].size) for each in contest.features]
    for name, model, axis, values in (
        ("truncation", contest.gan, "truncation", TRUNCATIONS),
        ("scale", contest.guided, "scale", SCALES),
    ):
        out = place / f"by-{name}"
        if not (out / "report.json").exists():
            spread = ["--axis", axis, "--scales", ",".join(f"{value:g}" for value in values)]
            count = ["--count", runner.count(SWEPT), "--out", out]
            runner.adm("sweep", model, *spread, "--reference", *files, *count)


def resolved(options: dict[str, Any], place: Path, features: str) -> dict[str, Any]:
    """Replace the best truncation by its value, that of the lowest distance in the sweep."""
    if options.get("truncation") != BEST:
        return options
    (swept,) = compared.opened("", str(place / "by-truncation"))
    distances = swept.values("frechet", features)
    best = swept.points[distances.index(min(distances))]
    return options | {"truncation": best["scale"]}


def score(contest: Contest, row: Row, options: dict[str, Any], runner: Runner, place: Path) -> None:
    """Sample a row, unless it is of real images, and evaluate it in each of the features."""
    samples = place / row.name
    if row.model is not None:
        count = ["--count", runner.count(row.count), "--out", samples]
        runner.adm("sample", row.model, *flags(options), *count)
    for features in contest.features:
        against, out = reference(place, features, row.size), report(place, row, features)
        if out.exists() or not against.exists():
            continue
        of = samples if row.model is not None else contest.real
        sized = [] if row.model is not None or row.size is None else ["--size", row.size]
        count = ["--count", runner.count(row.count)] if row.model is None else []
        runner.adm("evaluate", of, "--reference", against, *sized, *count, "--out", out)


def report(place: Path, row: Row, features: str) -> Path:
    return place / f"{row.name}.{features}.json"


def flags(options: dict[str, Any]) -> list[object]:
    """Return the options as `adm sample` takes them."""
    return [
        part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)
    ]


def scores(contest: Contest, row: Row, place: Path) -> dict[str, dict[str, Score]]:
    """Return the scores of a row by each of the features, and the judge's accuracy."""
    found = {
        features: dict(load_report(path).scores)
        for features in contest.features
        if (path := report(place, row, features)).exists()
    }
    if row.model is not None and contest.judge in found:
        judge = load_classifier(contest.judge)
        samples = place / row.name
        count = _counted(report(place, row, contest.judge))
        labels = balanced(range(len(judge.classes)), count)
        found[contest.judge]["accuracy"] = judge_accuracy(judge, row, samples, place, labels)
    return found


def _counted(path: Path) -> int:
    """Return the number of images of a report."""
    return int(load_report(path).manifest["generated"]["count"])


def pictures(contest: Contest, runner: Runner, place: Path) -> None:
    """Compare samples of some classes with each other and with real images."""
    out = place / "compared.html"
    if not out.exists():
        sets = [
            *(place / name for name in contest.compared),
            contest.data,
            "--split",
            contest.split,
        ]
        how = ["--class", contest.classes, "--features", contest.features[0]]
        files = ["--picture", place / "compared.png", "--out", out]
        runner.adm("compare", *sets, *how, *files)


def clock(pipelines: dict[str, AnyPipeline], found: dict[str, Any], place: Path) -> None:
    """Add the milliseconds of an image of each row; the rows take turns.

    On one thread, which other work on the machine disturbs least.
    """
    file = place / "times.json"
    if not file.exists():
        torch.set_num_threads(1)
        calls = {name: timed(each, found[name]["options"]) for name, each in pipelines.items()}
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                taken[name].append(call())
        write_json(
            file,
            {
                "processor": described(),
                "versions": versions(),
                "ms": {name: values[1:] for name, values in taken.items()},
            },
        )
    held = json.loads(file.read_text("utf-8"))
    for name, values in held["ms"].items():
        found[name]["ms"] = statistics.quantiles(values, n=4)
    found["times"] = {key: held[key] for key in ("processor", "versions")}


def timed(pipeline: AnyPipeline, options: dict[str, Any]) -> Callable[[], float]:
    """Return a function that samples some images and returns the milliseconds of one."""
    own = without_upsampler(options)
    count = BLOCKS[own.get("steps", 0) >= MANY]
    labels = balanced(range(len(pipeline.classes)), count)

    def call() -> float:
        started = time.perf_counter()
        pipeline.sample(labels, **own)
        return 1e3 * (time.perf_counter() - started) / count

    return call


def without_upsampler(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of sampling: an upsampler is part of the pipeline."""
    return {key: value for key, value in options.items() if key != "upsampler"}


def opened(row: Row) -> AnyPipeline:
    assert row.model is not None
    kind = described_model(resolve(row.model))
    gan = kind is not None and kind.kind == "gan"
    return (adm.load_gan if gan else adm.load)(row.model, upsampler=row.options.get("upsampler"))


def costs(pipeline: AnyPipeline, options: dict[str, Any]) -> dict[str, Any]:
    """Return the network calls of an image, and the images of training with their repetitions."""
    model = pipeline.model
    return {
        "calls": asdict(pipeline.job(count=1, **without_upsampler(options)).cost),
        "trained": model.trained_steps * model.recipe.train.batch_size,
    }


if __name__ == "__main__":
    main()
