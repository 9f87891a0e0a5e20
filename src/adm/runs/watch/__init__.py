"""Watched -> Watch: figures for the log, pictures, warnings."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from adm.recipes import DiffusionRecipe
from adm.runs.watch.curves import watch_curves
from adm.runs.watch.previews import OnPicture, watch_previews
from adm.runs.watch.quality import watch_quality
from adm.runs.watch.validation import watch_validation
from adm.runs.watch.watched import Watched
from adm.shown import reason_of
from adm.spec import SettingError
from adm.training.learner import Learner
from adm.training.loop import Watch

log = logging.getLogger("adm")
Argument = TypeVar("Argument")


def watching(run: Watched, on_picture: Sequence[OnPicture] = ()) -> Watch:
    """Return one watch for the training loop that does all that `recipe.watch` sets.

    A watch does not change the training. If a picture fails, that is reported once and training
    continues. If validation fails, the run ends, because the best checkpoint depends on it.

    Args:
        on_picture: each is called with every preview, such as a writer's `picture`.

    Raises:
        ValueError: the recipe's network cannot be trained on such images.
    """
    watches: list[Watch] = []
    if run.held_out is not None and run.recipe.watch.validation_images:
        watches.append(watch_validation(run, run.held_out))
    if run.recipe.watch.images and isinstance(run.recipe, DiffusionRecipe):
        previews = watch_previews(run, run.recipe, on_picture)
        watches.append(guard("the preview", previews))
    if run.recipe.watch.score_every_steps and isinstance(run.recipe, DiffusionRecipe):
        if run.recipe.data.low_res or run.recipe.unet.super_resolution:
            raise SettingError(
                "watch.score_every_steps", "{} is for models without a condition; leave it out"
            )
        watches.append(guard("scoring", watch_quality(run, run.recipe)))
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
