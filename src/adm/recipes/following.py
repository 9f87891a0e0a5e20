"""Recipe, settings, channels, classes and deviation of data -> Recipe that fits them.

What is set wins over what follows: the settings are applied again after each change.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from adm.diffusion import EDM
from adm.recipes import build
from adm.recipes.schema import DiffusionRecipe, Recipe, override
from adm.spec import Checked, SettingError, text


def following(
    recipe: Recipe,
    settings: Sequence[str] = (),
    channels: int | None = None,
    classes: int | None = None,
) -> Recipe:
    """Return a recipe that fits the data, but for what is set.

    A generative model of data with a single class has no classes, and a recipe without classes
    stays without them.

    Args:
        settings: as of `override`; the recipe has them already.
        channels: number of channels of the data; None if unknown.
        classes: number of classes of the data; None if unknown.

    Raises:
        ValueError: a classifier of data with a single class.
    """
    if channels is not None:
        recipe = changed(recipe, settings, "data", channels=channels)
    recipe = changed(recipe, settings, recipe.section, **_dependent(recipe))
    if classes is None or recipe.config.classes is None:
        return recipe
    if classes == 1 and recipe.section == "classifier":
        raise ValueError(
            "a classifier needs images of two classes or more, and the data have one; put the "
            "images of each class into a sub-folder of its own, or give their labels"
        )
    known = classes if classes > 1 else None
    return changed(recipe, settings, recipe.section, classes=known)


def paired(recipe: Recipe, settings: Sequence[str] = ()) -> Recipe:
    """Return a recipe with settings whose model is conditioned on the other image of each pair.

    Raises:
        SettingError: it is not that of a diffusion model trained on images.
    """
    if not isinstance(recipe, DiffusionRecipe) or recipe.distillation is not None:
        raise SettingError("condition", "left out, as only a diffusion model takes one")
    conditioned = replace(recipe, unet=replace(recipe.unet, super_resolution=True))
    overridden = override(conditioned, settings)
    low = overridden.data.low_res or overridden.data.size
    return changed(overridden, settings, "data", paired=True, low_res=low)


def measured(recipe: Recipe, deviation: Callable[[], float]) -> Recipe:
    """Return a recipe that states the standard deviation of the data, if its prediction needs it.

    Args:
        deviation: measures it; called if it is needed and not set.
    """
    if not isinstance(recipe, DiffusionRecipe):
        return recipe
    target = recipe.process.prediction
    if not isinstance(target, EDM) or target.sigma_data is not None:
        return recipe
    known = replace(target, sigma_data=deviation())
    return replace(recipe, process=replace(recipe.process, prediction=known))


def changed(recipe: Recipe, settings: Sequence[str], section: str, **values: Any) -> Recipe:
    """Return a recipe with fields of a section changed, but for those that are set."""
    part = replace(getattr(recipe, section), **values)
    return override(replace(recipe, **{section: part}), settings)


def describe_changes(before: Recipe, after: Recipe) -> str:
    """Return the fields that differ, as `field=value` with spaces between; empty if none."""
    places = [
        ("data", "channels"),
        *((after.section, field) for field in (*_dependent(after), "classes")),
        *([("process", "prediction")] if isinstance(after, DiffusionRecipe) else []),
    ]
    pairs = [
        (
            f"{section}.{field}",
            *(getattr(getattr(each, section), field) for each in (before, after)),
        )
        for section, field in places
    ]
    return " ".join(f"{field}={_plain(now)}" for field, was, now in pairs if was != now)


def _dependent(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of the network that `data` determines, with their values."""
    fields: dict[str, Any] = {"in_channels": recipe.data.channels}
    if isinstance(recipe, DiffusionRecipe):
        return fields | {
            "out_channels": build.outputs(recipe),
            "conditions": build.conditions(recipe),
        }
    return fields | {"size": recipe.data.size}


def _plain(value: object) -> str:
    if isinstance(value, Checked):
        return text(value)
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
