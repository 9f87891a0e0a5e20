"""Run folder -> what to do next, in a paragraph: train on, stop, or what is amiss."""

from pathlib import Path

from adm.metrics.accuracy import wilson
from adm.recipes import DiffusionRecipe, Recipe
from adm.runs.watch.quality import NEAR
from adm.runs.watch.trend import Trend
from adm.runs.watch.validation import ACCURACY_GAP
from adm.training import checkpoint
from adm.training.log import Columns, read_columns
from adm.training.loop import JUDGED

COPIES = 2 * NEAR  # share of samples as near to training images, above which a model copies


def advice(folder: Path, recipe: Recipe, pace: float | None = None) -> str | None:
    """Return what to do after a run, with the command; None if nothing was measured.

    Args:
        pace: seconds that a step takes; None if that is unknown.
    """
    log = read_columns(folder)
    if isinstance(recipe, DiffusionRecipe):
        return _of_samples(folder, recipe, log, pace)
    return _of_classifier(folder, log)


def _of_samples(
    folder: Path, recipe: DiffusionRecipe, log: Columns, pace: float | None
) -> str | None:
    trend, near = Trend.of(log), log.get("scores/near")
    if near is None:
        return None
    share = wilson(near.values[-1] * recipe.watch.score_images, recipe.watch.score_images)
    if share.low > COPIES:
        return (
            f"The data are too few: {share.value:.0%} of the samples are nearer to a training "
            f"image than {1 - NEAR:.0%} of the training images are to another, so they may be "
            f"copies; see them by `adm sample {folder} --count 200 --out out/samples` and "
            "`adm nearest out/samples DATA`. More images, data.flip=true or unet.dropout=0.1 help; "
            f"more steps do not{_best(folder)}."
        )
    if trend is None:
        return "Whether more steps help is not known: a trend needs three scorings or more."
    if trend.falls:
        more = f"the same command with --steps {2 * trend.last}"
        return f"Train on, by {more}: {trend.text(pace)}."
    return f"Stop here: {trend.text()}{_best(folder)}."


def _best(folder: Path) -> str:
    """Return which checkpoint has the lowest distance, unless it is the last."""
    best = checkpoint.best(folder, "distance")
    last = best is None or best == checkpoint.latest(folder)
    path = folder / checkpoint.FOLDER / checkpoint.LINKS["distance"]
    return "" if last else f"; the lowest distance is that of {path}"


def _of_classifier(folder: Path, log: Columns) -> str | None:
    if "validation/gap" not in log:
        return None
    (steps, losses), gap = log[JUDGED["validation"]], log["validation/gap"].values[-1]
    lowest, last = int(steps[losses.argmin()]), int(steps[-1])
    best = folder / checkpoint.FOLDER / checkpoint.LINKS["validation"]
    if gap > ACCURACY_GAP and lowest < last:
        return (
            f"The classifier overfits: it is right about {gap:.0%} more of the training images, "
            f"and its held-out loss was lowest after {lowest:,} steps. Guide by that checkpoint, "
            f"`adm sample MODEL --classifier {best} --out out/samples`; more images, "
            "data.flip=true or classifier.dropout=0.1 help."
        )
    if lowest == last:
        return (
            f"The held-out loss still falls: train on, by the same command with --steps {2 * last}."
        )
    return f"Stop here: the held-out loss was lowest after {lowest:,} steps, which {best} has."
