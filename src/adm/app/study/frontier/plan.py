"""Models, settings, points -> Candidates, the plan of a frontier; those of a few images."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adm.app.study.frontier.point import Point
from adm.app.study.plan import job_of
from adm.diffusion import FIXED_SMALL, X_0, Parameterization, denoiser
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.job import Job
from adm.generation.precision import AUTO
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import Sampling
from adm.samplers.words import changed


@dataclass(frozen=True, eq=False)
class Candidates:
    """The points of a frontier; all are sampled from the same noise, with the same labels.

    Attributes:
        base: the settings that all points share.
        labels: (count,) one label per image; None for a model without classes.
        count: images per point.
        points: at least one.
        auto_precision: whether their precision was chosen as the fastest on the machine.
    """

    model: DiffusionModel
    classifier: ClassifierModel | None
    base: Sampling
    labels: list[int] | None
    count: int
    points: list[Point]
    auto_precision: bool = False

    def job(self, point: Point) -> Job:
        """Return the job of one point."""
        return job_of(self, self.sampling(point))

    def sampling(self, point: Point) -> Sampling:
        """Return the settings of one point."""
        return changed(self.base, **point.settings)

    def of(self, points: Sequence[Point], count: int | None = None) -> "Candidates":
        """Return the same plan for other points, and for its first `count` images."""
        number = self.count if count is None else min(count, self.count)
        labels = None if self.labels is None else self.labels[:number]
        return replace(self, points=list(points), labels=labels, count=number)


def possible(plan: Candidates, asked: Collection[str] = ()) -> tuple[Candidates, dict[Point, str]]:
    """Return the plan without the points that cannot be sampled, and the reason for each.

    Precisions of the points that remain are those that they are sampled in, where `auto` is given.
    Of settings that were not asked for, a value that is in no point is no reason to say more.

    Args:
        asked: names of the settings whose values a user has listed.

    Raises:
        ValueError: no point can be sampled, or none with a value that was listed; the reason.
    """
    reasons: dict[Point, str] = {}
    settled: dict[Point, None] = {}
    for point in plan.points:
        try:
            made = plan.job(point).generator
        except ValueError as error:
            reasons[point] = str(error)
        else:
            assert isinstance(made, DiffusionGenerator)
            settled[replace(point, precision=made.sampling.precision)] = None
    good = [point for point in plan.points if point not in reasons]
    absent = {
        point: [name for name, value in point.settings.items() if not _has(good, name, value)]
        for point in reasons
    }
    for point, names in absent.items():
        if not good or any(name in asked for name in names):
            raise ValueError(reasons[point])
    auto = all(point.precision == AUTO for point in plan.points)
    usable = replace(plan.of([*settled]), auto_precision=auto)
    return usable, {point: reasons[point] for point in reasons if not absent[point]}


def _has(points: Sequence[Point], name: str, value: object) -> bool:
    return any(point.settings[name] == value for point in points)


def draws_noise(job: Job) -> bool:
    """Return whether images depend on more noise than they start from.

    The sampler is run twice on one black pixel, without networks and with different noise.
    """
    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    sampler, schedule = generator.sampling.sampler, generator.schedule
    black = denoiser(
        lambda x_t, _: torch.zeros_like(x_t), schedule, Parameterization(X_0, FIXED_SMALL)
    )

    def visited(value: float) -> Tensor:
        pixel = torch.zeros(1, 1, 1, 1)
        drawn = torch.full_like(pixel, value)
        states = sampler(black, pixel, schedule, lambda *_: drawn)
        return torch.cat([state.x for state in states])

    return not torch.equal(visited(0.0), visited(1.0))
