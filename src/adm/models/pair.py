"""Models, Sampling -> classes, or SettingError if they do not fit each other."""

from collections.abc import Callable
from pathlib import Path

from adm.data.naming import at_home
from adm.models.hub import CLASSIFIER, MODEL, WEAK
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.released import PUBLIC, RELEASED, public_name
from adm.samplers import ClassifierGuide, Sampling, WeakGuide
from adm.samplers.guide import Guide, On, Weaker
from adm.shown import short
from adm.spec import out_of_range

# Of shipped models: those with the lowest distances, and of equal distances the most accurate; see
# docs/results/results.md and docs/howto/without-labels.md.
GUIDES: dict[str, tuple[Guide, ...]] = {
    "fashion": (ClassifierGuide(scale=1.0, interval=(1, 700)),),
    "fashion-fast": (ClassifierGuide(scale=1.0),),
    "fashion-unlabelled": (ClassifierGuide(scale=2.0),),
    "emoji": (ClassifierGuide(scale=2.0), WeakGuide(scale=1.5)),
    "emoji-fast": (ClassifierGuide(scale=2.0),),
}


def guides_of(model: Path, guided: bool) -> tuple[Guide, ...]:
    """Return the guides with which a model file is sampled by default.

    Args:
        guided: whether there is a classifier, without which a released file is not guided.
    """
    if model.parent == SHIPPED:
        return GUIDES.get(model.stem, ())
    released = RELEASED.get(model.name)
    scale = released.scale if guided and released is not None else 0.0
    return (ClassifierGuide(scale=scale),) if scale else ()


def classifier_of(model: str | Path, file: Path | None = None) -> str | Path | None:
    """Return the classifier that belongs to a model, or None if there is none.

    That of a shipped model is shipped, and that of a released name is released. That of a released
    file is searched for in the same folder, under its released name, and that of a
    model.safetensors as classifier.safetensors.

    Args:
        model: its name or path.
        file: its file, where `model` is a folder or a name of the hub.
    """
    if released := PUBLIC.get(str(model)):
        own = RELEASED[released].classifier
        return None if own is None else public_name(own)
    path = at_home(model) if file is None else file
    released = RELEASED.get(path.name)
    own = (
        released.classifier if released is not None else CLASSIFIER if path.name == MODEL else None
    )
    return _shipped_or_beside(f"{model}-classifier", path, own)


def weak_of(model: str | Path, file: Path | None = None) -> str | Path | None:
    """Return the weak model that belongs to a model, or None if there is none.

    That of a shipped model is shipped, and that of a model.safetensors is searched for in the same
    folder, as weak.safetensors.

    Args:
        model, file: as for `classifier_of`.
    """
    path = at_home(model) if file is None else file
    return _shipped_or_beside(f"{model}-weak", path, WEAK if path.name == MODEL else None)


def _shipped_or_beside(name: str, model: Path, own: str | None) -> str | Path | None:
    """Return the name if a model is shipped under it, or the file `own` beside a model's."""
    if (SHIPPED / f"{name}.safetensors").exists():
        return name
    sibling = None if own is None else model.with_name(own)
    return sibling if sibling is not None and sibling.exists() else None


def check_from_noise(model: DiffusionModel) -> None:
    """Raise SettingError unless a model estimates x_0 from x_t alone, at any level."""
    for kind, cure in (
        (model.student and "distilled", "give its teacher"),
        (
            model.low_shape and "conditioned on an image",
            "`adm sample --condition` makes images with it",
        ),
    ):
        if kind:
            raise out_of_range(
                "model",
                "one that starts from noise alone, at any level: no student, upsampler or model of "
                "pairs",
                f"{model.name}, {kind}",
                cure,
            )


def classes_of(model: DiffusionModel, classifier: ClassifierModel | None) -> tuple[str, ...]:
    """Return the classes that can be sampled: the model's, otherwise the classifier's."""
    return model.classes or (() if classifier is None else classifier.classes)


def guides_on(classifier: ClassifierModel, on: On | None) -> On:
    """Return what a classifier classifies when it guides; see `ClassifierGuide.on`."""
    return on or ("x_t" if classifier.recipe.noised else "x_0")


def check_guides(
    model: DiffusionModel,
    sampling: Sampling,
    classifier: ClassifierModel | None,
    weak: DiffusionModel | None,
) -> None:
    """Raise ValueError unless these models can be sampled together with these settings."""
    for guide in sampling.guides:
        guide.check(model.schedule.last)
    for guide in sampling.by_contrast:
        CONTRASTS[guide.against](model, sampling, weak)
    guides, sampler = sampling.by_classifier, sampling.sampler
    if classifier is None:
        # Not their sum: guides of opposite scales act at different levels.
        strongest = max((guide.scale for guide in guides), key=abs, default=0.0)
        if strongest and not model.student:
            raise out_of_range("classifier", f"given, as the scale is {strongest:g}")
        return
    if model.student:
        raise out_of_range(
            "classifier",
            f"left out, as {model.path} is distilled and takes the scale alone",
        )
    ways: list[On | None] = [guide.on for guide in guides]
    for on in ways or [None]:
        check_pair(model, classifier, on)
    on_x_0 = any(guides_on(classifier, guide.on) != "x_t" for guide in guides)
    if on_x_0 and sampler.splits:
        raise out_of_range(
            "sampler",
            "one that evaluates the network before the gradient, as the guidance is on x_0",
            sampler.name,
            "pass {sampler=ipndm}, or a noisy classifier",
        )
    if sampler.elsewhere and any(guide.on == "x_0_through_network" for guide in guides):
        raise out_of_range(
            "sampler.at_mean",
            "false, as the gradient passes through the network at another point",
            cure="pass {guide=classifier:on=x_0}",
        )


def check_pair(model: DiffusionModel, classifier: ClassifierModel, on: On | None = None) -> None:
    """Raise ValueError unless the classifier can guide the model.

    Both must have the same image shape, and if it classifies x_t the same diffusion process. A
    class-conditional model must have the classifier's classes; an unconditional model can be guided
    to any class.

    Args:
        on: what it classifies; see `ClassifierGuide.on`.
    """
    on_x_t = guides_on(classifier, on) == "x_t"
    if on_x_t and not classifier.recipe.noised:
        raise out_of_range(
            "guide.on",
            f"x_0, as {classifier.path} was trained on clean images only",
            "x_t",
            "or give a noisy classifier",
        )
    ours, theirs = model.recipe, classifier.recipe
    pairs: dict[str, tuple[object, object]] = {
        "classes": (model.classes or classifier.classes, classifier.classes),
        "image size": (ours.data.size, theirs.data.size),
        "channels": (ours.data.channels, theirs.data.channels),
    }
    if on_x_t:
        pairs |= _processes(model, classifier)
    for what, (own, other) in pairs.items():
        if own != other:
            raise out_of_range(
                "classifier",
                f"of the model's {what}, {short(str(own))}",
                other,
                "train a classifier with the model's data and process",
            )


def _processes(
    model: DiffusionModel, other: DiffusionModel | ClassifierModel
) -> dict[str, tuple[object, object]]:
    """Return what makes up the processes of two models."""
    ours, theirs = model.recipe.process, other.recipe.process
    return {
        "steps T": (ours.steps, theirs.steps),
        "noise schedule": (ours.schedule, theirs.schedule),
        "rescaled timesteps": (ours.rescale_steps, theirs.rescale_steps),
    }


def _check_unlabelled(
    model: DiffusionModel, sampling: Sampling, weak: DiffusionModel | None
) -> None:
    """Raise SettingError unless the model has an unconditional prediction."""
    if model.network.config.classes is None and not model.recipe.data.paired:
        raise out_of_range(
            "guide",
            f"another one than free, as {model.path} takes no labels",
            cure="pass {guide=attention:scale=1}",
        )
    if not sampling.use_labels:
        raise out_of_range("use_labels", "true for guide=free, which withholds them itself", False)
    if not model.recipe.train.label_dropout:
        raise out_of_range(
            "guide",
            f"another one than free, as {model.path} was trained without label dropout",
            cure="train with train.label_dropout=0.1",
        )


def _check_weak(model: DiffusionModel, sampling: Sampling, weak: DiffusionModel | None) -> None:
    """Raise SettingError unless there is a weak model that can guide the model."""
    if weak is None:
        raise out_of_range("weak", "given for guide=weak: a model such as an earlier checkpoint")
    check_weak(model, weak)


def check_weak(model: DiffusionModel, weak: DiffusionModel) -> None:
    """Raise SettingError unless both have the same images, classes, process and upsampling."""
    pairs: dict[str, tuple[object, object]] = {
        "images": (model.shape, weak.shape),
        "low-resolution images": (model.low_shape, weak.low_shape),
        "classes": (_labels(model), _labels(weak)),
        **_processes(model, weak),
    }
    for what, (own, other) in pairs.items():
        if own != other:
            raise out_of_range("weak", f"of the same {what} as the model, {short(str(own))}", other)


def _labels(model: DiffusionModel) -> tuple[str, ...]:
    """Return the classes that a network is conditioned on."""
    return model.classes if model.network.config.classes is not None else ()


def _check_perturbed(
    model: DiffusionModel, sampling: Sampling, weak: DiffusionModel | None
) -> None:
    """Raise SettingError if the innermost attention has a single position to attend to."""
    reduction = model.network.config.reduction
    if all(side == reduction for side in model.shape[1:]):
        raise out_of_range(
            "guide",
            f"another one than attention, as the innermost features of {model.path} are one pixel",
        )


CONTRASTS: dict[Weaker, Callable[[DiffusionModel, Sampling, DiffusionModel | None], None]] = {
    "unlabelled": _check_unlabelled,
    "weak": _check_weak,
    "perturbed": _check_perturbed,
}
