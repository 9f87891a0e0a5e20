"""Distances of a run's samples -> how they fall, what to expect of more steps, in words."""

import math
from dataclasses import dataclass

import numpy as np

from adm.metrics.metric import Score
from adm.training.log import Column, Columns
from adm.training.loop import JUDGED

FEWEST, MOST = 3, 6  # scorings that a line is fitted to: the last ones
STUDENT = (12.706, 4.303, 3.182, 2.776)  # 97.5% points of t, of N - 2 = 1 to 4 degrees of freedom
AHEAD = 1000  # steps in which a trend is stated
NOTHING = Column(np.empty(0, np.int64), np.empty(0))
SHRINK = 0.7  # of the slope so far, what is left of it until twice the steps; see howto/watch.md


@dataclass(frozen=True)
class Trend:
    """The least-squares line y = log distance of x = log steps through the last N scorings.

    Attributes:
        last: steps of the last scoring.
        scorings: N.
        x, y: their means.
        slope: of the line.
        spread: the root of the sum of squares of x around its mean.
        error: 97.5% point of the error of one y.
        ends: those of the interval of the last distance, below and above its logarithm.
    """

    last: int
    scorings: int
    x: float
    y: float
    slope: float
    spread: float
    error: float
    ends: tuple[float, float]

    @classmethod
    def of(cls, log: Columns) -> "Trend | None":
        """Fit the last `MOST` scorings; None for fewer than `FEWEST`, or one that is not > 0."""
        name = JUDGED["distance"]
        steps, distances = (each[-MOST:] for each in log.get(name, NOTHING))
        if len(steps) < FEWEST or not (distances > 0).all():  # also where one is not finite
            return None
        x, y = np.log(steps), np.log(distances)
        around, free = ((x - x.mean()) ** 2).sum(), len(x) - 2
        slope = ((x - x.mean()) * y).sum() / around
        residual = y - y.mean() - slope * (x - x.mean())
        error = STUDENT[free - 1] * math.sqrt((residual**2).sum() / free)
        spread = math.sqrt(around)
        now, low, high = (log[name + end].values[-1] for end in ("", "_low", "_high"))
        ends = math.log(now / low) if low > 0 else math.inf, math.log(high / now)
        means = float(x.mean()), float(y.mean())
        return cls(int(steps[-1]), len(x), *means, float(slope), spread, error, ends)

    @property
    def falls(self) -> bool:
        """Whether the distance falls with 95% confidence."""
        return self.slope + self.error / self.spread < 0

    def at(self, steps: int) -> Score:
        """Predict the distance after more steps, with an interval.

        Curves flatten: the interval reaches from the lower end of the line's 95% prediction to the
        upper end at the last scoring, as if nothing more were gained. Both have the error of a
        distance, too.
        """
        (now, near), (line, far) = self._line(self.last), self._line(steps)
        low, high = line - math.hypot(far, self.ends[0]), now + math.hypot(near, self.ends[1])
        return Score(*map(math.exp, (now + SHRINK * (line - now), low, high)))

    def text(self, seconds: float | None = None) -> str:
        """Say how it goes on, such as `still falls 4.0% in 1,000 steps`.

        Args:
            seconds: that a step takes, to say how long it would be; None if that is unknown.
        """
        if not self.falls:
            return f"it does not fall measurably over the last {self.scorings} scorings"
        share = -math.expm1(SHRINK * self.slope * math.log1p(AHEAD / self.last))
        time = "" if seconds is None else f", about {hours(seconds * self.last)}"
        return (
            f"it still falls {share:.1%} in {AHEAD:,} steps; at this rate "
            f"{self.at(2 * self.last).text()} after {2 * self.last:,} steps{time}"
        )

    def _line(self, steps: int) -> tuple[float, float]:
        """Return the line's log distance, and half of the 95% prediction interval."""
        away = math.log(steps) - self.x
        width = math.sqrt(1 + 1 / self.scorings + (away / self.spread) ** 2)
        return self.y + self.slope * away, self.error * width


def hours(seconds: float) -> str:
    """Return a time with its largest unit, such as `2 h` or `40 min`."""
    unit, name = (3600, "h") if seconds >= 5400 else (60, "min")
    return f"{max(1, round(seconds / unit))} {name}"
