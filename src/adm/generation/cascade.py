"""Job, DiffusionModel -> Job: an upsampler that starts from the images of the first job."""

from collections.abc import Sequence
from dataclasses import replace

from adm.generation.diffusion import DiffusionGenerator
from adm.generation.gan import GANGenerator
from adm.generation.job import Job
from adm.generation.resolve import resolve
from adm.models.trained import DiffusionModel


def cascade(base: Job, upsampler: DiffusionModel, steps: int | None = None) -> Job:
    """Return the job that upsamples the images of `base`.

    The upsampler receives the same classes, matched by name, if it has them. It is sampled with the
    settings of its recipe, and the seed, rounding, precision and engine of the base.

    Args:
        steps: evaluations of the upsampler per image; its recipe's value by default.

    Raises:
        ValueError: the upsampler has only some of the classes, starts from images of another size,
            or cannot take so many steps.
    """
    generator = base.generator
    sampling = upsampler.recipe.sample
    if steps is not None:
        try:
            sampling = sampling.change(steps=steps)
            sampling.grid.check(upsampler.schedule.last)
        except ValueError as error:
            raise ValueError(f"the upsampler's {error}") from None
    if isinstance(generator, GANGenerator):
        like = generator.sampling
        sampling = replace(sampling, seed=like.seed, rounding=like.rounding)
    if isinstance(generator, DiffusionGenerator):
        like = generator.sampling
        sampling = replace(
            sampling,
            seed=like.seed,
            use_labels=like.use_labels,
            rounding=like.rounding,
            precision=like.precision,
            compile=like.compile,
        )
    labels = base.labels
    if labels is not None:
        labels = translated(labels, generator.classes, upsampler.classes)
    return Job(
        DiffusionGenerator(upsampler, resolve(upsampler, sampling)),
        labels,
        base.count,
        low_res=base,
    )


def translated(
    labels: Sequence[int], names: Sequence[str], known: Sequence[str]
) -> list[int] | None:
    """Return the labels of the same classes in another model, matched by name without case.

    Args:
        labels: indices into `names`.
        known: the classes of the other model, in the order of its labels.

    Returns:
        Indices into `known`, or None if the other model has none of the classes.

    Raises:
        ValueError: the other model has only some of the classes.
    """
    folded = {name.casefold(): number for number, name in enumerate(known)}
    used = [names[label] for label in labels]
    strange = sorted({name for name in used if name.casefold() not in folded})
    if not strange:
        return [folded[name.casefold()] for name in used]
    if len(strange) == len(set(used)):
        return None
    raise ValueError(
        f"the model has no class {', '.join(strange[:5])}; rename it to one of "
        f"{', '.join(known[:20])}, or pass use_labels=False"
    )
