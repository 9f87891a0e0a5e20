"""Study, Scoring -> Frontier: every point on few images, those that are near the frontier on all.

Every measurement is saved as soon as it exists, so that the same call resumes after an
interruption. The main rank measures all seconds, while the others wait; all other work is shared.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from adm.app.notices import notice
from adm.app.processor import described
from adm.app.scoring import Score
from adm.app.study.frontier.choose import factor, select_promising
from adm.app.study.frontier.stored import Distance, Frontier, Measured, Seconds
from adm.app.study.kept import Kept
from adm.app.study.run import OnEvaluations, Result, evaluations, run, share
from adm.app.study.scoring import Scoring
from adm.app.study.study import SAMPLES, Point, Study, Value, sample_point
from adm.cached import Cached
from adm.generation.folder import images_of
from adm.generation.generator import Cost, OnStep
from adm.generation.job import Job
from adm.images import to_float
from adm.processes import Devices
from adm.shown import exactly

DISTANCE = "frechet"
REPEATS = 3  # measurements of the seconds of one point
TRIALS, CONVERGED = "trials", "converged"  # in the frontier folder
CONVERGED_SETTINGS: dict[str, Value] = {"sampler": "heun", "precision": "float32"}
CONVERGED_STEPS = 50
SAME_TIME = ("scale", "steps", "grid")  # change no operation of a step

Times = tuple[Seconds, ...]  # of an image, measured several times
Bar = Callable[[str, float], AbstractContextManager[OnEvaluations | None]]


@dataclass(frozen=True)
class _Error:
    """Root mean square error of the first images; None if they were NaN or infinite."""

    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


@dataclass(frozen=True, eq=False)
class Trial:
    """The first pass: every point on few images.

    Attributes:
        study: the points; their images are those of the second pass.
        last: noisiest level of the model, of which the converged images visit at most 50.
        count: images from which errors are computed.
        out: the frontier folder, whose measurements of the same kind are taken.
        devices: the ranks, all of which must call `measure`.
    """

    study: Study
    last: int
    count: int
    out: Path
    devices: Devices

    def measure(self, on: OnEvaluations | None = None) -> list[Measured]:
        """Measure all points; return them in their order, without distances.

        Args:
            on: called with a number of network evaluations, one image each, and the name of the
                point.
        """
        self.devices.once(lambda: self._time_all(on))
        self.devices.each(lambda: self._converge(on))
        self.devices.each(lambda: self._compare_all(on))
        return self.devices.once(lambda: [*map(self._measured, self.study.points)])

    @property
    def evaluations(self) -> int:
        """Network evaluations of this rank, one image each."""
        mine = [*share(self._few, self.devices), *share(self._targets, self.devices)]
        timed = self.timed.values() if self.devices.main else []
        blocks = [_block_evaluations(self.study.job(point)) for point in timed]
        return sum(self._few.job(point).evaluations for point in mine) + REPEATS * sum(blocks)

    @cached_property
    def timed(self) -> dict[tuple[object, ...], Point]:
        """One point for each combination of settings on which the time depends."""
        return {self._key(point): point for point in reversed(self.study.points)}

    @property
    def untimed(self) -> bool:
        """Whether the seconds of any point are still to be measured."""
        return any(len(self._times(point).read() or ()) < REPEATS for point in self.timed.values())

    @cached_property
    def _few(self) -> Study:
        return self.study.of(self.study.points, self.count)

    @cached_property
    def _targets(self) -> Study:
        targets = map(self._target, self.study.points)
        return self._few.of(list(dict.fromkeys(targets)))

    def _target(self, point: Point) -> Point:
        """Return the point whose images stand for the converged ones."""
        settings = CONVERGED_SETTINGS | {"steps": min(CONVERGED_STEPS, self.last)}
        settings |= {"grid": "even", "scale": point.settings.get("scale", 0.0)}
        return Point(tuple(settings.items()))

    def _key(self, point: Point) -> tuple[object, ...]:
        others = [pair for pair in point.values if pair[0] not in SAME_TIME]
        return (*others, self.study.job(point).cost)

    def _time_all(self, on: OnEvaluations | None) -> None:
        """Measure the seconds of all points in turn, so that a disturbance meets all alike."""
        warm: set[Cost | bool] = set()
        for turn in range(REPEATS):
            for point in self.timed.values():
                job, kept, tell = self.study.job(point), self._times(point), _callback(on, point)
                had = kept.read() or ()
                if len(had) > turn:
                    tell(Cached(_block_evaluations(job)))
                    continue
                if (guided := bool(job.cost.classifier)) not in warm:
                    seconds_of(job)  # loads kernels
                    warm.add(guided)
                kept.write([*had, seconds_of(job, tell)])

    def _times(self, point: Point) -> Kept[Times]:
        made = self.study.job(point).generator.manifest()
        of = {"made": made, "machine": machine_of(self.devices.device)}
        return Kept(self.out / TRIALS / f"{point.name}.time.json", of, Times)

    def _converge(self, on: OnEvaluations | None) -> None:
        for point in share(self._targets, self.devices):
            sample_point(self._targets, point, self.out / CONVERGED, on_step=_callback(on, point))

    def _compare_all(self, on: OnEvaluations | None) -> None:
        for point in share(self._few, self.devices):
            job, tell = self._few.job(point), _callback(on, point)
            kept = self._error(point)
            if kept.read() is not None:
                tell(Cached(job.evaluations))
                continue
            error = self._compared(job, point, tell)
            kept.write({"error": error})

    def _compared(self, job: Job, point: Point, tell: Callable[[int], None]) -> float | None:
        try:
            images = job.generator.images(job.label_tensor, range(job.count), on_step=tell)
        except FloatingPointError:
            return None
        wanted = images_of(self.out / CONVERGED / SAMPLES / self._target(point).name)
        difference = to_float(images) - to_float(wanted)
        return float(difference.square().mean().sqrt())

    def _error(self, point: Point) -> Kept[_Error]:
        target = self._targets.job(self._target(point))
        of = {"made": self._few.job(point).manifest(), "converged": target.manifest()}
        return Kept(self.out / TRIALS / f"{point.name}.error.json", of, _Error)

    def _measured(self, point: Point) -> Measured:
        """Read what is stored of a point, after all ranks have stored it."""
        seconds = self._times(self.timed[self._key(point)]).read()
        error = self._error(point).read()
        assert seconds is not None
        assert error is not None
        cost = self.study.job(point).cost
        return Measured(
            settings=point.settings,
            seconds=statistics.median(seconds),
            low=min(seconds),
            high=max(seconds),
            network=cost.network,
            classifier=cost.classifier,
            error=error.error,
            distances={},
        )


def drop_impossible(
    study: Study, listed: Collection[str] = ()
) -> tuple[Study, dict[Point, ValueError]]:
    """Return the study without the points that cannot be sampled, and the reason for each.

    Args:
        listed: names of the settings whose values a user has listed: one that is in no point that
            can be sampled is refused.

    Raises:
        ValueError: no point can be sampled, or none with a value that was listed.
    """
    reasons: dict[Point, ValueError] = {}
    for point in study.points:
        try:
            study.job(point)
        except ValueError as error:
            reasons[point] = error
    good = [point for point in study.points if point not in reasons]
    for point, reason in reasons.items():
        absent = {each for each in point.values if not any(each in one.values for one in good)}
        if not good or any(name in listed for name, _ in absent):
            raise reason
    return study.of(good), reasons


def machine_of(device: torch.device) -> str:
    """Return what the speed of a network on this device depends on."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = described() if device.type == "cpu" else f"{described()}, {device.type}"
    threads = torch.get_num_threads()
    return f"{name}, {threads} thread{'s' if threads > 1 else ''}, torch {torch.__version__}"


def seconds_of(job: Job, on_step: OnStep | None = None) -> float:
    """Sample one whole block of a job; return the seconds an image.

    The first call of a process also loads kernels, and is to be ignored.
    """
    size = job.generator.block
    labels = job.label_tensor
    if labels is not None:
        labels = labels[torch.arange(size) % len(labels)]
    started = time.perf_counter()
    job.generator.images(labels, range(size), on_step=on_step)
    return (time.perf_counter() - started) / size


def slower(job: Job, before: float) -> float:
    """Return the seconds that sampling takes here for one second of an earlier measurement.

    Args:
        job: of the point that was measured.
        before: its seconds an image.
    """
    seconds_of(job)  # loads kernels
    return statistics.median(seconds_of(job) for _ in range(REPEATS)) / before


def load_note() -> str | None:
    """Return a sentence on other processes that slow the timings down; None if there are none."""
    if not hasattr(os, "getloadavg"):  # not on Windows
        return None
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.5 * cores:
        return None
    return (
        f"Other processes were running when the timings were started (load {load:.1f} on {cores} "
        "cores), which makes them longer and less certain."
    )


def find_frontier(
    trial: Trial, scoring: Scoring, *, keep: int, batch_size: int, bar: Bar
) -> Frontier | None:
    """Measure all points on few images, and those near the frontier on all.

    Args:
        scoring: how images are scored; the first features decide what is best.
        keep: points of each scale that are sampled in full, unless its frontier has more.
        batch_size: images per call of a network of features, and sampled between two saves.
        bar: title, network evaluations -> context whose value is called as they are done.

    Returns:
        The frontier on the main rank; None on the others.

    Raises:
        SettingError: the folder holds samples of other settings.
        ValueError: it holds images that cannot be scored.
    """
    study, out, devices = trial.study, trial.out, trial.devices
    scoring.check(study.model.shape)
    load = devices.once(lambda: load_note() if trial.untimed else None)
    with bar("first pass", trial.evaluations) as on:
        measured = trial.measure(on)
    full = select_points(measured, keep)
    if devices.main:
        for note in describe_left_out(measured, [one.point for one in full]):
            notice(note)
    second = study.of([one.point for one in full])
    with bar("sampling and scoring", evaluations(second, scoring, devices)) as on:
        result = run(
            second, scoring, out, devices=devices, batch_size=batch_size, on_evaluations=on
        )
    return None if result is None else _collected(trial, measured, result, load)


def select_points(measured: Sequence[Measured], keep: int) -> list[Measured]:
    """Return the points that are sampled in full: those promising at each scale."""
    scales = dict.fromkeys(each.scale for each in measured)
    alike = [[one for one in measured if one.scale == scale] for scale in scales]
    return [one for points in alike for one in select_promising(points, keep)]


def describe_left_out(measured: Sequence[Measured], full: Sequence[Point]) -> list[str]:
    """Return a sentence for each scale on the points that are not sampled in full."""
    sentences = []
    for scale in dict.fromkeys(each.scale for each in measured):
        alike = [each for each in measured if each.scale == scale]
        left = [each for each in alike if each.point not in full]
        parts = [
            f"Scale {exactly(scale)}: {len(alike) - len(left)} of {len(alike)} points are sampled "
            "in full"
        ]
        factors = [factor(each, alike) for each in left if each.error is not None]
        if factors:
            are = "is" if len(factors) == 1 else "are"
            parts.append(
                f"{len(factors)} {are} left out, whose error is {min(factors):.2f} times or more "
                "the lowest of all that are as fast"
            )
        if diverged := len(left) - len(factors):
            parts.append(f"{diverged} gave NaN or infinity")
        sentences.append("; ".join(parts) + ".")
    return sentences


def _collected(
    trial: Trial, measured: Sequence[Measured], result: Result, load: str | None
) -> Frontier:
    """Return the frontier of both passes."""
    place = {point: i for i, point in enumerate(result.study.points)}

    def distances(point: Point) -> dict[str, Distance]:
        scores = {each.network: each.scores[place[point]][DISTANCE] for each in result.networks}
        return {name: _distance(score) for name, score in scores.items()}

    points = [
        replace(each, distances=distances(each.point)) if each.point in place else each
        for each in measured
    ]
    guide = result.manifest.get("classifier")
    return Frontier(
        model=result.manifest["model"]["sha256"],
        classifier=None if guide is None else guide["sha256"],
        machine=machine_of(trial.devices.device),
        shared=dict(trial.study.base),
        count=trial.study.count,
        trial_count=trial.count,
        features=tuple(network.network for network in result.networks),
        points=tuple(points),
        notes=tuple(([load] if load else []) + result.notes),
    )


def _distance(score: Score) -> Distance:
    low, high = (x if math.isfinite(x) else None for x in (score.low, score.high))
    return Distance(score.value, low, high)


def _block_evaluations(job: Job) -> int:
    return job.generator.evaluations * job.generator.block


def _callback(on: OnEvaluations | None, point: Point) -> Callable[[int], None]:
    return lambda amount: None if on is None else on(amount, point.name)
