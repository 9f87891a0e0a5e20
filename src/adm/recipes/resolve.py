"""Recipe, Facts -> Recipe: what the data, a teacher and the machine decide, filled in.

What the user has set stays: facts fill the other fields.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from adm.diffusion import EDM
from adm.recipes import build
from adm.recipes.schema import DiffusionRecipe, Recipe
from adm.spec import SettingError, differences, written

T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """What a recipe does not know until its data and its machine are there.

    Attributes:
        channels: of the data, which the network's inputs and outputs follow; None leaves the data
            and the network as they are in the recipe.
        classes: number of classes of the data; None leaves that of the recipe.
        deviation: measures the standard deviation of the data; called if it is needed.
        paired: whether the data are pairs, which the model is then conditioned on.
        teacher: the recipe of the model that a recipe of distillation distils.
        precision: of training; None leaves that of the recipe.
        source: name of the data; None leaves those that the recipe names.
    """

    channels: int | None = None
    classes: int | None = None
    deviation: Callable[[], float] | None = None
    paired: bool = False
    teacher: DiffusionRecipe | None = None
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    source: str | None = None


def resolve(recipe: Recipe, facts: Facts, fixed: Collection[str] = ()) -> Recipe:
    """Return a recipe with what is known of its data and its machine.

    Args:
        fixed: dotted paths of the fields that the user has set, which facts do not change.

    Raises:
        SettingError: pairs for a recipe that is not that of a diffusion model trained on images.
        ValueError: a classifier of data with a single class.
    """

    def fill(into: Recipe, section: str, **values: Any) -> Recipe:
        filled = replace(into, **{section: replace(getattr(into, section), **values)})
        return _keep(filled, recipe, fixed)

    resolved = recipe
    if facts.paired:
        if not isinstance(recipe, DiffusionRecipe) or recipe.distillation is not None:
            raise SettingError(
                "condition", "only a diffusion model that is no student takes {}; leave it out"
            )
        low = recipe.data.low_res or recipe.data.size
        resolved = fill(resolved, "unet", super_resolution=True)
        resolved = fill(resolved, "data", paired=True, low_res=low)
    if recipe.distillation is not None and facts.teacher is not None:
        resolved = _keep(_taught(resolved, facts.teacher), recipe, fixed)
    elif facts.channels is not None:
        resolved = fill(resolved, "data", channels=facts.channels)
        resolved = fill(resolved, recipe.section, **_dependent(resolved))
    if facts.source is not None:
        resolved = fill(resolved, "data", source=facts.source)
    if facts.classes is not None and recipe.config.classes is not None:
        if facts.classes == 1 and recipe.section == "classifier":
            raise ValueError(
                "a classifier needs images of two classes or more, and the data have one; put the "
                "images of each class into a sub-folder of its own, or give their labels"
            )
        classes = facts.classes if facts.classes > 1 else None
        resolved = fill(resolved, recipe.section, classes=classes)
    if facts.precision is not None:
        resolved = fill(resolved, "train", precision=facts.precision)
    if facts.deviation is not None and isinstance(resolved, DiffusionRecipe):
        target = resolved.process.prediction
        if isinstance(target, EDM) and target.sigma_data is None:
            known = replace(target, sigma_data=facts.deviation())
            resolved = replace(resolved, process=replace(resolved.process, prediction=known))
    return resolved


def describe_changes(before: Recipe, after: Recipe) -> str:
    """Return the fields that differ, as `field=value` with spaces between; empty if none."""
    changed = differences(before, after)
    return " ".join(f"{field}={written(now)}" for field, _, now in changed)


def _keep(filled: T, recipe: T, fixed: Collection[str]) -> T:
    """Return `filled` with the fixed fields of `recipe`, by their dotted paths."""
    for path in fixed:
        field, _, rest = path.partition(".")
        own, now = getattr(recipe, field), getattr(filled, field)
        if rest and type(own) is type(now):  # else `rest` is a field of another kind
            own = _keep(now, own, (rest,))
        filled = replace(filled, **{field: own})  # type: ignore[type-var]
    return filled


def _taught(student: Recipe, teacher: DiffusionRecipe) -> Recipe:
    """Return a recipe of distillation with the network, the process and the data of a teacher."""
    assert isinstance(student, DiffusionRecipe)
    assert student.distillation is not None
    method = student.distillation.method
    return replace(
        student,
        data=teacher.data,
        process=teacher.process,
        unet=replace(teacher.unet, conditions=method.conditions, dropout=student.unet.dropout),
        sample=replace(student.sample, sampler=method.sampler()),
    )


def _dependent(recipe: Recipe) -> dict[str, Any]:
    """Return the fields of the network that `data` determines, with their values."""
    fields: dict[str, Any] = {"in_channels": recipe.data.channels}
    if isinstance(recipe, DiffusionRecipe):
        return fields | {
            "out_channels": build.outputs(recipe),
            "conditions": build.conditions(recipe),
        }
    return fields | {"size": recipe.data.size}
