"""Path or name of a model -> DiffusionModel, ClassifierModel, Recipe."""

from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.models.convert.released import load_released
from adm.models.device import pick
from adm.models.paths import FOREIGN, is_of_run, resolve
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import Classifier, UNet, on_meta, shapes_of
from adm.recipes import RECIPES, build, recipe
from adm.recipes.paper import released_recipe
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe, from_json
from adm.shown import shown_path
from adm.spec import SettingError, literal, to_json
from adm.store.parsed import read_json
from adm.training.checkpoint import check_model
from adm.training.model_file import (
    Metadata,
    check_finite,
    load_weights,
    metadata_error,
    metadata_of,
)

PICKLED = ".pkl"
AnyModel: TypeAlias = DiffusionModel | ClassifierModel


def load_diffusion(model: str | Path, device: torch.device | str | None = "cpu") -> DiffusionModel:
    """Load a diffusion model by the path of a file or a run folder, or by name (`resolve`).

    Raises:
        ValueError: there is no such model, or the file is damaged or of another kind.
    """
    loaded = load_any(model, device)
    if not isinstance(loaded, DiffusionModel):
        raise _of_another_kind(loaded, DiffusionRecipe)
    return loaded


def load_classifier(
    model: str | Path, device: torch.device | str | None = "cpu"
) -> ClassifierModel:
    """Load a classifier by the path of a file or a run folder, or by name (`resolve`).

    Raises:
        ValueError: there is no such model, or the file is damaged or of another kind.
    """
    loaded = load_any(model, device)
    if not isinstance(loaded, ClassifierModel):
        raise _of_another_kind(loaded, ClassifierRecipe)
    return loaded


def _of_another_kind(loaded: AnyModel, expected: type[Recipe]) -> ValueError:
    return ValueError(f"{loaded.path} is {loaded.recipe.makes}; give {expected.makes}")


@torch.inference_mode(False)  # in which guidance could not differentiate the classifier
def load_any(model: str | Path, device: torch.device | str | None = "cpu") -> AnyModel:
    """Load a model of any kind by the path of a file or a run folder, or by name (`resolve`).

    Args:
        device: such as "cpu" or "cuda:1"; None for the best that the machine has.

    Raises:
        ValueError: there is no such model or device, or the file is damaged or of another kind.
    """
    place = pick(device)
    path, weights, recipe, metadata = read(model)
    network = _filled(recipe, weights, path, place)
    # Data have at least one class, even those of an unconditional network.
    classes = metadata.classes if recipe.config.classes is not None else ()
    if isinstance(recipe, ClassifierRecipe):
        assert isinstance(network, Classifier)
        return ClassifierModel(network, recipe, classes, path, metadata.step or 0)
    assert isinstance(network, UNet)
    return DiffusionModel(network, recipe, classes, path, metadata.step or 0)


def recipe_of(name: str) -> Recipe:
    """Return the recipe of this name, of this JSON file, or of this model.

    Raises:
        ValueError: there is no such recipe; names similar ones.
    """
    path = at_home(name)
    if name in RECIPES or not path.exists():
        return recipe(name)
    if path.is_dir() and not is_of_run(path):
        folder = literal(shown_path(name))
        raise SettingError(
            "recipe",
            f"{folder} is the folder of no run; to train on its images, give {{data={folder}}} and "
            "a recipe such as photos",
        )
    if path.suffix != ".json":
        return read(name)[2]
    try:
        return from_json(read_json(path))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} holds no recipe ({error}); give a file that `adm recipes NAME` prints"
        ) from None


def read(model: str | Path) -> tuple[Path, dict[str, Tensor], Recipe, Metadata]:
    """Read a model file or a released file: its path, weights, recipe and metadata.

    Raises:
        ValueError: there is no such model, or the file is damaged, of another kind or of another
            checkpoint than the one that it is in.
    """
    path = resolve(model)
    if _is_web_page(path):
        raise ValueError(f"{path} is a web page, not a model; download the file that it shows")
    if path.suffix in FOREIGN:
        # Recognised by the names and shapes of its weights.
        name, weights = load_released(path)
        recipe = released_recipe(name)
        return path, weights, recipe, released_metadata(recipe)
    if path.suffix == PICKLED:
        raise ValueError(
            f"{path} is a pickle, which is code that would run when it is loaded, and is refused; "
            "NVIDIA publishes its networks in no other form, and `adm models edm` lists networks "
            "of the same process"
        )
    check_model(path)
    metadata = metadata_of(path)
    try:
        recipe = from_json(metadata.recipe)
        build.check(recipe)
        classes, names = recipe.config.classes, len(metadata.classes)
        if classes not in (None, names):
            raise ValueError(f"it names {names} classes, and its network has {classes}")
    except ValueError as error:
        raise metadata_error(path, error) from None
    return path, load_weights(path), recipe, metadata


def released_metadata(recipe: Recipe) -> Metadata:
    """Return the metadata of a released file, whose classes are numbers."""
    classes = tuple(str(label) for label in range(recipe.config.classes or 0))
    return Metadata(recipe=to_json(recipe), classes=classes, data=recipe.data.source)


def _filled(
    recipe: Recipe, weights: dict[str, Tensor], path: Path, device: torch.device
) -> UNet | Classifier:
    """Build the recipe's network with these weights, without a random initialization."""
    try:
        network = on_meta(recipe.config)
    except ValueError as error:
        raise metadata_error(path, error) from None
    if shapes_of(network.state_dict()) != shapes_of(weights):
        raise ValueError(f"the weights in {path} do not match its recipe; the file is damaged")
    filled = {name: w.float() for name, w in weights.items()}
    check_finite(path, filled, "copy it again, or give an earlier checkpoint")
    network.load_state_dict(filled, assign=True)
    return network.to(device).eval().requires_grad_(False)


def _is_web_page(path: Path) -> bool:
    """Return whether a file is HTML, which servers send in place of a file that moved."""
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))
