"""Sampling, DiffusionModel, ClassifierModel, labels -> Gradient, or ValueError."""

from collections.abc import Callable

from torch import Tensor

from adm.diffusion import Schedule
from adm.guidance import Gradient, Temperatures, total
from adm.models.engines import classified_by
from adm.models.pair import check_pair, guides_on
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.samplers import Ancestral, ClassifierGuidance, Sampling, Splitting
from adm.samplers.classifier_guidance import On


def check_guidance(
    model: DiffusionModel, sampling: Sampling, classifier: ClassifierModel | None
) -> None:
    """Raise ValueError unless the model can be sampled with this guidance by this classifier."""
    terms = sampling.by_classifier
    for term in terms:
        term.check(model.schedule.last)
    # Not their sum: terms of opposite scales guide at different levels.
    strongest = max((term.scale for term in terms), key=abs, default=0.0)
    if strongest and classifier is None and not model.student:
        raise ValueError(f"scale {strongest:g} needs a classifier; pass classifier=...")
    if classifier is None:
        return
    ways: list[On | None] = [term.on for term in terms]
    for on in ways or [None]:
        check_pair(model, classifier, on)
    on_x_0 = any(guides_on(classifier, term.on) != "x_t" for term in terms)
    if on_x_0 and isinstance(sampling.sampler, Splitting):
        raise ValueError(
            "splitting takes the gradient before the network has estimated x_0, so it cannot guide "
            "on x_0; pass another sampler, such as sampler='ipndm', or a noisy classifier"
        )
    at_mean = isinstance(sampling.sampler, Ancestral) and sampling.sampler.at_mean
    if at_mean and through_network(sampling):
        raise ValueError(
            "at_mean takes the gradient where the network is not evaluated, so it cannot pass "
            "through it; pass guide_on='x_0', or leave at_mean out"
        )


def through_network(sampling: Sampling) -> bool:
    """Return whether the guidance differentiates the diffusion network."""
    return any(term.on == "x_0_through_network" for term in sampling.by_classifier)


def guidance(
    sampling: Sampling, process: Schedule, gradient_of: Callable[[ClassifierGuidance], Gradient]
) -> Gradient | None:
    """Return the sum of all terms of a classifier's guidance; None if there are none.

    Args:
        process: the process that the model was trained on.
        gradient_of: returns the gradient of a term, without a scale.
    """
    levels = sampling.grid.visited(process)
    terms = [term.applied(gradient_of(term), levels) for term in sampling.by_classifier]
    return total(*terms) if len(terms) > 1 else next(iter(terms), None)


def gradient_of(
    sampling: Sampling,
    process: Schedule,
    classifier: ClassifierModel | None,
    labels: Tensor | None,
) -> Gradient | None:
    """Return the gradient of all terms of guidance by a classifier; None if there are none.

    Args:
        process: the process that the model was trained on.
        labels: (B,) int64; None for an unconditional batch.

    Raises:
        ValueError: there is guidance and no labels.
    """
    if classifier is None or not sampling.by_classifier:
        return None
    if labels is None:
        raise ValueError(f"scale {sampling.scale:g} needs classes to guide to; pass classes=...")
    by = gradient_by(classifier, labels, sampling.grid.of(process), sampling)
    return guidance(sampling, process, by)


def gradient_by(
    classifier: ClassifierModel, labels: Tensor, schedule: Schedule, sampling: Sampling
) -> Callable[[ClassifierGuidance], Gradient]:
    """Return the function that returns the gradient of a term by a classifier.

    Args:
        labels: (B,) int64.
        schedule: the levels that are visited.
    """
    precision = sampling.precision
    network = classified_by(sampling.engine, classifier, precision)

    def gradient_of(term: ClassifierGuidance) -> Gradient:
        on = guides_on(classifier, term.on)
        temperatures = Temperatures(*(term.temperatures or ()))
        if on == "x_t":
            return classifier.gradient(labels, schedule, precision, temperatures, network)
        through = on == "x_0_through_network"
        return classifier.clean_gradient(
            labels, schedule, precision, temperatures, through, network
        )

    return gradient_of
