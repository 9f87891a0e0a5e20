"""Recipe, data spec or Source, folder -> run folder of a trained network."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from adm.arguments import check
from adm.data import NoSplit, Source, held_out, open_source
from adm.data.naming import at_home
from adm.models.device import pick
from adm.models.load import recipe_of
from adm.processes import Devices
from adm.recipes import ClassifierRecipe, DiffusionRecipe, Recipe
from adm.recipes.overrides import override
from adm.runs import run
from adm.runs.run import TrainOptions
from adm.runs.watch import watching
from adm.training.loop import Progress


# Eight parameters: those by keyword mirror the options of `adm train` in name and meaning.
def train(
    recipe: str | Path | Recipe,
    *,
    out: str | Path,
    data: str | Path | Source | None = None,
    steps: int | None = None,
    settings: Sequence[str] = (),
    device: str | torch.device | None = None,
    options: TrainOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a network to the last step; the same call resumes a run that was stopped.

    Args:
        recipe: the name of a recipe that `adm recipes` lists, the path of a recipe as JSON or of a
            model that contains one, or a recipe.
        out: the run folder; absent, empty, or that of the same run.
        data: a data spec such as "fashion-mnist" or "photos/", or a source; None for the recipe's
            own. A data spec with a test split is also validated on it.
        steps: total optimizer steps; None for the recipe's.
        settings: changes to the recipe, such as "unet.dropout=0.1".
        device: such as "cpu" or "cuda:1"; None for the best that the machine has.
        options: how the run is carried out, such as its micro-batch or the model to start from.
        on_progress: called after every step.

    Returns:
        The run folder, which `adm.load` and `adm.load_classifier` accept.

    Raises:
        ValueError: the recipe contradicts itself or the data, or the folder holds another run.
    """
    options = options or TrainOptions()
    check("recipe", recipe, (str, Path, DiffusionRecipe, ClassifierRecipe), "a name or a path")
    check("out", out, (str, Path), "the path of a folder")
    check("data", data, (str, Path, Source, type(None)), "a data spec or a Source")
    check("options", options, (TrainOptions,), "TrainOptions(...)")
    check("settings", settings, (list, tuple), "a list such as ['unet.dropout=0.1']")
    for setting in settings:
        check("each of settings", setting, (str,), "a text such as 'unet.dropout=0.1'")
    wanted = [*settings, *([] if steps is None else [f"train.steps={steps}"])]
    named = recipe_of(str(recipe)) if isinstance(recipe, str | Path) else recipe
    chosen, folder, devices = override(named, wanted), at_home(out), Devices(pick(device))
    if isinstance(data, Source):
        source, validation = data, None
    else:
        source, validation = open_data(chosen, None if data is None else str(data))
    watch = watching(chosen, source, validation, folder, devices)
    for progress in run.train(chosen, source, folder, devices, replace(options, watch=watch)):
        if on_progress is not None:
            on_progress(progress)
    return folder


def open_data(
    recipe: Recipe,
    data: str | None = None,
    labels: str | None = None,
    validation: str | None = None,
    hold_out: float | None = None,
    skip_corrupt: bool = False,
) -> tuple[Source, Source | None]:
    """Open the images to train on and, if there are any, those to validate on.

    Args:
        data: a data spec; None for the recipe's own.
        labels: a file of labels, or a labelling rule; see `open_source`.
        validation: a data spec of the validation images; None for the test split of `data`.
        hold_out: fraction of the images to use for validation instead of training.
        skip_corrupt: replace an image that cannot be read by the next one.

    Raises:
        ValueError: both `validation` and `hold_out` are given, or the data cannot be opened.
    """
    spec = recipe.data.source if data is None else data
    size, channels = recipe.data.size, recipe.data.channels

    def opened(named: str, split: str) -> Source:
        return open_source(
            named,
            split=split,
            size=size,
            channels=channels,
            labels=labels,
            skip_corrupt=skip_corrupt,
        )

    source = opened(spec, "train")
    if validation is not None and hold_out is not None:
        raise ValueError("give validation=... or hold_out=..., not both")
    if hold_out is not None:
        return held_out(source, hold_out, recipe.train.seed)
    if validation is not None:
        return source, opened(validation, "train")
    try:
        return source, opened(spec, "test")
    except NoSplit:
        return source, None
