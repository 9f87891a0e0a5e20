"""adm sample MODEL --out DIR -> images named by class and seed, and one .npz."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adm.cli.labels import parse_classes
from adm.cli.progress import progress

DEFAULT_COUNT = 16


def sample(
    model: str,
    /,
    *,
    out: Path,
    classifier: str | None = None,
    scale: float = 0.0,
    classes: str | None = None,
    count: int | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    eta: float = 0.0,
    seed: int = 0,
    batch_size: int = 64,
    spacing: str | None = None,
    start: int | None = None,
    without_label: Annotated[bool, Parameter(negative="")] = False,
    at_mean: Annotated[bool, Parameter(negative="")] = False,
    clip_again: Annotated[bool, Parameter(negative="")] = False,
    rounding: str = "nearest",
    device: str | None = None,
) -> None:
    """Make images from a model.

    The folder that it leaves holds PNG files named by class and seed, samples.npz in the released
    layout (arr_0 uint8 NHWC, arr_1 labels) and samples.json, which says how they were made. Image
    17 of a seed is the same whatever the batch size, and the same command gives the same files.
    An interrupted command goes on where it was.

    Examples:

        adm sample fashion --classes sneaker:16,bag:4 --scale 2 --out out/pairs

        adm sample fashion --classes all:8 --sampler ancestral --steps 100 --out out/all

        adm sample runs/digits --classifier runs/digits-classifier --scale 1 --out out/digits

    Parameters
    ----------
    model
        A path (a file, or a run's folder) or a shipped name, such as fashion.
    out
        The folder to make.
    classifier
        The noisy classifier; a shipped model finds its own.
    scale
        Of the classifier's gradient: 0 is no guidance, 1 the classifier as it is, more sharpens it.
    classes
        Names or numbers with counts: sneaker:16,bag:4 or all:8.
    count
        Number of images of a model without classes, or of one sampled without labels.
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
    # Loaded here and not above, so that --help answers before torch is there.
    from adm import generate
    from adm.cli.device import pick
    from adm.recipes.model import guide_of, load_classifier, load_diffusion
    from adm.sample_folder import SampleRun, sample_into

    if batch_size < 1:
        raise ValueError(f"batch size must be at least 1, got {batch_size}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2^64 - 1, got {seed}")
    where = pick(device)
    loaded = load_diffusion(model, where)
    own = loaded.recipe.sample
    settings = generate.SamplingSettings(
        sampler=sampler or own.sampler,
        steps=own.steps if steps is None else steps,
        spacing=spacing or own.spacing,
        start=own.start if start is None else start,
        eta=eta,
        scale=scale,
        seed=seed,
        use_labels=not without_label,
        at_mean=at_mean,
        clip_again=clip_again,
        rounding=rounding,
    )
    named = classifier or (guide_of(model) if scale else None)
    guide = load_classifier(named, where) if named else None
    generate.check(settings, loaded, guide)
    labelled = loaded.recipe.unet.classes is not None or bool(scale)
    labels, number = wanted(loaded.classes if labelled else None, classes, count)
    run = SampleRun(loaded, guide, settings, labels, number)
    with progress(f"sampling {number} images", number * settings.steps) as advance:
        sample_into(out, run, batch_size=batch_size, on_step=advance)
    print(f"{out}: {number} images, samples.npz, samples.json")


def wanted(
    known: Sequence[str] | None, classes: str | None, count: int | None
) -> tuple[list[int] | None, int]:
    """The labels asked for, of those known if any are, and how many images."""
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if known is None:
        if classes is not None:
            raise ValueError(
                "this model knows no classes; give --count, or a --classifier and a --scale"
            )
        return None, count or DEFAULT_COUNT
    if classes is not None and count is not None:
        raise ValueError("give --classes with counts, or --count, not both")
    if classes is not None:
        labels = parse_classes(classes, known)
        return labels, len(labels)
    number = count or DEFAULT_COUNT
    return [i % len(known) for i in range(number)], number
