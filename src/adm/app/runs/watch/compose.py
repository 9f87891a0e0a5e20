"""Recipe, Sources, run folder -> Watch: validation, previews, colours and curves."""

from collections.abc import Sequence
from pathlib import Path

from adm.app.runs.watch.curves import curves
from adm.app.runs.watch.distance import distance
from adm.app.runs.watch.drift import tint
from adm.app.runs.watch.made import made
from adm.app.runs.watch.mistakes import mistakes
from adm.app.runs.watch.preview import Draw, OnPicture, preview
from adm.app.runs.watch.samples import samples
from adm.app.runs.watch.times import Say, Times, guarded, to_stderr
from adm.app.runs.watch.upsampled import upsampled
from adm.app.runs.watch.validation import validation
from adm.data import Source
from adm.distillation import Teach
from adm.processes import Devices
from adm.recipes import ClassifierRecipe, DiffusionRecipe, Recipe, build
from adm.recipes.schema import GANRecipe
from adm.training.loop import Watch
from adm.training.players import RunState

PREVIEWS = "previews"  # in the run folder
PIXELS = 64 * 64 * 64  # pixels of a batch in evaluation


# Nine parameters: the first five define the run, the others are options, by keyword.
def watching(
    recipe: Recipe,
    source: Source,
    held_out: Source | None,
    run: Path,
    devices: Devices,
    *,
    batch_size: int | None = None,
    on_picture: Sequence[OnPicture] = (),
    say: Say = to_stderr,
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
        say: called with each warning.
        teach: the teacher of a student.

    Raises:
        ValueError: the recipe's network cannot be trained on such images.
    """
    wanted = recipe.watch
    times = Times(wanted.every_steps or recipe.train.save_every_steps, recipe.train.steps)
    batch_size = batch_size or evaluated_at_once(recipe)
    watches: list[Watch] = []
    sizes = {"count": wanted.validation_images, "batch_size": batch_size}
    if held_out is not None and wanted.validation_images:
        if isinstance(recipe, GANRecipe):
            watches.append(distance(recipe, held_out, times, devices, **sizes))
        else:
            told = {"training": source, "say": say, "teach": teach}
            watches.append(validation(recipe, held_out, times, devices, **sizes, **told))
    if wanted.images:
        draw = drawing(recipe, source, held_out or source, run, times, batch_size, say)
        shown = preview(draw, run / PREVIEWS, times, devices, on_picture)
        watches.append(guarded("the preview", shown, say))
    drawn = guarded("progress.png", curves(run, times, devices.main), say)

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


# Seven parameters: what `watching` takes or derives, for the one place that chooses a preview.
def drawing(
    recipe: Recipe,
    source: Source,
    held_out: Source,
    run: Path,
    times: Times,
    batch_size: int,
    say: Say,
) -> Draw:
    """Return the function that draws previews of the recipe's kind of network."""
    count = recipe.watch.images

    def sampled(recipe: DiffusionRecipe) -> Draw:
        if recipe.unet.super_resolution:
            return upsampled(recipe, held_out, run, times, count=count, say=say)
        compare = tint(source, times.total, say=say)
        return samples(recipe, source, run, times, compare, count=count, batch_size=batch_size)

    def named(recipe: ClassifierRecipe) -> Draw:
        return mistakes(recipe, held_out, run, batch_size=batch_size)

    def generated(recipe: GANRecipe) -> Draw:
        compare = tint(source, times.total, say=say)
        return made(recipe, source, run, times, compare, count=count)

    return build.by_kind(recipe, diffusion=sampled, classifier=named, gan=generated)
