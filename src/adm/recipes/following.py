"""Recipe, settings -> free fields; Recipe, channels, classes of data -> Recipe that fits them."""

from collections.abc import Iterable
from dataclasses import replace

from adm.recipes import build
from adm.recipes.schema import DiffusionRecipe, Recipe

PRECISION = "train.precision"  # follows from the device


def free_fields(recipe: Recipe, settings: Iterable[str] = ()) -> frozenset[str]:
    """Return the fields that follow from data and device, without those that `settings` set.

    Args:
        settings: as of `override`.
    """
    given = [setting.partition("=")[0].strip() for setting in settings]
    return frozenset(
        field
        for field in (PRECISION, *_fields(recipe))
        if not any(field == path or field.startswith(f"{path}.") for path in given)
    )


def following(
    recipe: Recipe, free: Iterable[str], channels: int | None = None, classes: int | None = None
) -> Recipe:
    """Return a recipe whose free fields fit the data and each other.

    A generative model of data with a single class has no classes, and a recipe without classes
    stays without them.

    Args:
        free: the fields that may change, from `free_fields`.
        channels: number of channels of the data; None if unknown.
        classes: number of classes of the data; None if unknown.

    Raises:
        ValueError: a classifier of data with a single class.
    """
    allowed = frozenset(free)
    if channels is not None:
        recipe = _changed(recipe, {"data.channels": channels}, allowed)
    recipe = _changed(recipe, _dependent(recipe), allowed)
    field = f"{recipe.section}.classes"
    if classes is None or recipe.config.classes is None or field not in allowed:
        return recipe
    if classes > 1:
        return _changed(recipe, {field: classes}, allowed)
    if recipe.section != "classifier":
        return _changed(recipe, {field: None}, allowed)
    raise ValueError(
        "a classifier needs images of two classes or more, and the data have one; put the images "
        "of each class into a sub-folder of its own, or give their labels"
    )


def in_precision(recipe: Recipe, free: Iterable[str], precision: str) -> Recipe:
    """Return a recipe in this precision, if it is free."""
    return _changed(recipe, {PRECISION: precision}, frozenset(free))


def told(before: Recipe, after: Recipe) -> str:
    """Return the fields that differ, as `field=value` with spaces between; empty if none."""
    pairs = [(field, _at(before, field), _at(after, field)) for field in _fields(after)]
    return " ".join(f"{field}={_plain(now)}" for field, was, now in pairs if was != now)


def _changed(recipe: Recipe, values: dict[str, object], allowed: frozenset[str]) -> Recipe:
    """Return a recipe with those fields of its sections changed that are allowed."""
    for field, value in values.items():
        if field in allowed:
            section, _, name = field.partition(".")
            part = replace(getattr(recipe, section), **{name: value})
            recipe = replace(recipe, **{section: part})
    return recipe


def _fields(recipe: Recipe) -> tuple[str, ...]:
    """Return the fields that follow from the data."""
    return ("data.channels", *_dependent(recipe), f"{recipe.section}.classes")


def _dependent(recipe: Recipe) -> dict[str, object]:
    """Return the fields of the network that `data` determines, with their values."""
    found: dict[str, object] = {f"{recipe.section}.in_channels": recipe.data.channels}
    if isinstance(recipe, DiffusionRecipe):
        found["unet.out_channels"] = build.outputs(recipe)
    else:
        found[f"{recipe.section}.size"] = recipe.data.size
    return found


def _at(recipe: Recipe, field: str) -> object:
    here: object = recipe
    for part in field.split("."):
        here = getattr(here, part)
    return here


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
