"""GANModel, truncations -> TruncationSweep: its points, as those of a sweep of guidance scales."""

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from adm.adversarial import LatentSampling
from adm.adversarial.sampling import changed
from adm.app.study.plan import Point, Sweep, check_values
from adm.generation.gan import GANGenerator
from adm.generation.job import Job
from adm.models.gan import GANModel

TRUNCATION = "truncation"  # the setting that varies
WAY = "gan"  # what a point has in place of the name of a sampler


@dataclass(frozen=True, eq=False)
class TruncationSweep:
    """A GAN at several truncations of its noise, each of which is a point.

    Attributes:
        base: the settings that all points share.
        labels: (count,) one label per image; None for a model without classes.
        count: images per point.
        scales: the truncations.
    """

    model: GANModel
    base: LatentSampling
    labels: list[int] | None
    count: int
    scales: tuple[float, ...]

    axis = TRUNCATION
    classifier = None
    weak = None
    by_classifier = False
    samplers = (WAY,)
    steps = (1,)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the labels."""
        return GANGenerator(self.model, self.base).classes

    @property
    def told(self) -> bool:
        """Whether the model is told the labels."""
        return bool(self.classes)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all points share, as JSON values."""
        return asdict(self.base)

    @property
    def points(self) -> list[Point]:
        """All points, in the order of their truncations."""
        return [Point(WAY, 1, limit, TRUNCATION) for limit in self.scales]

    def job(self, point: Point) -> Job:
        """Return the job of one point."""
        generator = GANGenerator(self.model, changed(self.base, truncation=point.scale))
        return Job(generator, self.labels, self.count)

    def check(self) -> None:
        """Raise ValueError if any point cannot be sampled or scored."""
        check_values({"scales": self.scales}, self.count)
        for point in self.points:
            self.job(point)


AnySweep: TypeAlias = Sweep | TruncationSweep
