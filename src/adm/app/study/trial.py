"""Study -> Trial: seconds and errors of every point, from few images; those worth scoring in full.

Every measurement is saved as soon as it exists, so that the same call resumes after an
interruption. The main rank measures all seconds, while the others wait; all other work is shared.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from adm.app.notices import notice
from adm.app.study.frontier import Distance, Frontier, Measured, Seconds, by_scale
from adm.app.study.run import MODELS, Result, evaluations, run, share
from adm.app.study.scoring import Scoring
from adm.app.study.study import (
    SAMPLES,
    Bar,
    CacheFile,
    OnEvaluations,
    Point,
    Study,
    Value,
    ignore,
    sample_point,
)
from adm.app.study.timing import REPEATS, load_note, machine_of, seconds_of
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import images_of
from adm.generation.generator import Cost
from adm.generation.job import Job
from adm.images import to_float
from adm.processes import Devices
from adm.shown import exactly

DISTANCE = "frechet"
EQUAL = 1.05  # times that differ by less are equal, as far as repeated measurements tell
TRIALS = "trials"  # in the folder of the study
CONVERGED: dict[str, Value] = {"sampler": "heun", "precision": "float32"}
CONVERGED_STEPS = 50
SAME_TIME = ("scale", "steps", "grid")  # change no operation of a step

Times = tuple[Seconds, ...]  # of an image, measured several times


@dataclass(frozen=True, eq=False)
class Trial:
    """The first pass: every point on few images.

    Attributes:
        study: the points; their images are those of the second pass.
        last: noisiest level of the model, of which the converged images visit at most 50.
        count: images from which errors are computed.
        out: the folder of the study, whose measurements of the same settings are reused.
        devices: the ranks, all of which must call `measure`.
    """

    study: Study
    last: int
    count: int
    out: Path
    devices: Devices

    def measure(self, on: OnEvaluations = ignore) -> list[Measured]:
        """Measure all points; return them in their order, without distances.

        Args:
            on: called with a number of network evaluations, one image each, and the name of the
                point.
        """
        self.devices.once(lambda: self._time_all(on))
        self.devices.each(lambda: self._sample_all(on))
        return self.devices.once(lambda: [*map(self._measured, self.study.points)])

    @property
    def evaluations(self) -> int:
        """Network evaluations of this rank, one image each."""
        mine = sum(self._few.job(p).evaluations for p in share(self._few, self.devices))
        timed = self.timed.values() if self.devices.main else []
        return mine + REPEATS * sum(_block_evaluations(self.study.job(point)) for point in timed)

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
        """Few images of the points, after those that stand for the converged ones."""
        targets = [self._target(point) for point in self.study.points if not self._random(point)]
        return self.study.of(list(dict.fromkeys([*targets, *self.study.points])), self.count)

    def _target(self, point: Point) -> Point:
        """Return the point whose images stand for the converged ones."""
        settings = CONVERGED | {"steps": min(CONVERGED_STEPS, self.last)}
        settings |= {"grid": "even", "scale": point.settings.get("scale", 0.0)}
        return Point(tuple(settings.items()))

    def _random(self, point: Point) -> bool:
        """Whether the steps of a point add noise, so that there are no converged images."""
        generator = self.study.job(point).generator
        return isinstance(generator, DiffusionGenerator) and generator.sampling.sampler.random

    def _key(self, point: Point) -> tuple[object, ...]:
        others = [pair for pair in point.values if pair[0] not in SAME_TIME]
        return (*others, self.study.job(point).cost)

    def _time_all(self, on: OnEvaluations) -> None:
        """Measure the seconds of all points in turn, so that a disturbance meets all alike."""
        warm: set[Cost | bool] = set()
        for turn in range(REPEATS):
            for point in self.timed.values():
                job, cache = self.study.job(point), self._times(point)
                seconds = cache.read() or ()
                if len(seconds) > turn:
                    on(_block_evaluations(job), point.name)
                    continue
                if (guided := bool(job.cost.classifier)) not in warm:
                    seconds_of(job)  # loads kernels
                    warm.add(guided)
                cache.write([*seconds, seconds_of(job, lambda amount, p=point: on(amount, p.name))])

    def _times(self, point: Point) -> CacheFile[Times]:
        manifest = self.study.job(point).generator.manifest()
        inputs = {"made": manifest, "machine": machine_of(self.devices.device)}
        return CacheFile(self.out / TRIALS / f"{point.name}.time.json", inputs, Times)

    def _sample_all(self, on: OnEvaluations) -> None:
        for point in share(self._few, self.devices):
            try:
                sample_point(self._few, point, self.out / TRIALS, on=on)
            except FloatingPointError:
                if point not in self.study.points:
                    raise

    def _place(self, point: Point) -> Path:
        return self.out / TRIALS / SAMPLES / point.name

    def _error(self, point: Point) -> float | None:
        """Return the root mean square error of the first images; None if nothing is compared."""
        if self._random(point) or not self._place(point).exists():
            return None
        images, converged = map(images_of, (self._place(point), self._place(self._target(point))))
        return float((to_float(images) - to_float(converged)).square().mean().sqrt())

    def _measured(self, point: Point) -> Measured:
        """Read the measurements of a point, after all ranks have stored theirs."""
        seconds = self._times(self.timed[self._key(point)]).read()
        assert seconds is not None
        cost = self.study.job(point).cost
        return Measured(
            settings=point.settings,
            seconds=statistics.median(seconds),
            low=min(seconds),
            high=max(seconds),
            network=cost.network,
            classifier=cost.classifier,
            error=self._error(point),
            random=self._random(point) and self._place(point).exists(),
            distances={},
        )


def run_promising(
    trial: Trial, scoring: Scoring, *, keep: int, batch_size: int, bar: Bar
) -> Result | None:
    """Measure all points on few images; sample and score those near the frontier on all.

    Args:
        scoring: how images are scored; the first features decide what is best.
        keep: points of each scale that are sampled in full, unless its frontier has more.
        batch_size: images per call of a network of features, and sampled between two saves.
        bar: title, network evaluations -> context whose value is called as they are done.

    Returns:
        The result of the points that were scored, with the frontier of all, on the main rank; None
        on the others.

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
        for note in describe_left_out(measured, full):
            notice(note)
    second = study.of([one.point for one in full])
    with bar("sampling and scoring", evaluations(second, scoring, devices)) as on:
        result = run(second, scoring, out, devices=devices, batch_size=batch_size, on=on)
    return None if result is None else _with_frontier(result, trial, measured, load)


def select_points(measured: Sequence[Measured], keep: int) -> list[Measured]:
    """Return the points that are sampled in full: those promising at each scale.

    Those are all points on the frontier of time and error, but for those that others of equal time
    beat; then those that are nearest to it by `factor`, up to `keep`; and all points whose steps
    add noise, which only a distance can judge.

    Args:
        measured: after the first pass.
        keep: the number of points of a scale with an error, unless the frontier alone has more.
    """
    chosen: list[Measured] = []
    for points in by_scale(measured).values():
        compared = [one for one in points if one.error is not None]
        ahead = [
            one
            for one in compared  # no other has a lower error in the time, or the same sooner
            if factor(one, compared) <= 1
            and not any(of.error == one.error and of.seconds < one.seconds for of in compared)
        ]
        others = [one for one in compared if one not in ahead]
        others.sort(key=lambda one: (factor(one, compared), one.seconds))
        promising = [*ahead, *others[: max(0, keep - len(ahead))]]
        chosen += [one for one in points if one.random or one in promising]
    return chosen


def factor(point: Measured, points: Sequence[Measured]) -> float:
    """Return the error of a point, divided by the lowest of all that are as fast, or nearly so."""
    if point.error is None:
        return math.inf
    within = EQUAL * point.seconds
    errors = [one.error for one in points if one.seconds <= within and one.error is not None]
    lowest = min(errors)
    return point.error / lowest if lowest else float(point.error > 0) or 1.0


def describe_left_out(measured: Sequence[Measured], full: Sequence[Measured]) -> list[str]:
    """Return a sentence for each scale on the points that are not sampled in full."""
    chosen, sentences = {one.point for one in full}, []
    for scale, alike in by_scale(measured).items():
        left = [one for one in alike if one.point not in chosen]
        parts = [
            f"Scale {exactly(scale)}: {len(alike) - len(left)} of {len(alike)} points are sampled "
            "in full"
        ]
        if random := sum(one.random for one in alike):
            parts.append(f"{random} of them because noise is added, which an error cannot judge")
        factors = [factor(one, alike) for one in left if one.error is not None]
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


def _with_frontier(
    result: Result, trial: Trial, measured: Sequence[Measured], load: str | None
) -> Result:
    """Return the result with the frontier of both passes."""
    networks = [each for each in result.networks if DISTANCE in each.keys]  # a judge has none
    distances = {
        point: {each.network: Distance.of(each.scores[i][DISTANCE]) for each in networks}
        for i, point in enumerate(result.study.points)
    }
    hashes = {kind: result.manifest[kind]["sha256"] for kind in MODELS if kind in result.manifest}
    notes = ([load] if load else []) + result.notes
    frontier = Frontier(
        model=hashes["model"],
        classifier=hashes.get("classifier"),
        weak=hashes.get("weak"),
        machine=machine_of(trial.devices.device),
        shared=dict(trial.study.base),
        count=trial.study.count,
        trial_count=trial.count,
        features=tuple(each.network for each in networks),
        points=tuple(replace(one, distances=distances.get(one.point, {})) for one in measured),
        notes=tuple(notes),
    )
    return replace(result, notes=notes, frontier=frontier)


def _block_evaluations(job: Job) -> int:
    return job.generator.evaluations * job.generator.block
