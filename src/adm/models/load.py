"""Path, run folder or shipped name -> DiffusionModel, ClassifierModel, Recipe."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.models.convert import load_released
from adm.models.described import FOREIGN, Kind, check_kind
from adm.models.device import pick
from adm.models.paths import resolve
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import Classifier, UNet, on_meta, shapes_of
from adm.recipes import RECIPES, build, recipe
from adm.recipes.paper import released_recipe
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe, from_json
from adm.training import checkpoint


def load_diffusion(model: str | Path, device: torch.device | str | None = "cpu") -> DiffusionModel:
    """Load a diffusion model by path (a file, or a run folder) or shipped name.

    Raises:
        ValueError: there is no such model, the file is damaged or of another kind, or it is a
            classifier.
    """
    found = load_any(model, device, "diffusion")
    check_kind(found.path, found.recipe.kind, "diffusion")
    assert isinstance(found, DiffusionModel)
    return found


def load_classifier(
    model: str | Path, device: torch.device | str | None = "cpu"
) -> ClassifierModel:
    """Load a classifier by path (a file, or a run folder) or shipped name.

    Raises:
        ValueError: there is no such model, the file is damaged or of another kind, or it is a
            diffusion model.
    """
    found = load_any(model, device, "classifier")
    check_kind(found.path, found.recipe.kind, "classifier")
    assert isinstance(found, ClassifierModel)
    return found


@torch.inference_mode(False)  # in which guidance could not differentiate the classifier
def load_any(
    model: str | Path, device: torch.device | str | None = "cpu", kind: Kind | None = None
) -> DiffusionModel | ClassifierModel:
    """Load a model of either kind by path (a file, or a run folder) or shipped name.

    Args:
        device: such as "cpu" or "cuda:1"; None for the best that the machine has.
        kind: the kind of model that an error suggests if there is no such model.

    Raises:
        ValueError: there is no such model or device, or the file is damaged or of another kind.
    """
    place = pick(device)
    path, weights, recipe, metadata = read(model, kind)
    network = _filled(recipe, weights, path, place)
    classes, steps = tuple(metadata["classes"]), metadata.get("step", 0)
    schedule = build.schedule(recipe.process)

    def diffusion(recipe: DiffusionRecipe) -> DiffusionModel | ClassifierModel:
        assert isinstance(network, UNet)
        reading = build.parameterization(recipe.process)
        return DiffusionModel(network, recipe, classes, schedule, reading, path, steps)

    def classifier(recipe: ClassifierRecipe) -> DiffusionModel | ClassifierModel:
        assert isinstance(network, Classifier)
        return ClassifierModel(network, recipe, classes, schedule, path, steps)

    return build.by_kind(recipe, diffusion=diffusion, classifier=classifier)


def recipe_of(name: str) -> Recipe:
    """Return the recipe of this name, of this JSON file, or of this model.

    Raises:
        ValueError: there is no such recipe; names similar ones.
    """
    path = at_home(name)
    if name in RECIPES or not path.exists():
        return recipe(name)
    if path.suffix != ".json":
        return read(name)[2]
    try:
        return from_json(json.loads(path.read_text()))
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(
            f"{path} holds no recipe ({error}); give a file that `adm recipes NAME` prints"
        ) from None


def read(
    model: str | Path, kind: Kind | None = None
) -> tuple[Path, dict[str, Tensor], Recipe, dict[str, Any]]:
    """Read a model file or a released file: its path, weights, recipe and metadata.

    Raises:
        ValueError: there is no such model, or the file is damaged or of another kind.
    """
    path = resolve(model, kind)
    if path.suffix in FOREIGN:
        return path, *_released(path)
    weights, metadata = checkpoint.load_model(path)
    return path, weights, from_json(metadata["recipe"]), metadata


def _released(path: Path) -> tuple[dict[str, Tensor], Recipe, dict[str, Any]]:
    """Read a released file, which is recognised by the names and shapes of its weights."""
    loaded = load_released(path)
    recipe = released_recipe(loaded.names[0])
    config = loaded.released.config
    classes = [str(label) for label in range(config.classes or 0)]
    return loaded.state, recipe, {"classes": classes, "data": recipe.data.source}


def _filled(
    recipe: Recipe, weights: dict[str, Tensor], path: Path, device: torch.device
) -> UNet | Classifier:
    """Build the recipe's network with these weights, without a random initialization."""
    build.check(recipe)
    network = on_meta(recipe.config)
    if shapes_of(network.state_dict()) != shapes_of(weights):
        raise ValueError(f"the weights in {path} do not match its recipe; the file is damaged")
    network.load_state_dict({name: w.float() for name, w in weights.items()}, assign=True)
    return network.to(device).eval().requires_grad_(False)
