"""Sets of features -> Score: what a metric is, what it may use, and what it returns."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

from adm.metrics.bootstrap import RESAMPLES
from adm.metrics.moments import Statistics

INCEPTION, CLIP = "inception", "clip"  # features with titles of their own, such as FID

T = TypeVar("T")


class Score(NamedTuple):
    """A score and its 95% interval.

    Attributes:
        value: the score.
        low, high: the interval for equally many other samples of the same generator against the
            same reference; NaN if it is unknown.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        """Return the fields by name; NaN becomes None, because JSON has no NaN."""
        return {key: x if math.isfinite(x) else None for key, x in self._asdict().items()}

    @property
    def bounded(self) -> bool:
        """Whether the interval is known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def apart(self, other: "Score") -> bool:
        """Whether the two intervals do not overlap; False if one is unknown."""
        return self.low > other.high or self.high < other.low

    def parts(self, column: Sequence["Score"] = ()) -> tuple[str, str]:
        """Return the value and the interval as texts; an unknown interval is an empty one.

        Args:
            column: scores that are shown with the same number of decimals, which shows two digits
                of the width of the narrowest interval; by default this score alone.
        """
        alike = column or [self]
        large = any(abs(each.value) >= 1e6 for each in alike)
        form = ".2e" if large else f".{_decimals(alike)}f"
        value, low, high = (f"{x:{form}}" for x in self)
        return value, f"{low} to {high}" if self.bounded else ""

    def text(self, column: Sequence["Score"] = ()) -> str:
        """Return the value with its interval, such as `4.71 (4.22 to 5.20)`; see `parts`."""
        value, interval = self.parts(column)
        return f"{value} ({interval})" if interval else value


def _decimals(scores: Sequence[Score]) -> int:
    """Return the decimals of two digits of the narrowest interval, or of four of a bare value."""
    widths = [each.high - each.low for each in scores if each.high > each.low]
    if widths:
        return max(0, min(6, 1 - math.floor(math.log10(min(widths)))))
    values = [abs(each.value) for each in scores if each.value and math.isfinite(each.value)]
    return max(0, min(6, 3 - math.floor(math.log10(max(values))))) if values else 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Sets:
    """N generated and M real images, as metrics see them.

    Attributes:
        fake: (N, D) features of the generated images.
        real: (M, D) features of real images; None if only their statistics are known.
        fake_statistics, real_statistics: of the features of all images of each side.
        spatial: (N, S) spatial features of the generated images, or None.
        fake_spatial, real_spatial: statistics of the spatial features of each side, or None.
        logits: (N, K) of the generated images, or None.
        stored: whether the statistics of the generated images are stated by a file, in which case
            their spread over other images is unknown.
        real_distances: (M, k) `neighbour_distances` of `real`, if they are known.
        resamples: of a bootstrap.
        seed: of resamples, and of subsets of the images.
        device: computes the distances between features; it affects no score.
    """

    fake: np.ndarray
    real: np.ndarray | None = None
    fake_statistics: Statistics
    real_statistics: Statistics
    spatial: np.ndarray | None = None
    fake_spatial: Statistics | None = None
    real_spatial: Statistics | None = None
    logits: np.ndarray | None = None
    stored: bool = False
    real_distances: np.ndarray | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    device: str = "cpu"
    _cache: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self, compute: Callable[["Sets"], T]) -> T:
        """Return what a function computes of these sets, which several metrics may share."""
        if compute not in self._cache:
            self._cache[compute] = compute(self)
        return self._cache[compute]

    def more_than(self, images: int) -> bool:
        """Whether both sets have features of more images than this."""
        return self.real is not None and min(len(self.fake), len(self.real)) > images


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A way to score generated images against real ones; `table.METRICS` has all of them.

    Attributes:
        key: in reports and in Python.
        title: to which the name of the features is added.
        of_inception, of_clip: the title with Inception's or CLIP's features, which needs no name of
            theirs; None for `title`.
        lower_is_better: whether a lower score is better, or a higher one.
        score: computes the score of sets; None if they lack what it needs, or are too small.
    """

    key: str
    title: str
    of_inception: str | None = None
    of_clip: str | None = None
    lower_is_better: bool
    score: Callable[[Sets], Score | None]
