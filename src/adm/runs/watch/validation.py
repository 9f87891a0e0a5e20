"""Average weights, held-out images -> loss and accuracy by quarter of the levels."""

import logging
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from adm.data import Source, shuffle
from adm.processes import Devices
from adm.progress import progress
from adm.recipes import build
from adm.runs.data import check_source
from adm.runs.watch.watched import Watched
from adm.shown import abbreviated
from adm.training.batches import Batch, with_draws
from adm.training.learner import Learner
from adm.training.loop import Watch
from adm.training.objective import Objective
from adm.training.spread import share

QUARTERS = 4
SEED = 0  # independent of the run's own seed, so that runs can be compared
FAR = 2**62  # first position of validation's draws, which no training reaches
NAMES = ("loss", "mse", "vlb", "accuracy")
MOST_NAMED = 5  # classes listed in a message
ACCURACY_GAP = 0.10  # gap in accuracy above which a classifier is reported to overfit
LOSS_GAP = 0.10  # the same for a diffusion model, relative to the loss on training images

log = logging.getLogger("adm")


Means: TypeAlias = dict[str, Tensor]  # (4,) by name, of each quarter, the cleanest first


def watch_validation(run: Watched, held_out: Source) -> Watch:
    """Return a watch that evaluates the average weights on fixed images, levels and noise.

    The loss is that of training, of a student that of its last stage. As many held-out as training
    images are evaluated, `watch.validation_images` of each, rounded up to a multiple of 4; if there
    are fewer, they are repeated with other noise. Each process evaluates a share of them, and all
    return the same figures.

    Args:
        held_out: images that are not trained on.

    Returns:
        A watch whose figures are `validation/loss`, `validation/loss_q1` ... `_q4` for the quarters
        of the levels, and `validation/gap`; for a diffusion model also the terms `mse` and `vlb` of
        the loss; for a classifier also `accuracy`, by quarter too. The gap is how much better the
        result on training images is, in accuracy for a classifier, and else in loss.

    Raises:
        ValueError: the recipe's network cannot be trained on such images, or the classes differ.
    """
    recipe, training, devices = run.recipe, run.training, run.devices
    _check_classes(held_out, training)
    check_source(recipe, held_out)
    objective = build.objectives(recipe, devices.device, teach=run.teach)[-1]
    count, warned = recipe.watch.validation_images, False

    def watch(done: int, learner: Learner) -> dict[str, float]:
        nonlocal warned
        if not run.due(done):
            return {}
        network = run.network(learner.ema.weights)
        measured = partial(
            measure, objective, network, devices=devices, count=count, batch_size=run.at_once
        )
        result, trained = measured(held_out), measured(training)
        figures = _figures(result, recipe.noised) | {"validation/gap": gap(result, trained)}
        warning = warning_of_overfitting(result, trained)
        if warning and not warned and devices.main:
            log.warning(f"step {done}: {warning}")
            warned = True
        return figures

    return watch


@torch.no_grad()
def measure(
    objective: Objective,
    network: nn.Module,
    source: Source,
    *,
    devices: Devices,
    count: int,
    batch_size: int,
) -> Means:
    """Average the values that the objective shows over `count` images, by quarter of the levels."""
    count = -(-count // QUARTERS) * QUARTERS
    mine, order = share(count, devices), shuffle(SEED, len(source), 0, count)
    sums = torch.zeros(2, len(NAMES), QUARTERS, dtype=torch.float64)  # of values, and of images
    what = f"validating on {source.name}"
    with progress(what, len(mine), "images", shown=devices.main) as advance:
        for start in range(mine.start, mine.stop, batch_size):
            stop = min(start + batch_size, mine.stop)
            outcome = objective(network, _batch(source, order, start, stop).to(devices.device))
            quarter = torch.arange(start, stop) % QUARTERS
            for name, values in outcome.shown.items():
                if name in NAMES:
                    row = NAMES.index(name)
                    sums[0, row].index_add_(0, quarter, values.cpu().double())
                    sums[1, row].index_add_(0, quarter, torch.ones(stop - start).double())
            advance(stop - start)
    values, images = torch.stack(devices.gather(sums)).sum(0)
    means = zip(NAMES, values / images, images, strict=True)
    return {name: mean for name, mean, of in means if of.sum() > 0}


def stratify(uniforms: np.ndarray, start: int, count: int) -> np.ndarray:
    """Stratify (B,) uniforms of positions `start` onwards, of `count` positions in all.

    Position i gets a value in quarter i % 4 of [0, 1), and there in a cell of its own.
    """
    position = np.arange(start, start + len(uniforms))
    cells = count // QUARTERS
    within = (position // QUARTERS + uniforms) / cells
    return (position % QUARTERS + within) / QUARTERS


def _batch(source: Source, order: list[int], start: int, stop: int) -> Batch:
    """Return positions start to stop - 1 without augmentation, at stratified levels."""
    batch = with_draws(source, order[start:stop], SEED, FAR + start)
    level = stratify(batch.draws.level, start, len(order))
    return batch._replace(draws=batch.draws._replace(level=level))


def gap(held_out: Means, trained: Means) -> float:
    """Return how much better the result on training images is: in accuracy, or else in loss."""
    if "accuracy" in held_out:
        return float(trained["accuracy"].mean() - held_out["accuracy"].mean())
    return float(held_out["loss"].mean() - trained["loss"].mean())


def warning_of_overfitting(held_out: Means, trained: Means) -> str | None:
    """Return a warning if the gap exceeds `ACCURACY_GAP` or, for a loss, `LOSS_GAP`; else None."""
    name, form, most = "loss", ".4f", LOSS_GAP * abs(float(trained["loss"].mean()))
    if "accuracy" in held_out:
        name, form, most = "accuracy", ".1%", ACCURACY_GAP
    if gap(held_out, trained) <= most:
        return None
    ours, theirs = (f"{float(each[name].mean()):{form}}" for each in (held_out, trained))
    return (
        f"overfitting: the {name} is {theirs} on training images and {ours} on held-out ones; more "
        "data, data.flip, dropout, weight decay or fewer steps help"
    )


def _figures(result: Means, noised: bool) -> dict[str, float]:
    figures = {f"validation/{name}": float(means.mean()) for name, means in result.items()}
    for name in ("loss", "accuracy"):
        if noised and name in result:
            for i, value in enumerate(result[name].tolist(), start=1):
                figures[f"validation/{name}_q{i}"] = value
    return figures


def _check_classes(held_out: Source, training: Source) -> None:
    if training.classes != held_out.classes:
        both = (abbreviated(each.classes, MOST_NAMED) for each in (held_out, training))
        raise ValueError(
            f"{held_out.name} and {training.name} differ in their classes or the order of them: "
            f"{' and '.join(both)}; validate on data of the same classes"
        )
