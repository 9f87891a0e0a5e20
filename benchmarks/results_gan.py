"""A row's rival in baselines/ -> its sample folder, the points of its truncation, its cost.

Of `adm` it has only the data and the scores.
"""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from results_plan import BASELINES
from safetensors import safe_open

from adm.scoring import load_report, title
from adm.store.files import new_file, write_json
from adm.store.hashes import sha256

CALLS = {"network": 1, "classifier": 0}  # of an image


def words(weights: str, labels: list[int], options: dict[str, Any], out: Path) -> list[object]:
    """Return the command that samples these labels; they are in a file, as there may be many."""
    file = out.with_name(f"{out.name}.labels.npy")
    with new_file(file) as new, new.open("wb") as open_file:
        np.save(open_file, np.array(labels))
    more = [part for key, value in options.items() for part in (f"--{key}", value)]
    program = BASELINES / f"{program_of(weights)}.py"
    return [program, "sample", weights, "--labels", file, *more, "--out", out]


def point(truncation: float, reports: list[Path]) -> dict[str, Any]:
    """Return a point in the form of `adm sweep`, from reports of `adm evaluate`."""
    scores = {
        title(key, report.features): score.to_json()
        for report in map(load_report, reports)
        for key, score in report.scores.items()
    }
    return {
        "name": f"truncation-{truncation:g}",
        "settings": {"truncation": truncation},
        "calls_per_image": CALLS,
        "scores": scores,
    }


def store_points(out: Path, weights: str, points: list[dict[str, Any]]) -> None:
    """Write the report of a sweep, as `adm sweep` does."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", {"manifest": made(weights), "points": points})


def made(weights: str) -> dict[str, Any]:
    """Return what a row and a sweep record of the model: the file and its hash."""
    return {"model": {"file": Path(weights).name, "sha256": sha256(Path(weights))}}


def classes_of(weights: str) -> tuple[str, ...]:
    return tuple(facts_of(weights)["classes"])


def facts_of(weights: str) -> dict[str, Any]:
    """Return what the file of weights states of its training."""
    facts: dict[str, Any] = load_program(program_of(weights)).Config.load(Path(weights))[1]
    return facts


def effort(weights: str) -> tuple[float | None, int]:
    """Return the core-hours of training, None if the file has none, and the parameters."""
    program = load_program(program_of(weights))
    _, facts, config = program.Config.load(Path(weights))
    seconds = facts.get("seconds")
    hours = None if seconds is None else seconds / 3600
    return hours, sum(each.numel() for each in program.Generator(config).parameters())


def timed(weights: str, options: dict[str, Any], count: int) -> Callable[[], float]:
    """Return a function that samples some images and returns the milliseconds of one.

    The statistics of the truncation are measured before, as they serve any number of images.
    """
    limit = options.get("truncation")
    program = load_program(program_of(weights))
    generator, classes = program.open_generator(Path(weights), torch.device("cpu"), limit)
    labels = [i % len(classes) for i in range(count)]

    def call() -> float:
        started = time.perf_counter()
        load_program("rival").sample(generator, labels, limit)
        return 1e3 * (time.perf_counter() - started) / count

    return call


def program_of(weights: str) -> str:
    """Return the program of weights, by whose name they hold its settings."""
    with safe_open(weights, "pt") as file:
        (name,) = file.metadata()
    return str(name)


def load_program(name: str) -> ModuleType:
    if str(BASELINES) not in sys.path:
        sys.path.append(str(BASELINES))
    return importlib.import_module(name)
