"""Models, Sampling -> classes, or SettingError if they do not fit each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from adm.data.naming import at_home
from adm.functions import Function
from adm.models.hub import CLASSIFIER, MODEL, WEAK
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.recipes.released import PUBLIC, RELEASED, public_name
from adm.samplers import (
    AttentionGuide,
    ByGradient,
    ClassifierGuide,
    FreeGuide,
    GradientGuide,
    Sampling,
    WeakGuide,
)
from adm.samplers.guide import Guide
from adm.shown import short
from adm.spec import SettingError, literal, out_of_range

Given = TypeVar("Given", ClassifierModel, Function)
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
    name = literal(model.name)
    if model.student:
        raise SettingError(
            "model",
            f"{name} is distilled, and takes the steps that it has learned alone; give its teacher",
        )
    if model.low_shape is not None:
        raise SettingError(
            "model",
            f"{name} starts from another image; give a model that starts from noise alone, or "
            "make images with this one by `adm sample --condition`",
        )


def classes_of(
    model: DiffusionModel, sampling: Sampling, classifiers: Sequence[ClassifierModel]
) -> tuple[str, ...]:
    """Return the classes of labels: the model's, otherwise those of the first guide to them."""
    to_labels = [each for each in sampling.by(ClassifierGuide) if each.classes is None]
    guided = bool(to_labels and classifiers)
    return model.classes or (given_by(to_labels[0], classifiers).classes if guided else ())


def given_by(guide: ByGradient, given: Sequence[Given]) -> Given:
    """Return the classifier or the function that a guide names, by default the first.

    Raises:
        SettingError: none or several are called so.
    """
    if not given:
        what = {"gradient": "function, as in {gradient=guides.py:darker}"}.get(guide.name, "model")
        raise SettingError(guide.name, f"{{guide={guide.name}}} needs {{}}: a {what}")
    if guide.by is None:
        return given[0]
    names = [each.name.rpartition(":")[2] for each in given]
    named = [each for each, name in zip(given, names, strict=True) if guide.by in (name, each.name)]
    if len(named) != 1:
        allowed = f"the name of one of {literal(', '.join(names))}"
        raise out_of_range("guide.by", allowed, guide.by)
    return named[0]


def check_guides(
    model: DiffusionModel,
    sampling: Sampling,
    classifiers: Sequence[ClassifierModel],
    weak: DiffusionModel | None,
    gradients: Sequence[Function] = (),
) -> None:
    """Raise ValueError unless these models can be sampled together with these settings."""
    for guide in sampling.guides:
        guide.check(model.schedule.last)
        if isinstance(guide, GradientGuide):
            given_by(guide, gradients)
    contrasts = {type(guide) for guide in sampling.by_contrast}
    if FreeGuide in contrasts:
        _check_unlabelled(model, sampling)
    if AttentionGuide in contrasts:
        _check_attention(model)
    if WeakGuide in contrasts:
        if weak is None:
            raise SettingError(
                "weak", "{guide=weak} needs {weak}: a worse model, such as an earlier checkpoint"
            )
        check_weak(model, weak)
    _check_classifiers(model, sampling, classifiers)


def _check_unlabelled(model: DiffusionModel, sampling: Sampling) -> None:
    """Raise SettingError unless the model has an unconditional prediction."""
    name = literal(model.name)
    if model.network.config.classes is None and not model.recipe.data.paired:
        raise SettingError(
            "guide",
            f"{{guide=free}} needs a model with classes, and {name} has none; use "
            "{guide=attention:scale=2}",
        )
    if not sampling.use_labels:
        raise SettingError(
            "use_labels", "{guide=free} withholds the labels itself; leave {use_labels=False} out"
        )
    if not model.recipe.train.label_dropout:
        raise SettingError(
            "guide",
            f"{{guide=free}} needs a model that was trained on images without their label as well, "
            f"and {name} was not; train with train.label_dropout=0.1, or use "
            "{guide=attention:scale=2}",
        )


def _check_attention(model: DiffusionModel) -> None:
    """Raise SettingError if the innermost attention has a single position to attend to."""
    reduction = model.network.config.reduction
    if all(side == reduction for side in model.shape[1:]):
        raise SettingError(
            "guide",
            "{guide=attention} needs attention between several pixels, and the innermost features "
            f"of {literal(model.name)} are one; use another guide",
        )


def _check_classifiers(
    model: DiffusionModel, sampling: Sampling, classifiers: Sequence[ClassifierModel]
) -> None:
    """Raise SettingError unless the classifiers can guide the model with these settings."""
    guides, name = sampling.by(ClassifierGuide), literal(model.name)
    if not classifiers:
        # Not their sum: guides of opposite scales act at different levels.
        strongest = max((guide.scale for guide in guides), key=abs, default=0.0)
        if strongest and not model.student:
            raise SettingError(
                "classifier",
                f"{{scale={strongest:g}}} needs {{classifier}}, and none belongs to {name}",
            )
        return
    if model.student:
        raise SettingError(
            "classifier",
            f"{name} is distilled from a guided model and takes the scale alone; leave "
            "{classifier} out",
        )
    classes = classes_of(model, sampling, classifiers)
    for guide in guides or [ClassifierGuide(scale=0)]:
        classifier = given_by(guide, classifiers)
        own = guide.classes is not None
        check_pair(model, classifier, classifier.classes if own else classes)


def check_pair(
    model: DiffusionModel, classifier: ClassifierModel, classes: tuple[str, ...] = ()
) -> None:
    """Raise ValueError unless the classifier can guide the model.

    It is one of noisy images, and both have the same image shape and diffusion process. A
    class-conditional model must have the classifier's classes; an unconditional model can be guided
    to any class.

    Args:
        classes: those of the labels that it guides to; by default the model's, if it has any.
    """
    if not classifier.recipe.noised:
        raise SettingError(
            "classifier",
            f"{literal(classifier.name)} was trained on clean images, and cannot guide; train one "
            "on noisy images, or guide by {gradient}, a function of yours",
        )
    ours, theirs = model.recipe.data, classifier.recipe.data
    labels = {"classes": (classes or model.classes or classifier.classes, classifier.classes)}
    cure = "train a classifier with the model's data and process"
    own = "name a class of its own, as in {guide=classifier:scale=1,classes=NAME}"
    _check_alike("classifier", model, classifier, labels, f"{cure}, or {own}")
    pairs = {
        "size of images": (ours.size, theirs.size),
        "channels": (ours.channels, theirs.channels),
        **_processes(model, classifier),
    }
    _check_alike("classifier", model, classifier, pairs, cure)


def check_weak(model: DiffusionModel, weak: DiffusionModel) -> None:
    """Raise SettingError unless both have the same images, classes, process and upsampling."""
    pairs = {
        "images": (model.shape, weak.shape),
        "low-resolution images": (model.low_shape, weak.low_shape),
        "classes": (_labels(model), _labels(weak)),
        **_processes(model, weak),
    }
    _check_alike("weak", model, weak, pairs, "give a weaker model of the same data")


def _check_alike(
    field: str,
    model: DiffusionModel,
    other: DiffusionModel | ClassifierModel,
    pairs: Mapping[str, tuple[object, object]],
    cure: str,
) -> None:
    """Raise SettingError for the first value in which another model differs."""
    for what, (own, theirs) in pairs.items():
        if own != theirs:
            differing = (
                f"{model.name} has the {what} {short(str(own))}, and {other.name} has "
                f"{short(str(theirs))}"
            )
            raise SettingError(field, f"{literal(differing)}; {cure}")


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


def _labels(model: DiffusionModel) -> tuple[str, ...]:
    """Return the classes that a network is conditioned on."""
    return model.classes if model.network.config.classes is not None else ()
