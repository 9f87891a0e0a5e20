"""Models, options -> what the models say about themselves, or what `adm.app.cli.early` refuses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adm.app.cli.obstacles import Check
from adm.app.cli.sampling import SamplingOptions

if TYPE_CHECKING:
    from adm.models.described import Described, Kind


def models(
    check: Check, model: str, how: SamplingOptions
) -> "tuple[Described | None, Described | None]":
    """Return what the model and its classifier say about themselves, as far as it is known."""
    base = check(model_of, model, "diffusion", "gan")
    guide = None if how.classifier is None else check(model_of, how.classifier, "classifier")
    _check_contrasts(check, base, how)
    return base, guide


def model_of(model: str, kind: "Kind", *others: "Kind") -> "Described | None":
    """Return what a model file says about itself; None for a released file.

    Args:
        kind: of the model that an error suggests.
        others: kinds that it may be of as well.

    Raises:
        ValueError: there is no such model, or it is damaged or of another kind.
    """
    from adm.models.described import check_kind, described
    from adm.models.paths import resolve

    found = described(resolve(model, kind))
    if found is not None and found.kind not in others:
        check_kind(found.path, found.kind, kind)
    return found


def known_classes(
    base: "Described", guide: "Described | None", how: SamplingOptions
) -> tuple[str, ...] | None:
    """Return the classes that can be sampled; None if only the models show it."""
    guided = base.guided if how.scale is None else bool(how.scale)
    if base.classes and (guided or (base.labelled and not how.without_label)):
        return base.classes
    if not guided:
        return ()
    return None if guide is None else guide.classes


def _check_contrasts(check: Check, base: "Described | None", how: SamplingOptions) -> None:
    """Refuse options of guidance that lack what they need; `settings` checks their values."""
    given = how.contrasts
    weak = None if given.weak is None else check(model_of, given.weak, "diffusion")
    check(_check_pair, given.weak, given.weak_scale, base)
    if base is None or base.kind == "gan":
        return
    if given.free_scale not in (None, 1.0):
        check(_check_free, base, told=not how.without_label)
    if weak is not None:
        check(_check_weak, base, weak)


def _check_pair(weak: str | None, scale: float | None, base: "Described | None") -> None:
    """Raise ValueError if a weak model has no scale, or a scale no weak model."""
    from adm.generation.fit import no_weak

    if weak is None and scale not in (None, 1.0):
        raise no_weak(scale)
    if weak is not None and scale is None and not (base and _guided_by("weak", base.sample)):
        raise ValueError("weak=... needs a scale; pass weak_scale=..., such as 1.5")


def _guided_by(name: str, sample: Mapping[str, Any]) -> bool:
    """Return whether settings, as JSON values, have a term of this name."""
    terms = sample.get("guidance") or ()
    return any(isinstance(term, Mapping) and term.get("name") == name for term in terms)


def _check_free(base: "Described", told: bool) -> None:
    from adm.generation.fit import check_free

    check_free(base.path, base.labelled, told, base.label_dropout)


def _check_weak(base: "Described", weak: "Described") -> None:
    from adm.generation.fit import check_weak

    check_weak(
        weak.path,
        {
            "images of": (base.shape, weak.shape),
            "low-resolution images of": (base.low_shape, weak.low_shape),
            "the classes": (base.told, weak.told),
            "T =": (base.steps, weak.steps),
        },
    )
