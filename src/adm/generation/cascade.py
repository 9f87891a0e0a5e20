"""Job, upsampler -> Job: a cascade, whose upsampler starts from the images of a first model."""

from collections.abc import Sequence
from dataclasses import replace

from adm.generation.generate import DiffusionGenerator
from adm.generation.job import Job
from adm.models.trained import DiffusionModel


def cascade(base: Job, upsampler: DiffusionModel, steps: int | None = None) -> Job:
    """The job that upsamples the images of `base`.

    The upsampler is told the same classes, by name, where it knows them. It is sampled as its
    recipe says, with the seed, rounding and precision of the base.

    Args:
        steps: evaluations of the upsampler per image; its recipe's own by default.

    Raises:
        ValueError: it knows some of the classes and not others, or starts from other images.
    """
    generator = base.generator
    sampling = upsampler.recipe.sample
    if steps is not None:
        sampling = replace(sampling, grid=replace(sampling.grid, steps=steps))
    if isinstance(generator, DiffusionGenerator):
        like = generator.sampling
        sampling = replace(
            sampling,
            seed=like.seed,
            use_labels=like.use_labels,
            rounding=like.rounding,
            precision=like.precision,
        )
    labels = base.labels
    if labels is not None:
        labels = translated(labels, generator.classes, upsampler.classes)
    return Job(DiffusionGenerator(upsampler, sampling), labels, base.count, low_res=base)


def translated(
    labels: Sequence[int], names: Sequence[str], known: Sequence[str]
) -> list[int] | None:
    """The same classes as another model numbers them; None where it knows none of them.

    Args:
        labels: of images whose classes have these `names`.
        known: the classes of the other model, in the order of its labels.

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
        f"{', '.join(known[:20])}, or pass use_labels=False"
    )
