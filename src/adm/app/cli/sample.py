"""adm sample MODEL --out DIR -> sample folder: PNG files, samples.npz, samples.json."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.condition import NOTHING, Conditions
from adm.app.cli.options import Model
from adm.app.cli.output import OUT
from adm.app.cli.sampling import ALONE, DEFAULT, USUAL, Helpers, Output, Settings, labels_like
from adm.app.cli.scoring import joined
from adm.store.samples import MANIFEST


def sample(
    model: Model,
    /,
    *,
    out: Annotated[Path, OUT],
    classes: str | None = None,
    count: int | None = None,
    proportions: str | None = None,
    conditions: Conditions = NOTHING,
    settings: Settings = DEFAULT,
    helpers: Helpers = ALONE,
    upsampler: str | None = None,
    upsampler_steps: int | None = None,
    upsampler_noise: int | None = None,
    output: Output = USUAL,
) -> None:
    """Sample images from a model.

    The folder holds a PNG file for each image, grid.png with all of them or the first of each
    class, samples.npz (arr_0 uint8 NHWC, arr_1 labels), samples.json, which records how the images
    were sampled, and SHA256SUMS. With --condition, an upsampler enlarges images, and a model of
    pairs samples one from each. The same command writes the same files: run again, an interrupted
    one resumes, and a finished one has nothing to do. torchrun, or --part without it, distributes
    the images over processes and machines (docs/howto/many.md).

    Examples:

        adm sample fashion --classes sneaker:16,bag:4 --scale 2 --out out/pairs

        adm sample fashion --classes all:4 --scale 2 --animate --out out/film

        adm sample runs/digits --classifier runs/digits-classifier --scale 1 --out out/digits

        adm sample 64x64_diffusion.pt --upsampler 64_256_upsampler.pt --out out/large

        adm sample runs/fashion-upsampler --condition out/small --out out/large

        torchrun --nproc-per-node 8 -m adm sample fashion --count 50000 --out out/many

    Parameters
    ----------
    out
        Sample folder to write.
    classes
        Classes by name or number, with counts: sneaker:16,bag:4 or all:8; by default all take
        turns.
    count
        Number of images, if --classes has no counts.
    proportions
        List of labels, such as one of `adm cluster`, whose proportions of classes to sample.
    upsampler
        Upsampler to apply to the images.
    upsampler_steps
        Evaluations of the upsampler per image.
    upsampler_noise
        Noise level of the images that the upsampler receives, if it was trained on noisy ones.
    """
    chosen, overrides = classes, settings.overrides
    places.folder(out, MANIFEST)
    devices = joined(helpers.device)
    pipeline = helpers.load(model, devices.device, upsampler)
    helpers.check_used(pipeline.sampling.change(**overrides))
    labels = chosen
    if proportions is not None:
        labels, count = labels_like(proportions, chosen, pipeline.classes, count), None
    upsampling = {"upsampler_steps": upsampler_steps, "upsampler_noise": upsampler_noise}
    if conditions.condition is None:
        job = pipeline.job(labels, count, **upsampling, **overrides)
    else:
        base = conditions.job(pipeline, labels, count, overrides, devices)
        job = pipeline.enlarged(base, **upsampling)
    output.write(out, job, f"sampling {job.count} images", devices)
