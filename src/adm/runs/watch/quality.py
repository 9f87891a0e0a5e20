"""Learner of a diffusion model -> distance, precision, recall of its samples; what comes next."""

import logging
import math
from functools import cache
from typing import NamedTuple

import numpy as np
from torch import Tensor

from adm.data import shuffle
from adm.features.opening import open_features, table
from adm.generation.diffusion import DiffusionGenerator
from adm.images import to_uint8
from adm.metrics.metric import Score, Sets
from adm.metrics.moments import statistics
from adm.metrics.table import METRICS, title
from adm.progress import progress
from adm.recipes import DiffusionRecipe
from adm.runs.watch.curves import Column, read_log
from adm.runs.watch.previews import SEED, preview_sampling
from adm.runs.watch.watched import Watched, Weights
from adm.shown import reason_of
from adm.spec import SettingError, literal, out_of_range
from adm.training.learner import Learner
from adm.training.log import FILE
from adm.training.loop import Watch

STEPS = 10  # most steps of DDIM
REAL = 10_000  # most training images that samples are compared with
DISTANCE = "frechet_at_infinity"
KEYS = (DISTANCE, "precision", "recall")
FEWEST, MOST = 3, 6  # scorings that a trend is fitted to: the last ones
STUDENT = (12.706, 4.303, 3.182, 2.776)  # 97.5% points of t, of N - 2 = 1 to 4 degrees of freedom
AHEAD = 1000  # steps in which a trend is stated

log = logging.getLogger("adm")


class Trend(NamedTuple):
    """The least-squares line log distance = a + b log steps through N scorings.

    Attributes:
        steps, distances: (N,) what it was fitted to.
        exponent: b, with its 95% interval.
    """

    steps: np.ndarray
    distances: np.ndarray
    exponent: Score

    @classmethod
    def of(cls, steps: np.ndarray, distances: np.ndarray) -> "Trend | None":
        """Fit the last `MOST` scorings; None for fewer than `FEWEST`, or one that is not > 0."""
        steps, distances = np.asarray(steps[-MOST:], float), np.asarray(distances[-MOST:], float)
        if len(steps) < FEWEST or not (distances > 0).all():  # also where one is not finite
            return None
        x, y = np.log(steps), np.log(distances)
        slope = float(np.polyfit(x, y, 1)[0])
        fitted = cls(steps, distances, Score(slope))
        half = fitted._width(1 / ((x - x.mean()) ** 2).sum())
        return cls(steps, distances, Score(slope, slope - half, slope + half))

    @property
    def falls(self) -> bool:
        """Whether the distance falls with 95% confidence."""
        return self.exponent.high < 0

    def at(self, step: int) -> Score:
        """Predict what a scoring after `step` steps gives, with the 95% prediction interval."""
        x, y = np.log(self.steps), np.log(self.distances)
        away = math.log(step) - x.mean()
        centre = y.mean() + self.exponent.value * away
        half = self._width(1 + 1 / len(x) + away**2 / ((x - x.mean()) ** 2).sum())
        return Score(*(float(np.exp(centre + change)) for change in (0, -half, half)))

    def text(self) -> str:
        """Say how it goes on, such as `still falls 4% in 1,000 steps`."""
        last = int(self.steps[-1])
        if not self.falls:
            return f"it does not fall measurably over the last {len(self.steps)} scorings"
        share = -math.expm1(self.exponent.value * math.log1p(AHEAD / last))
        later = self.at(2 * last).text()
        return f"it still falls {share:.1%} in {AHEAD:,} steps; at this rate {later} after " + (
            f"{2 * last:,} steps"
        )

    def _width(self, share: float) -> float:
        """Half of the 95% interval whose variance is `share` of that of a residual."""
        x, y = np.log(self.steps), np.log(self.distances)
        residual = y - y.mean() - self.exponent.value * (x - x.mean())
        free = len(x) - 2
        return float(STUDENT[free - 1] * math.sqrt((residual**2).sum() / free * share))


def watch_quality(run: Watched, recipe: DiffusionRecipe) -> Watch:
    """Return a watch that scores samples of the average weights every `watch.score_every_steps`.

    `watch.score_images` samples of up to `STEPS` steps of DDIM, always from the same noise and with
    the labels of the same training images, are compared with up to `REAL` training images. Only the
    main process scores, and the others return no figures.

    Raises:
        SettingError: the features are not installed, or do not take such images.
    """
    given, device = recipe.watch.features, run.devices.device
    if given is not None and given not in table():
        # A recipe may come with a model's file, which must not name code to run or a path to open.
        raise out_of_range("watch.features", f"one of {', '.join(table())}", given)
    try:
        features = open_features(given, device)
        features.extract(to_uint8(run.training.batch([0])[0]))
    except ValueError as error:
        raise SettingError("watch.features", literal(reason_of(error))) from None
    count = recipe.watch.score_images
    chosen = shuffle(SEED, len(run.training), 0, count)
    labels = run.training.labels[chosen] if recipe.config.classes is not None else None

    @cache
    def real() -> np.ndarray:
        order = shuffle(SEED, len(run.training), 0, min(REAL, len(run.training)))
        parts = [order[i : i + run.at_once] for i in range(0, len(order), run.at_once)]
        return np.concatenate([pool(run.training.batch(part)[0]) for part in parts])

    def pool(images: Tensor) -> np.ndarray:
        return features.extract(to_uint8(images)).pool.numpy()

    def watch(done: int, learner: Learner) -> dict[str, float]:
        every = recipe.watch.score_every_steps
        if every is None or not run.devices.main:
            return {}
        if done % every and done != recipe.train.steps:
            return {}
        model = run.model(Weights.of(learner).mean, done)
        generator = DiffusionGenerator.of(model, preview_sampling(recipe, STEPS))
        total = count * generator.evaluations
        with progress("sampling to score", total, "network evaluations") as advance:
            fake = pool(generator.images(labels, range(count), None, advance))
        sets = Sets(
            fake=fake,
            real=real(),
            fake_statistics=statistics(fake),
            real_statistics=statistics(real()),
            seed=SEED,
        )
        scores = {key: score for key in KEYS if (score := METRICS[key].score(sets)) is not None}
        figures = {f"scores/{key}": score.value for key, score in scores.items()}
        if (distance := scores.get(DISTANCE)) is not None:
            figures |= {
                f"scores/{DISTANCE}_{end}": getattr(distance, end) for end in ("low", "high")
            }
            _say(run, done, features.name, distance)
        return figures

    return watch


def _say(run: Watched, done: int, features: str, distance: Score) -> None:
    """Log the distance and its trend and, at the end of the run, what to do."""
    # The line of this step is not in the log yet, whether the run was resumed or not.
    path = run.folder / FILE
    nothing = Column(np.empty(0, np.int64), np.empty(0))
    before = read_log(path).get(f"scores/{DISTANCE}", nothing) if path.exists() else nothing
    trend = Trend.of(np.append(before.steps, done), np.append(before.values, distance.value))
    words = f"step {done}: {title(DISTANCE, features)} {distance.text()}"
    if trend is None:
        log.info("%s", words)
        return
    advice = ""
    if done == run.recipe.train.steps:
        advice = (
            f"; to train on, run the same command with --steps {2 * done}"
            if trend.falls
            else "; more steps are unlikely to help: stop here"
        )
    log.info("%s; %s%s", words, trend.text(), advice)
