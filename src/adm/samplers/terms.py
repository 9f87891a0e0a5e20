"""Terms of guidance, settings by name -> terms; names of settings of guidance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, cast

from adm.samplers.classifier_guidance import ClassifierGuidance
from adm.samplers.contrast_guidance import (
    AttentionGuidance,
    ContrastGuidance,
    FreeGuidance,
    WeakGuidance,
)
from adm.samplers.settings import Term
from adm.shown import shown

# Every setting of `ClassifierGuidance` but the scale has this prefix to the name of its field.
PREFIX = "guide_"
OF_GUIDANCE = {field.name for field in fields(ClassifierGuidance)} - {"scale", "name"}
GUIDES = {PREFIX + name for name in OF_GUIDANCE}
# The settings of a contrast have its name as the prefix: free_scale, free_interval.
CONTRASTS: dict[str, type[ContrastGuidance]] = {
    kind.name: kind for kind in (FreeGuidance, WeakGuidance, AttentionGuidance)
}
OF_CONTRASTS = {f"{name}_{field}" for name in CONTRASTS for field in ("scale", "interval")}
SETTINGS = {"scale", *GUIDES, *OF_CONTRASTS}


def with_settings(guidance: Sequence[Term], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the terms of guidance, as JSON values, with settings changed by name.

    Args:
        given: settings by name, of `SETTINGS`.

    Raises:
        ValueError: a scale is no number, or a setting has no term that it belongs to.
    """
    terms = tuple(term for term in guidance if isinstance(term, ClassifierGuidance))
    if "scale" in given:
        terms = guided_by(number("scale", given["scale"]), terms)
    guides = {name: value for name, value in given.items() if name in GUIDES}
    if guides and not terms:
        raise ValueError(
            f"{min(guides)} needs guidance; pass a scale=... other than 0, or leave it out"
        )
    own = {name.removeprefix(PREFIX): value for name, value in guides.items()}
    found = [asdict(term) | own for term in terms]
    return found + [each for kind in CONTRASTS for each in _contrast(kind, guidance, given)]


def _contrast(
    name: str, guidance: Sequence[Term], given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the terms of one kind of contrast, as JSON values, with settings changed."""
    kind, scale, interval = CONTRASTS[name], f"{name}_scale", f"{name}_interval"
    terms = [asdict(term) for term in guidance if isinstance(term, kind)]
    if scale in given:
        wanted = number(scale, given[scale])
        first = terms[0] if terms else {"name": name}
        terms = [first | {"scale": wanted}] if wanted != kind.neutral else []
    if interval not in given:
        return terms
    if not terms:
        raise ValueError(
            f"{interval} needs a scale; pass a {scale}=... other than {kind.neutral:g}, or leave "
            "it out"
        )
    return [term | {"interval": given[interval]} for term in terms]


def guided_by(
    scale: float, guidance: tuple[ClassifierGuidance, ...] = ()
) -> tuple[ClassifierGuidance, ...]:
    """Return the classifier's guidance at another scale; empty for scale 0."""
    if not scale:
        return ()
    first = guidance[0] if guidance else ClassifierGuidance(scale=scale)
    return (replace(first, scale=scale),)


def as_values(guidance: Any) -> Any:
    """Return terms of guidance as values, which pydantic checks, unlike dataclasses.

    A term without a name is one of a classifier.

    Raises:
        ValueError: one is no term, or of no known name.
    """
    if not isinstance(guidance, list | tuple):
        return guidance
    return [_as_value(term) for term in cast("list[Any]", guidance)]


def _as_value(term: Any) -> dict[str, Any]:
    if isinstance(term, ClassifierGuidance | ContrastGuidance):
        return asdict(term)
    if not isinstance(term, Mapping):
        raise ValueError(
            f"guidance must be terms such as ClassifierGuidance(scale=2.0), got {shown(term)}"
        )
    values = {"name": ClassifierGuidance.name, **cast("Mapping[str, Any]", term)}
    known = (ClassifierGuidance.name, *CONTRASTS)
    if values["name"] not in known:
        names = ", ".join(known)
        raise ValueError(f"guidance {shown(values['name'])} is unknown; the terms are {names}")
    return values


def setting_of(place: Sequence[int | str]) -> str | None:
    """Return the name of the setting at a place in JSON values; None for one of no term."""
    names = [part for part in place if isinstance(part, str)]
    if len(names) < 3 or names[0] != "guidance":
        return None
    kind, field = names[1], names[-1]
    if kind in CONTRASTS:
        return f"{kind}_{field}"
    return PREFIX + field if field in OF_GUIDANCE else field


def number(name: str, value: Any) -> float:
    """Return a setting as a number; raise ValueError, which names it, for another value."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # a text, or an array of several numbers
        raise ValueError(f"{name} must be a valid number, got {shown(value)}") from None
