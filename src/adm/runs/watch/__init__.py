"""Watched -> Watch: figures for the log, pictures, warnings."""

import logging
from collections.abc import Callable
from typing import TypeVar

from adm.recipes import DiffusionRecipe
from adm.runs.watch.curves import watch_curves
from adm.runs.watch.previews import watch_previews
from adm.runs.watch.quality import watch_quality
from adm.runs.watch.validation import watch_validation
from adm.runs.watch.watched import Watched
from adm.runs.watch.writers import TensorBoard
from adm.shown import reason_of
from adm.spec import SettingError
from adm.training.learner import Learner
from adm.training.loop import Watch

log = logging.getLogger("adm")
Argument = TypeVar("Argument")


def watching(run: Watched, writer: TensorBoard | None = None) -> Watch:
    """Return one watch for the training loop that does all that `recipe.watch` sets.

    A watch does not change the training. If a picture or a scoring fails, that is reported once and
    training continues. If validation fails, the run ends, because the best checkpoint depends on
    it.

    Args:
        writer: gets every preview, and the words on every scoring.

    Raises:
        ValueError: the recipe's network cannot be trained on such images.
        SettingError: samples cannot be scored as the recipe says.
    """
    watches, recipe, scoring = list[Watch](), run.recipe, None
    if run.held_out is not None and recipe.watch.validation_images:
        watches.append(watch_validation(run, run.held_out))
    if isinstance(recipe, DiffusionRecipe):
        if recipe.watch.images:
            previews = watch_previews(run, recipe, [writer.picture] if writer else ())
            watches.append(guard("the preview", previews))
        if scoring := watch_quality(run, recipe, [writer.words] if writer else ()):
            watches.append(guard("scoring", scoring))
    if recipe.train.patience and recipe.train.patience_of == "distance" and scoring is None:
        raise SettingError(
            "train.patience_of",
            "the samples of this run are not scored, by which {} would end it; set "
            "{watch.score_every_steps}, or leave it out",
        )
    drawn = guard("progress.png", watch_curves(run))

    def watch(done: int, learner: Learner) -> dict[str, float]:
        figures: dict[str, float] = {}
        for each in watches:
            figures |= each(done, learner)
        return figures | drawn(done, figures)

    return watch


def guard(
    what: str, watch: Callable[[int, Argument], dict[str, float]]
) -> Callable[[int, Argument], dict[str, float]]:
    """Return a watch that reports its first exception and returns no figures if `watch` fails.

    Args:
        what: the name of the picture, for the report.
        watch: a function of the steps done and one other argument that returns figures.
    """
    failed = False

    def watch_guarded(done: int, argument: Argument) -> dict[str, float]:
        nonlocal failed
        try:
            return watch(done, argument)
        except Exception as error:
            if not failed:
                reason = reason_of(error) or type(error).__name__
                log.warning(
                    f"{what} failed at step {done} ({reason}); training continues without it"
                )
            failed = True
            return {}

    return watch_guarded
