"""Path, run folder or shipped name -> DiffusionModel, ClassifierModel, Recipe."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.models.convert import load_released
from adm.models.device import pick
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import Classifier, UNet, on_meta, shapes_of
from adm.recipes import RECIPES, build, recipe
from adm.recipes.paper import released_recipe
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe, from_json
from adm.training import checkpoint

FOREIGN = (".pt", ".pth")  # suffixes of files of `torch.save`
SHIPPED = Path(__file__).parent / "shipped"


def load_diffusion(model: str | Path, device: torch.device | str | None = "cpu") -> DiffusionModel:
    """Load a diffusion model by path (a file, or a run folder) or shipped name.

    Raises:
        ValueError: there is no such model, the file is damaged or of another kind, or it is a
            classifier.
    """
    found = load_any(model, device)
    if isinstance(found, ClassifierModel):
        raise ValueError(
            f"{found.path} is a classifier; give a diffusion model, and pass this one as "
            "classifier=..."
        )
    return found


def load_classifier(
    model: str | Path, device: torch.device | str | None = "cpu"
) -> ClassifierModel:
    """Load a classifier by path (a file, or a run folder) or shipped name.

    Raises:
        ValueError: there is no such model, the file is damaged or of another kind, or it is a
            diffusion model.
    """
    found = load_any(model, device)
    if isinstance(found, DiffusionModel):
        raise ValueError(f"{found.path} is a diffusion model; give a classifier")
    return found


@torch.inference_mode(False)  # in which guidance could not differentiate the classifier
def load_any(
    model: str | Path, device: torch.device | str | None = "cpu"
) -> DiffusionModel | ClassifierModel:
    """Load a model of either kind by path (a file, or a run folder) or shipped name.

    Args:
        device: such as "cpu" or "cuda:1"; None for the best that the machine has.

    Raises:
        ValueError: there is no such model or device, or the file is damaged or of another kind.
    """
    place = pick(device)
    path, weights, recipe, metadata = read(model)
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


def resolve(model: str | Path) -> Path:
    """Return the model file of a path, a run folder or a shipped name.

    Raises:
        ValueError: there is no such file; names similar shipped models.
    """
    if not isinstance(model, str | Path) or not str(model):
        raise ValueError(f"a model must be a path or a shipped name such as fashion, got {model!r}")
    path = at_home(model)
    if path.is_dir():
        return _in_folder(path)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    if str(model) in shipped:
        return shipped[str(model)]
    near = get_close_matches(str(model), shipped) or list(shipped)
    raise ValueError(f"no model {str(model)!r}; give a path, or {' or '.join(near)}")


def _in_folder(path: Path) -> Path:
    """Return the model file of a run folder's newest checkpoint, or of a checkpoint's folder."""
    folder = checkpoint.latest(path) or path
    file = folder / "model.safetensors"
    if file.exists():
        return file
    players = [str(found.parent) for found in sorted(folder.glob("*/model.safetensors"))]
    if players:
        raise ValueError(f"{path} holds several networks; give one of {', '.join(players)}")
    raise ValueError(f"{path} holds no checkpoint yet; give a run folder or a model file")


def read(model: str | Path) -> tuple[Path, dict[str, Tensor], Recipe, dict[str, Any]]:
    """Read a model file or a released file: its path, weights, recipe and metadata.

    Raises:
        ValueError: there is no such model, or the file is damaged or of another kind.
    """
    path = resolve(model)
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
