"""Recipe, Sources, run folder -> Watch: figures for the log, pictures, warnings."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from adm.app.runs.watch.curves import watch_curves
from adm.app.runs.watch.drift import tint
from adm.app.runs.watch.previews import (
    Draw,
    OnPicture,
    mistakes,
    samples,
    upsampled,
    watch_previews,
)
from adm.app.runs.watch.state import Times
from adm.app.runs.watch.validation import watch_distance, watch_validation
from adm.data import Source
from adm.distillation import Teach
from adm.processes import Devices
from adm.recipes import ClassifierRecipe, DiffusionRecipe, Recipe
from adm.recipes.schema import GANRecipe
from adm.training.loop import Watch
from adm.training.players import RunState

PREVIEWS = "previews"  # in the run folder
PIXELS = 64 * 64 * 64  # pixels of a batch in evaluation

log = logging.getLogger("adm")
Given = TypeVar("Given")


# Eight parameters: the first five define the run, the others are options, by keyword.
def watching(
    recipe: Recipe,
    source: Source,
    held_out: Source | None,
    run: Path,
    devices: Devices,
    *,
    batch_size: int | None = None,
    on_picture: Sequence[OnPicture] = (),
    teach: Teach | None = None,
) -> Watch:
    """Return one watch for the training loop that does all that `recipe.watch` sets.

    A watch does not change the training. If a picture fails, that is reported once and training
    continues. If validation fails, the run ends, because the best checkpoint depends on it.

    Args:
        source: the training images.
        held_out: images that are not trained on; None for no validation, and for previews of
            training images.
        run: the run folder, which gets progress.png and previews/.
        batch_size: images per forward pass; None for at most 64 images and as many pixels as 64
            images of 64x64 have, which takes less memory than training on them.
        on_picture: each is called with every preview, such as a writer's `picture`.
        teach: the teacher of a student.

    Raises:
        ValueError: the recipe's network cannot be trained on such images.
    """
    source = source.among(devices.beside)
    held_out = None if held_out is None else held_out.among(devices.beside)
    wanted = recipe.watch
    times = Times(wanted.every_steps or recipe.train.save_every_steps, recipe.train.steps)
    batch_size = batch_size or evaluated_at_once(recipe)
    watches: list[Watch] = []
    sizes = {"count": wanted.validation_images, "batch_size": batch_size}
    if held_out is not None and wanted.validation_images:
        if isinstance(recipe, GANRecipe):
            watches.append(watch_distance(recipe, held_out, times, devices, **sizes))
        else:
            own = {"training": source, "teach": teach}
            watches.append(watch_validation(recipe, held_out, times, devices, **sizes, **own))
    if wanted.images:
        draw = drawing(recipe, source, held_out or source, run, times, batch_size)
        shown = watch_previews(draw, run / PREVIEWS, times, devices, on_picture)
        watches.append(guarded("the preview", shown))
    drawn = guarded("progress.png", watch_curves(run, times, devices.main))

    def watch(done: int, state: RunState) -> dict[str, float]:
        figures: dict[str, float] = {}
        for each in watches:
            figures |= each(done, state)
        return figures | drawn(done, figures)

    return watch


def evaluated_at_once(recipe: Recipe) -> int:
    """Return the number of images per forward pass in evaluation."""
    height, width = recipe.data.size
    return max(1, min(64, PIXELS // (height * width)))


# Six parameters: what `watching` takes or derives, for the one place that chooses a preview.
def drawing(
    recipe: Recipe,
    source: Source,
    held_out: Source,
    run: Path,
    times: Times,
    batch_size: int,
) -> Draw:
    """Return the function that draws previews of the recipe's kind of network."""
    count = recipe.watch.images
    if isinstance(recipe, ClassifierRecipe):
        return mistakes(recipe, held_out, run, batch_size=batch_size)
    if isinstance(recipe, DiffusionRecipe) and recipe.unet.super_resolution:
        return upsampled(recipe, held_out, run, times, count=count)
    compare = tint(source, times.total)
    return samples(recipe, source, run, times, compare, count=count)


def guarded(
    what: str, watch: Callable[[int, Given], dict[str, float]]
) -> Callable[[int, Given], dict[str, float]]:
    """Return a watch that reports its first exception and returns no figures if `watch` fails.

    Args:
        what: the name of the picture, for the report.
        watch: a function of the steps done and one other argument that returns figures.
    """
    failed = False

    def watch_guarded(done: int, given: Given) -> dict[str, float]:
        nonlocal failed
        try:
            return watch(done, given)
        except Exception as error:
            if not failed:
                reason = str(error) or type(error).__name__
                log.warning(
                    f"{what} failed at step {done} ({reason}); training continues without it"
                )
            failed = True
            return {}

    return watch_guarded
