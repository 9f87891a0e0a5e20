"""DiffusionModel, Sampling, ClassifierModel -> Sampling of a student, or ValueError."""

from dataclasses import replace

from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import DDIM, ClassifierGuidance, Sampling
from adm.samplers.grid import DISTILLED


def distilled(
    model: DiffusionModel, sampling: Sampling, classifier: ClassifierModel | None
) -> Sampling:
    """Return the settings with the levels of a student; those of another model as they are.

    Raises:
        ValueError: the student was not distilled for these settings, or the model is no student and
            the levels are to be those of one.
    """
    how, grid = model.recipe.distillation, sampling.grid
    if how is None:
        if grid.spacing == DISTILLED:
            raise ValueError(
                f"spacing {DISTILLED} is for distilled models, and {model.path} is none; pass "
                "another spacing"
            )
        return sampling
    if classifier is not None:
        raise ValueError(
            f"{model.path} is distilled from a guided sampler, and takes the scale without a "
            "classifier; leave the classifier out"
        )
    _check_sampler(model, sampling)
    low, high = how.scales
    if not low <= sampling.scale <= high:
        raise ValueError(
            f"this model is distilled for scales from {low:g} to {high:g}, got "
            f"{sampling.scale:g}; pass a scale between them"
        )
    plain = tuple(ClassifierGuidance(scale=term.scale) for term in sampling.by_classifier)
    if sampling.guidance != plain:
        raise ValueError(
            "this model is distilled for guidance at all levels, without a cap; pass only the scale"
        )
    steps = grid.steps
    if not grid.learned:
        if grid.levels == how.levels(model.schedule, steps):
            return sampling
        raise ValueError(
            "this model takes steps between the levels that it was distilled for; leave spacing, "
            "start, end and levels out"
        )
    levels = how.levels(model.schedule, steps)
    return replace(sampling, grid=replace(grid, levels=levels))


def _check_sampler(model: DiffusionModel, sampling: Sampling) -> None:
    how, sampler = model.recipe.distillation, sampling.sampler
    assert how is not None
    fits = sampler.name == how.method.sampler
    if not fits or (isinstance(sampler, DDIM) and sampler != DDIM()):
        raise ValueError(
            f"this model is distilled for sampler={how.method.sampler!r} without parameters; leave "
            "the sampler out"
        )
    if not sampling.use_labels:
        raise ValueError("this model is distilled with labels; leave use_labels out")
