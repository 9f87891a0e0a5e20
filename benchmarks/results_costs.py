"""Rows of a Contest -> the time, the network calls, the parameters and the core-hours of each."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import results_gan
import torch
from results_plan import Contest, Row
from results_scores import machine, times_file

import adm
from adm.app.study.study import balanced_labels
from adm.generation.pipeline import Pipeline
from adm.models.trained import TrainedModel
from adm.networks.shapes import parameters_of
from adm.store.files import write_json

ROUNDS = 5  # of timings, of which the first is not counted
BLOCKS = {True: 16, False: 64}  # images of a timing, by whether the row has many steps
MANY = 100  # network calls


def add(measured: dict[str, Any], contest: Contest, place: Path) -> None:
    """Add the cost of sampling to each row that was sampled; the times only if they are known."""
    for row in contest.rows:
        if row.name in measured and row.model is not None:
            own = measured[row.name]
            if row.rival:
                assert row.model is not None
                hours, parameters = results_gan.effort(row.model)
                own |= {"calls": results_gan.CALLS, "parameters": parameters}
                own["core_hours"] = hours or contest.core_hours[Path(row.model).stem]
                continue
            settings = without_upsampler(own["options"])
            pipeline = opened(row)
            models = used(pipeline, settings)
            own |= costs(pipeline, settings)
            own["parameters"] = sum(parameters_of(each.recipe.config) for each in models)
            own["core_hours"] = sum(contest.core_hours[each.name] for each in models)
    file = times_file(place)
    if file.exists():
        stored = json.loads(file.read_text("utf-8"))
        for name, values in stored["ms"].items():
            if name in measured:
                measured[name]["ms"] = statistics.quantiles(values, n=4)
        measured["times"] = {key: stored[key] for key in ("processor", "versions")}


def clock(contest: Contest, measured: dict[str, Any], place: Path) -> None:
    """Measure the milliseconds of an image of each row that has no times; the rows take turns.

    On one thread, which other work on the machine disturbs least. Times of another machine, or of
    other versions, are measured again.
    """
    here, file = machine(), times_file(place)
    stored = json.loads(file.read_text("utf-8")) if file.exists() else {}
    known = stored["ms"] if here.items() <= stored.items() else {}
    rows = [
        row
        for row in contest.rows
        if row.model is not None and row.name in measured and row.name not in known
    ]
    torch.set_num_threads(1)
    calls = {row.name: timed(row, measured[row.name]["options"]) for row in rows}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            taken[name].append(call())
    ms = known | {name: values[1:] for name, values in taken.items()}
    write_json(file, {**here, "ms": ms})


def timed(row: Row, options: dict[str, Any]) -> Callable[[], float]:
    """Return a function that samples some images and returns the milliseconds of one."""
    own = without_upsampler(options)
    count = BLOCKS[own.get("steps", 0) >= MANY]
    if row.rival:
        assert row.model is not None
        return results_gan.timed(row.model, own, count)
    pipeline = opened(row)
    labels = balanced_labels(range(len(pipeline.classes)), count)

    def call() -> float:
        started = time.perf_counter()
        pipeline.sample(labels, **own)
        return 1e3 * (time.perf_counter() - started) / count

    return call


def without_upsampler(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of sampling: an upsampler is part of the pipeline."""
    return {key: value for key, value in options.items() if key != "upsampler"}


def opened(row: Row) -> Pipeline:
    assert row.model is not None
    return adm.load(row.model, upsampler=row.options.get("upsampler"))


def costs(pipeline: Pipeline, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the network calls of an image."""
    return {"calls": asdict(pipeline.job(count=1, **settings).cost)}


def used(pipeline: Pipeline, settings: dict[str, Any]) -> list[TrainedModel[Any, Any]]:
    """Return the models that a row uses."""
    generator = pipeline.generator(**settings)
    models = [pipeline.model, *generator.classifiers, generator.weak, pipeline.upsampler]
    return [each for each in models if each is not None]
