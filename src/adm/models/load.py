"""a path or a shipped name -> a model, rebuilt from the recipe that its file carries."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.diffusion import Denoise, Parameterization, Schedule, clip, denoiser
from adm.diffusion.prediction import Restrain
from adm.guidance.gradients import Gradient, classifier_gradient
from adm.models.convert import load_released
from adm.networks import NO_LABEL, Classifier, UNet, on_meta, shapes_of
from adm.recipes import RECIPES, build, recipe
from adm.recipes.paper import released_recipe
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe, from_json
from adm.training import checkpoint

FOREIGN = (".pt", ".pth")  # how files that `torch.save` wrote are called
SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True, eq=False)
class DiffusionModel:
    """A trained network, its process, and how its output is read."""

    network: UNet
    recipe: DiffusionRecipe
    classes: tuple[str, ...]
    schedule: Schedule
    parameterization: Parameterization
    path: Path
    trained_steps: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        return (self.recipe.data.channels, *self.recipe.data.size)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def denoise(
        self,
        labels: Tensor | None = None,
        schedule: Schedule | None = None,
        restrain: Restrain | None = clip,
        low_res: Tensor | None = None,
    ) -> Denoise:
        """denoise(x_t, level) for these labels; gradients flow through it.

        Args:
            labels: (B,) int64, or None to sample without.
            schedule: a respaced process; the one trained on by default.
            low_res: (B, C, h, w) in [-1, 1], for an upsampler.
        """
        own = self.schedule if schedule is None else schedule
        if labels is None and self.network.config.classes is not None:
            labels = torch.tensor([NO_LABEL], device=self.device)

        def output(x_t: Tensor, step: Tensor) -> Tensor:
            return self.network(x_t, step, labels, low_res)

        return denoiser(output, own, self.parameterization, restrain)


@dataclass(frozen=True, eq=False)
class ClassifierModel:
    """A trained classifier and the process whose levels it knows."""

    network: Classifier
    recipe: ClassifierRecipe
    classes: tuple[str, ...]
    schedule: Schedule
    path: Path
    trained_steps: int

    def gradient(self, labels: Tensor, scale: float, schedule: Schedule) -> Gradient:
        """scale x the gradient of log p(label | x_t), on the levels of `schedule`."""
        return classifier_gradient(self.network, schedule, labels, scale)

    def classify(self, x_0: Tensor) -> Tensor:
        """(B, C, H, W) clean images in [-1, 1] -> (B, classes) logits."""
        level = 1 if self.recipe.noised else 0
        return self.network(x_0, self.schedule.step(level, x_0))


def load_diffusion(model: str | Path, device: torch.device | str = "cpu") -> DiffusionModel:
    """Load a diffusion model by path (a file, or a run's folder) or shipped name.

    Raises:
        ValueError: no such model, a damaged or foreign file, or a classifier.
    """
    path, weights, recipe, metadata = read(model)
    if not isinstance(recipe, DiffusionRecipe):
        raise ValueError(
            f"{path} is a classifier; give a diffusion model, and it with --classifier"
        )
    network = _filled(recipe, weights, path, device)
    assert isinstance(network, UNet)
    return DiffusionModel(
        network=network,
        recipe=recipe,
        classes=tuple(metadata["classes"]),
        schedule=build.schedule(recipe.process),
        parameterization=build.parameterization(recipe.process),
        path=path,
        trained_steps=metadata.get("step", 0),
    )


def load_classifier(model: str | Path, device: torch.device | str = "cpu") -> ClassifierModel:
    """Load a classifier by path (a file, or a run's folder) or shipped name.

    Raises:
        ValueError: no such model, a damaged or foreign file, or a diffusion model.
    """
    path, weights, recipe, metadata = read(model)
    if not isinstance(recipe, ClassifierRecipe):
        raise ValueError(f"{path} is a diffusion model; give a classifier")
    network = _filled(recipe, weights, path, device)
    assert isinstance(network, Classifier)
    return ClassifierModel(
        network=network,
        recipe=recipe,
        classes=tuple(metadata["classes"]),
        schedule=build.schedule(recipe.process),
        path=path,
        trained_steps=metadata.get("step", 0),
    )


def recipe_of(name: str) -> Recipe:
    """The recipe of this name, in this JSON file, or of this model.

    Raises:
        ValueError: there is none; names those that are near.
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
            f"{path} holds no recipe ({error}); `adm recipes NAME` shows what one looks like"
        ) from None


def guide_of(model: str | Path) -> str | None:
    """The classifier that ships with a shipped model."""
    name = f"{model}-classifier"
    return name if (SHIPPED / f"{name}.safetensors").exists() else None


def check_pair(model: DiffusionModel, classifier: ClassifierModel) -> None:
    """Raise ValueError unless the classifier can guide the model: same images, classes, time."""
    if not classifier.recipe.noised:
        raise ValueError(f"{classifier.path} was trained on clean images only; guide with another")
    ours, theirs = model.recipe, classifier.recipe
    pairs = {
        "classes": (model.classes, classifier.classes),
        "image size": (ours.data.size, theirs.data.size),
        "channels": (ours.data.channels, theirs.data.channels),
        "steps T": (ours.process.steps, theirs.process.steps),
        "noise schedule": (ours.process.schedule, theirs.process.schedule),
        "rescaled steps": (ours.process.rescale_steps, theirs.process.rescale_steps),
    }
    for what, (a, b) in pairs.items():
        if a != b:
            raise ValueError(
                f"the classifier's {what} {_short(b)} do not match the model's {_short(a)}; "
                "train a classifier with the model's data and process"
            )


def resolve(model: str | Path) -> Path:
    """A path, a run's folder or a shipped name -> the model file.

    Raises:
        ValueError: there is none; names the shipped ones that are near.
    """
    path = at_home(model)
    if path.is_dir():
        newest = checkpoint.latest(path)
        file = (newest or path) / "model.safetensors"
        if not file.exists():
            raise ValueError(f"{path} holds no checkpoint yet; give a run's folder or a model file")
        return file
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    if str(model) in shipped:
        return shipped[str(model)]
    near = get_close_matches(str(model), shipped) or list(shipped)
    raise ValueError(f"no model {str(model)!r}; give a path, or {' or '.join(near)}")


def read(model: str | Path) -> tuple[Path, dict[str, Tensor], Recipe, dict[str, Any]]:
    """A model file of ours, or a released one -> its path, weights, recipe and metadata.

    Raises:
        ValueError: no such model, or a damaged or foreign file.
    """
    path = resolve(model)
    if path.suffix in FOREIGN:
        return path, *_released(path)
    weights, metadata = checkpoint.load_model(path)
    return path, weights, from_json(metadata["recipe"]), metadata


def _released(path: Path) -> tuple[dict[str, Tensor], Recipe, dict[str, Any]]:
    """One of the released files, recognised from its weights."""
    loaded = load_released(path)
    recipe = released_recipe(loaded.names[0])
    config = loaded.released.config
    classes = [str(label) for label in range(config.classes or 0)]
    return loaded.state, recipe, {"classes": classes, "data": recipe.data.source}


def _filled(
    recipe: Recipe, weights: dict[str, Tensor], path: Path, device: torch.device | str
) -> UNet | Classifier:
    """The recipe's network around these weights; a random start would only be thrown away."""
    build.check(recipe)
    network = on_meta(recipe.config)
    if shapes_of(network.state_dict()) != shapes_of(weights):
        raise ValueError(
            f"the weights in {path} are not those of its own recipe; the file is damaged"
        )
    network.load_state_dict({name: w.float() for name, w in weights.items()}, assign=True)
    return network.to(device).eval().requires_grad_(False)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
