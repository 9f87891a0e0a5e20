"""Recipe, data spec or Source, folder -> run folder of a trained network."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from adm.app.runs import run
from adm.app.runs.claim import sole_writer
from adm.app.runs.data import DataOptions, chosen, open_data
from adm.app.runs.precision import suited
from adm.app.runs.run import TrainOptions
from adm.app.runs.watch import watching
from adm.data import Source
from adm.data.naming import at_home
from adm.models.device import pick
from adm.processes import Devices
from adm.recipes import ClassifierRecipe, DiffusionRecipe, Recipe
from adm.spec import check_type
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
        recipe: the name of a recipe that `adm recipes` lists, whose channels and classes are those
            of the data, and whose precision suits the device, unless `settings` sets them; the path
            of a recipe as JSON or of a model that contains one; or a recipe.
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
        ValueError: the recipe contradicts itself or the data, the folder holds another run, or
            another process trains in it.
    """
    options = options or TrainOptions()
    check_type("recipe", recipe, (str, Path, DiffusionRecipe, ClassifierRecipe), "a name or a path")
    check_type("out", out, (str, Path), "the path of a folder")
    check_type("data", data, (str, Path, Source, type(None)), "a data spec or a Source")
    check_type("options", options, (TrainOptions,), "TrainOptions(...)")
    check_type("settings", settings, (list, tuple), "a list such as ['unet.dropout=0.1']")
    for setting in settings:
        check_type("each of settings", setting, (str,), "a text such as 'unet.dropout=0.1'")
    wanted = [*settings, *([] if steps is None else [f"train.steps={steps}"])]
    folder, devices = at_home(out), Devices(pick(device))
    named = suited(chosen(recipe, wanted), folder, devices)
    spec = str(data) if isinstance(data, Path) else data
    with sole_writer(folder, devices):
        fitted, source, validation, _ = open_data(named, DataOptions(data=spec))
        run.check(fitted, source, devices, options)
        watch = watching(fitted, source, validation, folder, devices)
        for progress in run.steps(fitted, source, folder, devices, replace(options, watch=watch)):
            if on_progress is not None:
                on_progress(progress)
    return folder
