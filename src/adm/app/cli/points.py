"""Options of adm sweep, models -> Sweep: the settings that all points share, and their labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adm.app.cli.contrasts import ContrastOptions
from adm.app.cli.proportions import check_proportions, labels_like
from adm.app.cli.sampling import SamplingOptions

if TYPE_CHECKING:
    from adm.app.study.truncations import AnySweep
    from adm.generation.gan_pipeline import GANPipeline
    from adm.generation.pipeline import Pipeline
    from adm.models.trained import ClassifierModel
    from adm.samplers import Sampling


def along(contrasts: ContrastOptions, setting: str, strongest: float) -> ContrastOptions:
    """Return the options with the scale that varies, if it is of guidance without a classifier."""
    if setting in ("scale", "truncation"):
        return contrasts
    if getattr(contrasts, setting) is not None:
        raise ValueError(f"the scales are those of {setting}=...; give them as scales=... only")
    return replace(contrasts, **{setting: strongest})


def _base(
    pipeline: "Pipeline", how: SamplingOptions, axis: str, samplers: Sequence[str]
) -> "Sampling":
    """Return the settings that all points share; `eta` sets DDIM, wherever it is listed."""
    from adm.samplers.words import changed

    # Points have scales of their own; the other settings of guidance need one to belong to.
    of_contrast = [how.settings[axis.replace("_scale", "_interval")]]
    beside = [*how.guides.values()] if axis == "scale" else of_contrast
    guides = any(value is not None for value in beside)
    shared = how.settings if guides else how.settings | {axis: None}
    shared["sampler"] = "ddim" if how.eta is not None and "ddim" in samplers else samplers[0]
    return changed(pipeline.sampling, **shared)


def plan(
    pipeline: "Pipeline | GANPipeline",
    how: SamplingOptions,
    axis: str,
    listed: tuple[tuple[str, ...] | None, tuple[int, ...] | None, tuple[float, ...]],
    labels: list[int] | None,
    count: int,
) -> "AnySweep":
    """Return the sweep; samplers and steps that are not listed are those of the recipe."""
    from adm.app.study.plan import Sweep
    from adm.app.study.truncations import TruncationSweep
    from adm.generation.gan_pipeline import GANPipeline

    samplers, steps, scales = listed
    if isinstance(pipeline, GANPipeline):
        if samplers or steps:
            raise ValueError("a GAN has no samplers and no steps; leave them out")
        shared = pipeline.generator(**how.settings).sampling
        return TruncationSweep(pipeline.model, shared, labels, count, scales)
    names = samplers or (pipeline.sampling.sampler.name,)
    base = _base(pipeline, how, axis, names)
    guided = any(scales) if axis == "scale" else base.by_classifier
    return Sweep(
        pipeline.model,
        pipeline.classifier if guided else None,
        base,
        labels,
        count,
        names,
        tuple(sorted(steps or (base.grid.steps,))),
        scales,
        axis,
        pipeline.weaker if how.contrasts.weak is not None else None,
    )


def labels(
    known: Sequence[str], classes: str | None, proportions: str | None, count: int
) -> list[int] | None:
    """Return the label of each image of a point; None for a model without classes."""
    from adm.app.study.plan import balanced
    from adm.generation.labels import parse_classes

    if proportions is not None:
        check_proportions(proportions, classes, known)
        return labels_like(proportions, known, count).tolist()
    return balanced(parse_classes(classes or "all", known), count) if known else None


def judge_labels(judge: "ClassifierModel | None", plan: "AnySweep") -> list[int]:
    """Return the labels of the samples in the numbering of the judge's classes."""
    if judge is None:
        return []
    if plan.labels is None:
        raise ValueError(
            "--judge needs a model with classes, and this model has none; leave --judge out"
        )
    from adm.generation.cascade import translated

    named = translated(plan.labels, plan.classes, judge.classes)
    if named is None:
        raise ValueError(
            f"the judge has none of the classes {', '.join(plan.classes[:20])}; give another"
        )
    return named
