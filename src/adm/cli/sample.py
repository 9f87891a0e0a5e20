"""adm sample MODEL --out DIR -> images named by class and seed, and one .npz."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adm.cli.labels import parse_classes
from adm.cli.progress import progress
from adm.cli.sampling import DEFAULT, How, guide_for, labels_among, settings_for

if TYPE_CHECKING:
    from adm.generation.folder import SampleRun
    from adm.models.load import DiffusionModel

DEFAULT_COUNT = 16


def sample(
    model: str,
    /,
    *,
    out: Path,
    classes: str | None = None,
    count: int | None = None,
    how: How = DEFAULT,
    upsampler: str | None = None,
    upsampler_steps: int | None = None,
) -> None:
    """Make images from a model.

    The folder that it leaves holds PNG files named by class and seed, samples.npz in the released
    layout (arr_0 uint8 NHWC, arr_1 labels) and samples.json, which says how they were made. Image
    17 of a seed is the same whatever the batch size, and the same command gives the same files.
    An interrupted command goes on where it was. Images not of 1, 3 or 4 channels have no PNG files.

    Examples:

        adm sample fashion --classes sneaker:16,bag:4 --scale 2 --out out/pairs

        adm sample fashion --classes all:8 --sampler ancestral --steps 100 --out out/all

        adm sample runs/digits --classifier runs/digits-classifier --scale 1 --out out/digits

        adm sample 64x64_diffusion.pt --upsampler 64_256_upsampler.pt --out out/large

    Parameters
    ----------
    model
        A path (a file, or a run's folder) or a shipped name, such as fashion.
    out
        The folder to make.
    classes
        Names or numbers with counts: sneaker:16,bag:4 or all:8.
    count
        Number of images of a model without classes, or of one sampled without labels.
    upsampler
        A model that makes the images larger; those that it starts from are kept in base/.
    upsampler_steps
        Evaluations of the upsampler an image; its recipe's own by default.
    """
    # Loaded here and not above, so that --help answers before torch is there.
    from adm.cli.device import pick
    from adm.generation import generate
    from adm.generation.folder import SampleRun, sample_into
    from adm.models.load import load_diffusion

    if upsampler is None and upsampler_steps is not None:
        raise ValueError("--upsampler-steps is for an --upsampler; leave it out, or give one")
    loaded = load_diffusion(model, pick(how.device))
    settings, guide = settings_for(loaded, how), guide_for(model, how)
    generate.check(settings, loaded, guide)
    labelled = loaded.recipe.unet.classes is not None or bool(how.scale)
    labels, number = wanted(loaded.classes if labelled else None, classes, count)
    run = SampleRun(loaded, guide, settings, labels, number)
    if upsampler is not None:
        run = enlarged(run, load_diffusion(upsampler, pick(how.device)), upsampler_steps)
    with progress(f"sampling {number} images", run.evaluations) as advance:
        sample_into(out, run, batch_size=how.batch_size, on_step=advance)
    more = "" if upsampler is None else ", base/"
    print(f"{out}: {number} images, samples.npz, samples.json{more}")


def enlarged(base: "SampleRun", upsampler: "DiffusionModel", steps: int | None) -> "SampleRun":
    """The run that goes on from the images of `base`, told the same classes."""
    from adm.generation.folder import SampleRun

    how = How(
        steps=steps,
        seed=base.settings.seed,
        without_label=not base.settings.use_labels,
        rounding=base.settings.rounding,
    )
    labels = base.labels
    if labels is not None:
        labels = labels_among(labels, base.model.classes, upsampler.classes)
    settings = settings_for(upsampler, how)
    return SampleRun(upsampler, None, settings, labels, base.count, low_res=base)


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
