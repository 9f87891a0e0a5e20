"""DiffusionModel, ClassifierModel -> classes, or ValueError if the pair does not match."""

from pathlib import Path

from adm.data.naming import at_home
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.released import RELEASED
from adm.samplers.classifier_guidance import On
from adm.shown import in_short


def classifier_of(model: str | Path) -> str | Path | None:
    """Return the classifier that belongs to a model, or None if it is not found.

    That of a shipped model is shipped. That of a released file is searched for in the same folder,
    under its released name.
    """
    name = f"{model}-classifier"
    if (SHIPPED / f"{name}.safetensors").exists():
        return name
    path = at_home(model)
    released = RELEASED.get(path.name)
    if released is None or released.classifier is None:
        return None
    beside = path.with_name(released.classifier)
    return beside if beside.exists() else None


def classes_of(model: DiffusionModel, classifier: ClassifierModel | None) -> tuple[str, ...]:
    """Return the classes that can be sampled: the model's, otherwise the classifier's."""
    return model.classes or (() if classifier is None else classifier.classes)


def guides_on(classifier: ClassifierModel, on: On | None) -> On:
    """Return what a classifier classifies when it guides; see `ClassifierGuidance.on`."""
    return on or ("x_t" if classifier.recipe.noised else "x_0")


def check_pair(model: DiffusionModel, classifier: ClassifierModel, on: On | None = None) -> None:
    """Raise ValueError unless the classifier can guide the model.

    Both must have the same image shape, and if it classifies x_t the same diffusion process. A
    class-conditional model must have the classifier's classes; an unconditional model can be guided
    to any class.

    Args:
        on: what it classifies; see `ClassifierGuidance.on`.
    """
    on_x_t = guides_on(classifier, on) == "x_t"
    if on_x_t and not classifier.recipe.noised:
        raise ValueError(
            f"{classifier.path} was trained on clean images only, and cannot guide on x_t; pass "
            "guide_on='x_0', or give a noisy classifier"
        )
    ours, theirs = model.recipe, classifier.recipe
    pairs: dict[str, tuple[object, object]] = {
        "classes": (model.classes or classifier.classes, classifier.classes),
        "image size": (ours.data.size, theirs.data.size),
        "channels": (ours.data.channels, theirs.data.channels),
    }
    of_process: dict[str, tuple[object, object]] = {
        "steps T": (ours.process.steps, theirs.process.steps),
        "noise schedule": (ours.process.schedule, theirs.process.schedule),
        "rescaled timesteps": (ours.process.rescale_steps, theirs.process.rescale_steps),
    }
    for what, (a, b) in (pairs | of_process if on_x_t else pairs).items():
        if a != b:
            raise ValueError(
                f"the classifier's {what} {in_short(b)} do not match the model's {in_short(a)}; "
                "train a classifier with the model's data and process"
            )
