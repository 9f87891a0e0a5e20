"""Learner of a diffusion model -> distance, precision, recall of its samples, in figures, words."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adm.data import shuffle
from adm.features import Features
from adm.features.opening import open_features, table
from adm.generation.diffusion import DiffusionGenerator
from adm.images import to_uint8
from adm.metrics import nearest
from adm.metrics.manifold import DENSITY_NEIGHBOURS, neighbour_distances
from adm.metrics.metric import Score, Sets
from adm.metrics.moments import statistics
from adm.metrics.table import METRICS, title
from adm.networks import on_meta
from adm.progress import progress
from adm.recipes import DiffusionRecipe
from adm.runs.folder import write_trend
from adm.runs.watch.previews import SEED, preview_sampling
from adm.runs.watch.trend import FEWEST, Trend
from adm.runs.watch.watched import Watched, Weights
from adm.samplers import ClassifierGuide
from adm.shown import reason_of
from adm.spec import SettingError, literal, out_of_range
from adm.training.learner import Learner
from adm.training.log import LogLine, read_columns
from adm.training.loop import Watch
from adm.training.spread import share

STEPS = 10  # most steps of DDIM
REAL = 10_000  # most training images that samples are compared with
DISTANCE = "frechet_at_infinity"
KEYS = (DISTANCE, "precision", "recall")
MOST = 20  # scorings of a run, by default
NEAR = 0.01  # quantile of training images' distances to the nearest other one
PASSES = 3  # in evaluations of the network, what training on an image takes
OF_FEATURES = 4  # times as long as the network's take operations of features, in float32
OF_SCORES = 800  # D^3 operations; these constants were measured on a CPU, see docs/howto/watch.md

log = logging.getLogger("adm")

OnWords: TypeAlias = Callable[[int, str, str], None]  # steps done, name, words


def watch_quality(
    run: Watched, recipe: DiffusionRecipe, on_words: Sequence[OnWords] = ()
) -> Watch | None:
    """Return a watch that scores samples of the average weights; None if they are not scored.

    After every so many steps and after the last, `watch.score_images` samples of up to `STEPS`
    steps of DDIM, always from the same noise and with the labels of the same training images, are
    compared with up to `REAL` training images; if the run has a classifier, samples that it guides
    are, too. All processes share the images, and return the same figures.

    Args:
        on_words: each is called with the words on a scoring, such as a writer's `words`.

    Raises:
        SettingError: the features that are set are not installed, or do not take such images.
    """
    every, count = recipe.watch.score_every_steps, recipe.watch.score_images
    conditioned = recipe.data.low_res or recipe.unet.super_resolution
    if every is None and (conditioned or not interval(recipe, count * STEPS)):
        return None  # before features are opened
    if conditioned:
        what = "{} is for models without a condition; leave it out"
        raise SettingError("watch.score_every_steps", what)
    try:
        features = _open(run, recipe.watch.features)
    except SettingError as error:
        if every is not None or recipe.watch.features is not None:
            raise
        log.info("samples are not scored: %s", error)
        return None
    generators(run, recipe, on_meta(recipe.unet).state_dict(), 0)  # refuses what cannot guide
    every = every or interval(recipe, *costs(run, recipe, features))
    if every is None:
        return None
    devices, chosen = run.devices, shuffle(SEED, len(run.training), 0, count)
    labelled = recipe.config.classes is not None or run.classifier is not None
    labels = run.training.labels[chosen] if labelled else None
    began: tuple[int, float] | None = None  # steps, and the time when they were done

    def gathered(total: int, read: Callable[[range], Tensor]) -> np.ndarray:
        mine, size = share(total, devices), run.at_once
        spans = [mine[i : i + size] for i in range(0, len(mine), size)]
        pools = devices.each(lambda: [features.extract(to_uint8(read(s))).pool for s in spans])
        return torch.cat([each for one in devices.gather(pools) for each in one]).numpy()

    @cache
    def real() -> tuple[np.ndarray, np.ndarray]:
        order = shuffle(SEED, len(run.training), 0, min(REAL, len(run.training)))
        pool = gathered(
            len(order), lambda span: run.training.batch(order[span.start : span.stop])[0]
        )
        return pool, neighbour_distances(pool, DENSITY_NEIGHBOURS)

    def scored(generator: DiffusionGenerator) -> dict[str, float]:
        total = count * generator.evaluations
        with progress("sampling to score", total, "network evaluations") as advance:
            fake = gathered(
                count,
                lambda span: generator.images(
                    None if labels is None else labels[span.start : span.stop], span, None, advance
                ),
            )
        against = real()
        return devices.once(lambda: score(fake, *against))

    def watch(done: int, learner: Learner) -> dict[str, float]:
        nonlocal began
        now = time.monotonic()
        if began is None:
            began = done, now
        if done % every and done != recipe.train.steps:
            return {}
        pace = (now - began[1]) / (done - began[0]) if done > began[0] else None
        figures: dict[str, float] = {}
        for group, generator in generators(run, recipe, Weights.of(learner).mean, done).items():
            figures |= {f"{group}/{name}": x for name, x in scored(generator).items()}
        if devices.main:
            _say(run, done, features.name, figures, pace, on_words)
        began = done, time.monotonic()
        return figures

    return watch


def interval(recipe: DiffusionRecipe, scoring: float, once: float = 0) -> int | None:
    """Return how often a run is scored by default; None if it can afford fewer than three.

    It is a function of the settings alone, so that a resumed run is scored at the same steps. The
    cost of all scorings is at most `watch.score_share` of that of all steps.

    Args:
        scoring: its cost, in evaluations of the network on an image.
        once: that of the training images.
    """
    train = recipe.train
    spare = recipe.watch.score_share * PASSES * train.batch_size * train.steps - once
    most = min(MOST, int(spare // scoring))
    if most < FEWEST:
        return None
    return -(-train.steps // (most * train.save_every_steps)) * train.save_every_steps


def costs(run: Watched, recipe: DiffusionRecipe, features: Features) -> tuple[float, float]:
    """Return the costs of a scoring and of the training images, as for `interval`."""
    image = to_uint8(run.training.batch([0])[0])
    with FlopCounterMode(display=False) as of_features:
        pool = features.extract(image).pool
    with FlopCounterMode(display=False) as own, torch.device("meta"), torch.no_grad():
        labels = None if recipe.unet.classes is None else torch.zeros(1, dtype=torch.int64)
        on_meta(recipe.unet).eval()(torch.zeros(image.shape), torch.zeros(1), labels)
    unit = own.get_total_flops()
    one = OF_FEATURES * of_features.get_total_flops() / unit
    # A gradient of the classifier takes what training it would.
    each = STEPS + one + (0 if run.classifier is None else STEPS * (1 + PASSES) + one)
    scores = OF_SCORES * pool.shape[1] ** 3 / unit
    return recipe.watch.score_images * each + scores, min(REAL, len(run.training)) * one


def generators(
    run: Watched, recipe: DiffusionRecipe, weights: Mapping[str, Tensor], done: int
) -> dict[str, DiffusionGenerator]:
    """Return the generator of the samples of each group of figures: unguided, and guided."""
    model = run.model(weights, done)
    sampling = preview_sampling(recipe, STEPS)
    if recipe.distillation is None:  # as fast as training is
        sampling = replace(sampling, precision=recipe.train.precision)
    by_group = {"scores": DiffusionGenerator.of(model, sampling)}
    if run.classifier is not None:
        guide = (*recipe.sample.by(ClassifierGuide),) or (ClassifierGuide(scale=1.0),)
        guided = replace(sampling, guide=guide)
        by_group["guided"] = DiffusionGenerator.of(model, guided, [run.classifier])
    return by_group


def score(fake: np.ndarray, real: np.ndarray, distances: np.ndarray) -> dict[str, float]:
    """Return the figures of samples by name.

    `near` is the share of samples that are nearer to a training image than all but `NEAR` of the
    training images are to another one, as in `scoring.nearest`.

    Args:
        fake, real: (N, D) and (M, D) features.
        distances: (M, k) squared, of training images to the nearest others.
    """
    sets = Sets(
        fake=fake,
        real=real,
        fake_statistics=statistics(fake),
        real_statistics=statistics(real),
        real_distances=distances,
        seed=SEED,
    )
    scores = {key: made for key in KEYS if (made := METRICS[key].score(sets)) is not None}
    figures = {key: made.value for key, made in scores.items()}
    ends = zip(("low", "high"), scores[DISTANCE][1:], strict=True)
    near = nearest(fake, real, 1).squared[:, 0] < np.quantile(distances[:, 0], NEAR)
    return {**figures, **{f"{DISTANCE}_{end}": x for end, x in ends}, "near": float(near.mean())}


def _say(
    run: Watched,
    done: int,
    features: str,
    figures: dict[str, float],
    pace: float | None,
    on_words: Sequence[OnWords],
) -> None:
    """Log the distances and the trend, and write the trend into run.json."""
    # The line of this step is not in the log yet, whether the run was resumed or not.
    trend = Trend.of(read_columns(run.folder, LogLine(done, figures)))
    names = [name for name in figures if name.endswith(f"/{DISTANCE}")]
    distances = [Score(*(figures[n + end] for end in ("", "_low", "_high"))).text() for n in names]
    words = f"{title(DISTANCE, features)} {', guided '.join(distances)}"
    if trend is not None:
        write_trend(run.folder, trend.text())
        words = f"{words}; {trend.text(pace)}"
    log.info("step %d: %s", done, words)
    for call in on_words:
        call(done, "scores", words)


def _open(run: Watched, given: str | None) -> Features:
    """Open the features of a name, or those by default, and try them on an image."""
    if given is not None and given not in table():
        # A recipe may come with a model's file, which must not name code to run or a path to open.
        raise out_of_range("watch.features", f"one of {', '.join(table())}", given)
    try:
        features = open_features(given, run.devices.device)
        features.extract(to_uint8(run.training.batch([0])[0]))
    except ValueError as error:
        raise SettingError("watch.features", literal(reason_of(error))) from None
    return features
