"""Candidates -> Measured points of the first pass: seconds an image, and the error of few images.

Every measurement is saved as soon as it exists. The main rank measures all seconds, while the
others wait; then the ranks share the points to measure their errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adm.app.study.frontier.kept import Kept
from adm.app.study.frontier.machine import REPEATS, machine_of, seconds_of, timing
from adm.app.study.frontier.plan import Candidates, draws_noise
from adm.app.study.frontier.point import Point
from adm.app.study.frontier.stored import Measured, Seconds
from adm.app.study.plan import SAMPLES, sample_point
from adm.app.study.run import OnEvaluations, share
from adm.cached import Cached
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import images_of
from adm.generation.generate import block_of
from adm.generation.generator import identity
from adm.generation.job import Job
from adm.images import to_float
from adm.processes import Devices
from adm.samplers.words import to_json

TIMINGS, ERRORS, CONVERGED = "timings", "errors", "converged"  # in the frontier folder
CONVERGED_SAMPLER, CONVERGED_STEPS = "heun", 50

Times = tuple[Seconds, ...]


@dataclass(frozen=True)
class Compared:
    """The first images of a point, compared with the converged ones; see `Measured`."""

    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    diverged: bool = False


@dataclass(frozen=True, eq=False)
class Trial:
    """The first pass: every point on few images.

    Attributes:
        plan: the points; their images are those of the second pass.
        converged: for each scale, the point whose images stand for the converged ones.
        count: images from which errors are computed.
        out: the frontier folder, whose measurements of the same kind are taken.
        devices: the ranks, all of which must call `run`.
    """

    plan: Candidates
    converged: Sequence[Point]
    count: int
    out: Path
    devices: Devices

    def run(self, on: OnEvaluations | None = None) -> list[Measured]:
        """Measure all points; return them in their order, without distances.

        Args:
            on: called with a number of network evaluations, one image each, and the name of the
                point.
        """
        self.devices.once(lambda: self._time_all(on))
        self.devices.each(lambda: self._converge(on))
        self.devices.each(lambda: self._compare_all(on))
        found: list[list[Measured]] = []
        self.devices.once(lambda: found.append([*map(self._measured, self.plan.points)]))
        return self.devices.gather(found[0] if found else None)[0]

    @property
    def evaluations(self) -> int:
        """Network evaluations of this rank, one image each."""
        mine = [*share(self._few, self.devices), *share(self._targets, self.devices)]
        timed = self.timed if self.devices.main else []
        blocks = [_block_evaluations(self.plan.job(point)) for point in timed]
        return sum(self._few.job(point).evaluations for point in mine) + REPEATS * sum(blocks)

    @property
    def block(self) -> int:
        """Images of a block, in which seconds are measured."""
        return block_of(self.plan.job(self.plan.points[0]).generator)

    @cached_property
    def timed(self) -> list[Point]:
        """One point for each combination of settings on which the time depends.

        Which levels are visited, and how strong guidance is, changes no operation.
        """
        return list({key: point for point, key in reversed(self._time_keys.items())}.values())

    @property
    def untimed(self) -> bool:
        """Whether the seconds of any point are still to be measured."""
        return any(len(self._times(point).read() or ()) < REPEATS for point in self.timed)

    @cached_property
    def _few(self) -> Candidates:
        return self.plan.of(self.plan.points, self.count)

    @cached_property
    def _targets(self) -> Candidates:
        return self._few.of(self.converged)

    @cached_property
    def _models(self) -> dict[str, Any]:
        guide = self.plan.classifier
        return {
            "model": identity(self.plan.model),
            "classifier": None if guide is None else identity(guide),
        }

    @cached_property
    def _time_keys(self) -> dict[Point, tuple[object, ...]]:
        return {p: (p.sampler, self.plan.job(p).cost, p.precision) for p in self.plan.points}

    def _time_all(self, on: OnEvaluations | None) -> None:
        """Measure the seconds of all points in turn, so that a disturbance meets all alike."""
        warm: set[tuple[bool, str]] = set()
        for _ in range(REPEATS):
            for point in self.timed:
                job, kept, tell = self.plan.job(point), self._times(point), _callback(on, point)
                had = kept.read() or ()
                if len(had) >= REPEATS:
                    tell(Cached(_block_evaluations(job)))
                    continue
                if (kind := (bool(point.scale), point.precision)) not in warm:
                    seconds_of(job)  # loads kernels
                    warm.add(kind)
                kept.write([*had, seconds_of(job, tell)])

    def _times(self, point: Point) -> Kept[Times]:
        machine = machine_of(self.devices.device)
        of = {**self._models, "sampling": self._sampling(point), "machine": asdict(machine)}
        return Kept(self.out / TIMINGS / f"{point.name}.json", of, Times)

    def _converge(self, on: OnEvaluations | None) -> None:
        for point in share(self._targets, self.devices):
            place = self.out / CONVERGED
            sample_point(self._targets, point, place, on_step=_callback(on, point))

    def _compare_all(self, on: OnEvaluations | None) -> None:
        for point in share(self._few, self.devices):
            job, kept, tell = self._few.job(point), self._comparison(point), _callback(on, point)
            if kept.read() is not None:
                tell(Cached(job.evaluations))
            elif draws_noise(job):
                tell(Cached(job.evaluations))
                kept.write(asdict(Compared(None)))
            else:
                kept.write(asdict(self._compared(job, point, tell)))

    def _compared(self, job: Job, point: Point, tell: Callable[[int], None]) -> Compared:
        try:
            images = job.generator.images(job.label_tensor, range(job.count), on_step=tell)
        except FloatingPointError:
            return Compared(None, diverged=True)
        wanted = images_of(self.out / CONVERGED / SAMPLES / self._target(point).name)
        difference = to_float(images) - to_float(wanted)
        return Compared(float(difference.square().mean().sqrt()))

    def _comparison(self, point: Point) -> Kept[Compared]:
        of = {
            **self._models,
            "sampling": self._sampling(point),
            "converged": self._sampling(self._target(point)),
            "labels": self._few.labels,
            "count": self._few.count,
        }
        return Kept(self.out / ERRORS / f"{point.name}.json", of, Compared)

    def _target(self, point: Point) -> Point:
        return next(each for each in self.converged if each.scale == point.scale)

    def _sampling(self, point: Point) -> dict[str, Any]:
        generator = self.plan.job(point).generator
        assert isinstance(generator, DiffusionGenerator)
        return to_json(generator.sampling)  # with the levels, where they are stored with the model

    def _measured(self, point: Point) -> Measured:
        """Read what is stored of a point, after all ranks have stored it."""
        alike = next(p for p in self.timed if self._time_keys[p] == self._time_keys[point])
        seconds, compared = self._times(alike).read(), self._comparison(point).read()
        assert seconds is not None
        assert compared is not None
        cost, timed = self.plan.job(point).cost, timing(seconds)
        error, diverged = compared.error, compared.diverged
        return Measured(point, cost.network, cost.classifier, timed, error, diverged, {})


def converged_points(plan: Candidates) -> list[Point]:
    """Return, for each scale, the point whose images stand for the converged ones."""
    start = plan.base.grid.start or plan.model.schedule.last
    steps = min(CONVERGED_STEPS, start)
    scales = dict.fromkeys(point.scale for point in plan.points)
    return [Point(CONVERGED_SAMPLER, "even", steps, scale, "float32") for scale in scales]


def _block_evaluations(job: Job) -> int:
    return job.generator.evaluations * block_of(job.generator)


def _callback(on: OnEvaluations | None, point: Point) -> Callable[[int], None]:
    return lambda amount: None if on is None else on(amount, point.name)
