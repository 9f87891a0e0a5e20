"""Sampling, DiffusionModel, weak DiffusionModel, labels -> Denoise by contrasts, or ValueError."""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from adm.diffusion import Denoise, Schedule, Threshold
from adm.generation.fit import check_free, check_weak, no_weak
from adm.guidance import contrasted, thresholded
from adm.models.engines import evaluated_by, perturbed_by
from adm.models.trained import DiffusionModel, Network
from adm.samplers import AttentionGuidance, FreeGuidance, Sampling, WeakGuidance
from adm.samplers.contrast_guidance import ContrastGuidance

WeakOf: TypeAlias = Callable[[ContrastGuidance], Denoise]


def check_contrasts(model: DiffusionModel, sampling: Sampling, weak: DiffusionModel | None) -> None:
    """Raise ValueError unless the model can be sampled with these contrasts, by this weak model."""
    for term in sampling.by_contrast:
        term.check(model.schedule.last)
        if isinstance(term, FreeGuidance):
            labelled, dropout = bool(_told(model)), model.recipe.train.label_dropout
            check_free(model.path, labelled, sampling.use_labels, dropout)
        elif isinstance(term, WeakGuidance):
            if weak is None:
                raise no_weak(term.scale)
            _check_weak(model, weak)
        elif isinstance(term, AttentionGuidance):
            _check_attention(model)


def needs_weak(sampling: Sampling) -> bool:
    """Return whether a weak model takes part in sampling with these settings."""
    return any(isinstance(term, WeakGuidance) for term in sampling.by_contrast)


def _check_weak(model: DiffusionModel, weak: DiffusionModel) -> None:
    """Raise ValueError unless both have the same images, classes, process and upsampling."""
    ours, theirs = model.recipe.process, weak.recipe.process
    check_weak(
        weak.path,
        {
            "images of": (model.shape, weak.shape),
            "low-resolution images of": (model.low_shape, weak.low_shape),
            "the classes": (_told(model), _told(weak)),
            "T =": (ours.steps, theirs.steps),
            "the noise schedule": (ours.schedule, theirs.schedule),
            "rescaled timesteps": (ours.rescale_steps, theirs.rescale_steps),
        },
    )


def _told(model: DiffusionModel) -> tuple[str, ...]:
    """Return the classes that a network is told."""
    return model.classes if model.network.config.classes is not None else ()


def _check_attention(model: DiffusionModel) -> None:
    """Raise ValueError if the innermost attention is the identity, having a single position."""
    reduction = model.network.config.reduction
    if all(side == reduction for side in model.shape[1:]):
        raise ValueError(
            f"the innermost features of {model.path} are one pixel, which can attend to itself "
            "alone, so that attention_scale=... changes nothing; leave it out"
        )


def contrasts(sampling: Sampling, process: Schedule, strong: Denoise, weak_of: WeakOf) -> Denoise:
    """Return the denoiser with all contrasts of the settings; `strong` itself if there are none.

    Args:
        process: the process that the model was trained on.
        weak_of: returns the weaker denoiser of a term.
    """
    levels = sampling.grid.visited(process)
    found = [term.applied(weak_of(term), levels) for term in sampling.by_contrast]
    return contrasted(strong, *found) if found else strong


# Six parameters: the models, how they are sampled, and what their networks are given.
def denoiser(
    model: DiffusionModel,
    weak: DiffusionModel | None,
    sampling: Sampling,
    labels: Tensor | None,
    low_res: Tensor | None,
    threshold: Threshold | None,
) -> Denoise:
    """Return the denoiser of a model with these settings, for these labels.

    With contrasts the threshold is applied after them, as the released system applies it to what a
    network predicts: the extrapolation leaves the range of images.

    Args:
        weak: the weak model of `WeakGuidance`.
        labels: (B,) int64 if the networks are told them.
        low_res: (B, C, h, w) in [-1, 1], the images that an upsampler starts from.

    Raises:
        ValueError: there is classifier-free guidance and no labels.
    """
    schedule, terms = sampling.grid.of(model.schedule), sampling.by_contrast
    if labels is None and any(isinstance(term, FreeGuidance) for term in terms):
        raise ValueError("free_scale=... needs classes to guide to; pass classes=...")
    engine, precision = sampling.engine, sampling.precision
    before = None if terms else threshold

    def plain(of: DiffusionModel, labels: Tensor | None, network: Network) -> Denoise:
        scale = sampling.scale  # of a student
        return of.denoise(labels, schedule, before, low_res, network=network, scale=scale)

    def weak_of(term: ContrastGuidance) -> Denoise:
        if isinstance(term, AttentionGuidance):
            return plain(model, labels, perturbed_by(engine, model, precision))
        if isinstance(term, FreeGuidance):
            return plain(model, None, evaluated_by(engine, model, precision))
        assert weak is not None
        return plain(weak, labels, evaluated_by(engine, weak, precision))

    strong = plain(model, labels, evaluated_by(engine, model, precision))
    made = contrasts(sampling, model.schedule, strong, weak_of)
    return thresholded(made, threshold, schedule) if terms and threshold is not None else made
