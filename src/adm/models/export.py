"""Path or name of a model -> the same model as a file of ours, or as a released one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.diffusion import NOISE, X_0
from adm.models.convert import diffusers
from adm.models.convert.flags import SCHEDULES, recipe_from_flags, script_flags
from adm.models.convert.released import export_state, flatten_attention, import_state, load_released
from adm.models.load import read, released_metadata
from adm.models.paths import FOREIGN, resolve
from adm.models.pickled import read_tensors
from adm.networks import UNetConfig, shapes_of
from adm.recipes.paper import released_recipe
from adm.recipes.released import PUBLIC, released_of
from adm.recipes.schema import DiffusionRecipe, ProcessSettings, Recipe
from adm.shown import shown_path
from adm.spec import SettingError, literal, out_of_range, to_json
from adm.store.files import new_file
from adm.training.model_file import save_model


def convert(
    model: str | Path, out: Path, name: str | None = None, flags: Mapping[str, Any] | None = None
) -> Recipe:
    """Write a model as a file of ours, which describes itself; return its recipe.

    Tensors of a released file are not all in memory at once.

    Args:
        model: a path or a name, or the folder of a pipeline of diffusers.
        name: the public name of a released file, if the weights fit several.
        flags: those that a custom checkpoint in the released format was trained with.

    Raises:
        ValueError: there is no such model, or its weights are not those of the name or the flags.
        OSError: the file cannot be written.
    """
    folder = at_home(model)
    if (folder / diffusers.INDEX).is_file():
        recipe, weights, classes = diffusers.read(folder)
        save_model(out, weights, {"recipe": to_json(recipe), "classes": classes})
        return recipe
    path = resolve(model)
    if path.suffix in FOREIGN and (name is not None or flags is not None):
        weights, recipe = _described(path, name, flags)
        metadata = released_metadata(recipe)
    elif name is not None or flags is not None:
        what = f"{literal(shown_path(path))} says what it is; leave {{}} out"
        raise SettingError("flags" if name is None else "as", what)
    else:
        _, weights, recipe, metadata = read(path)
    save_model(out, weights, metadata.entries())
    return recipe


def _described(
    path: Path, name: str | None, flags: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], Recipe]:
    """Read a file as that of a released name, or of a network that flags describe."""
    if name is None:
        state = flatten_attention(read_tensors(path))
        recipe, read = recipe_from_flags(path, shapes_of(state), flags or {})
        return import_state(state, recipe.config, not read.use_new_attention_order), recipe
    if name not in PUBLIC:
        raise out_of_range("as", "a name that `adm models` lists", name)
    return load_released(path, PUBLIC[name])[1], released_recipe(PUBLIC[name])


def _check_known(process: ProcessSettings) -> None:
    """Raise SettingError unless guided-diffusion's scripts have this process."""
    if process.prediction not in (NOISE, X_0):
        what = "noise or x_0, which is what the released scripts know"
        raise out_of_range("process.prediction", what, process.prediction.name)
    if process.schedule not in SCHEDULES:
        raise out_of_range("process.schedule", " or ".join(SCHEDULES), process.schedule)


def convert_to_released(model: str | Path, out: Path) -> str:
    """Write a model as a `.pt` file of guided-diffusion; return the flags of its scripts.

    Raises:
        ValueError: there is no such model, or the released system cannot build its network.
        OSError: the file cannot be written.
    """
    _, weights, recipe, _ = read(model)
    config = recipe.config
    written = released_of(recipe.name)
    legacy = written is None or written.legacy_attention_order
    flat = written is None or written.flat_attention
    state = export_state(weights, config, legacy, flat)
    if isinstance(recipe, DiffusionRecipe) and written is None:
        _check_known(recipe.process)
    with new_file(out) as part:
        torch.save(state, part)
    process = recipe.process if isinstance(config, UNetConfig) else None
    low = None if recipe.data.low_res is None else recipe.data.low_res[0]
    return script_flags(config, process, recipe.data.size[0], low, legacy)
