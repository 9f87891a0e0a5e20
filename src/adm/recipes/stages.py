"""Recipe, networks, Teach -> Turn; Recipe, Teach -> Objective of every stage of training."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import nn

from adm.adversarial import (
    CRITIC,
    GENERATOR,
    adversarial_turn,
    discriminator_objective,
    generator_objective,
)
from adm.distillation import Lesson, Teach, student_of
from adm.losses import TimestepImportance
from adm.networks.biggan import Discriminator, Generator, orthogonality, share_statistics
from adm.recipes import build
from adm.recipes.schema import DiffusionRecipe, GANRecipe, Recipe
from adm.spec import SettingError
from adm.training.objective import Objective
from adm.training.update import Turn, alone


# Five parameters, of which the last two are those of some recipes.
def turn_of(
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    device: torch.device,
    importance: TimestepImportance | None = None,
    teach: Teach | None = None,
) -> Turn:
    """Return the turn of a recipe's training.

    Args:
        networks: those of `build.networks`.
        device, importance, teach: as for `objectives`.
    """
    if isinstance(recipe, GANRecipe):
        return _adversarial(recipe, networks, device)
    return alone(*objectives(recipe, device, importance, teach), stage=stage_of(recipe))


def _adversarial(
    recipe: GANRecipe, networks: Mapping[str, nn.Module], device: torch.device
) -> Turn:
    how, autocast = recipe.adversarial, build.autocast_for(recipe.train.precision, device)
    generator = cast(Generator, networks[GENERATOR])
    critic = cast(Discriminator, networks[CRITIC])
    share_statistics(generator)
    unevenness = orthogonality(generator)
    penalty = (lambda: how.orthogonal * unevenness()) if how.orthogonal else None
    return adversarial_turn(
        generator_objective(critic, how.augmentation, autocast, penalty),
        discriminator_objective(generator, how.augmentation, autocast),
        how.discriminator_steps,
    )


def objectives(
    recipe: Recipe,
    device: torch.device,
    importance: TimestepImportance | None = None,
    teach: Teach | None = None,
) -> tuple[Objective, ...]:
    """Return the objective of every stage of the recipe's training; most recipes have one.

    Args:
        device, importance: as for `objective`.
        teach: the teacher of a student; None for any other network.

    Raises:
        ValueError: the recipe distils a teacher, and there is none, or the other way round.
    """
    how = recipe.distillation
    check_taught(recipe, teach is not None)
    if how is None or teach is None:
        return (build.objective(recipe, device, importance),)
    assert isinstance(recipe, DiffusionRecipe)
    levels = build.schedule(recipe.process)
    autocast = build.autocast_for(recipe.train.precision, device)
    lesson = Lesson(
        process=levels,
        levels=how.grid.visited(levels),
        steps=how.steps,
        scales=how.scales,
        teach=teach,
        student=student_of(
            recipe.unet.conditions, build.parameterization(recipe.process), autocast
        ),
    )
    return how.method.stages(lesson)


def check_taught(recipe: Recipe, taught: bool) -> None:
    """Raise ValueError unless there is a teacher if the recipe distils one, and only then."""
    distils = recipe.distillation is not None
    if distils and not taught:
        raise SettingError("teacher", f"given, as the recipe {recipe.name} distils one")
    if taught and not distils:
        raise SettingError(
            "teacher",
            f"left out, as the recipe {recipe.name} distils none",
            cure="or give a recipe such as fashion-distilled",
        )


def stage_of(recipe: Recipe) -> Callable[[int], int]:
    """Return the function from the number of an optimizer step to its stage."""
    how = recipe.distillation
    if how is None:
        return lambda step: 0
    return lambda step: how.method.stage(step, len(how.steps))
