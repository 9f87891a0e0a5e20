"""words on how to sample -> settings; what every verb that samples understands."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:  # so that --help answers before torch is there
    from adm.generation.generate import SamplingSettings
    from adm.models.load import ClassifierModel, DiffusionModel


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class How:
    """How to sample.

    Parameters
    ----------
    classifier
        The noisy classifier; a shipped model finds its own.
    scale
        Of the classifier's gradient: 0 is no guidance, 1 the classifier as it is, more sharpens it.
    sampler
        ancestral or ddim; the recipe's own by default.
    steps
        Evaluations of the network an image; the recipe's own by default.
    eta
        Fresh noise of DDIM: 0 is deterministic, 1 as much as ancestral sampling.
    seed
        The source, with the image's number, of all randomness.
    batch_size
        Images at a time; it changes nothing but memory and speed.
    spacing
        Of the steps: even, strided (DDIM's as released) or quadratic.
    start
        The noisiest level visited.
    without_label
        Do not tell the diffusion model the class, so that only the classifier steers.
    at_mean
        Ancestral: take the gradient at the mean, as in the paper's derivation.
    clip_again
        DDIM: clip the estimate of the image after guidance too.
    rounding
        nearest, or truncated as in the released system.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    """

    classifier: str | None = None
    scale: float = 0.0
    sampler: str | None = None
    steps: int | None = None
    eta: float = 0.0
    seed: int = 0
    batch_size: int = 64
    spacing: str | None = None
    start: int | None = None
    without_label: Annotated[bool, Parameter(negative="")] = False
    at_mean: Annotated[bool, Parameter(negative="")] = False
    clip_again: Annotated[bool, Parameter(negative="")] = False
    rounding: str = "nearest"
    device: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch size must be at least 1, got {self.batch_size}")


DEFAULT = How()


def settings_for(model: "DiffusionModel", how: How) -> "SamplingSettings":
    """What was asked for, and what the model's recipe says of the rest."""
    from adm.generation.generate import SamplingSettings

    own = model.recipe.sample
    return SamplingSettings(
        sampler=how.sampler or own.sampler,
        steps=own.steps if how.steps is None else how.steps,
        spacing=how.spacing or own.spacing,
        start=own.start if how.start is None else how.start,
        eta=how.eta,
        scale=how.scale,
        seed=how.seed,
        use_labels=not how.without_label,
        at_mean=how.at_mean,
        clip_again=how.clip_again,
        rounding=how.rounding,
    )


def guide_for(model: str, how: How) -> "ClassifierModel | None":
    """The classifier named, or the one that was shipped with the model where it is to steer."""
    from adm.cli.device import pick
    from adm.models.load import guide_of, load_classifier

    named = how.classifier or (guide_of(model) if how.scale else None)
    return load_classifier(named, pick(how.device)) if named else None


def labels_among(
    labels: list[int], names: tuple[str, ...], known: tuple[str, ...]
) -> list[int] | None:
    """The same classes as another model numbers them; None where it knows none of them.

    Args:
        labels: of images whose classes have these `names`.
        known: the classes of the model that is to hear of them.

    Raises:
        ValueError: it knows some and not others.
    """
    folded = {name.casefold(): number for number, name in enumerate(known)}
    used = [names[label] for label in labels]
    strange = sorted({name for name in used if name.casefold() not in folded})
    if not strange:
        return [folded[name.casefold()] for name in used]
    if len(strange) == len(set(used)):
        return None
    raise ValueError(
        f"the model knows no class {', '.join(strange[:5])}; rename it as one of "
        f"{', '.join(known[:20])}, or add --without-label"
    )
