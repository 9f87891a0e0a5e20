"""adm sample MODEL --out DIR -> sample folder: PNG files, samples.npz, samples.json."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import FLAG, Model
from adm.app.cli.output import OUT
from adm.app.cli.sampling import MODELS, OUTPUT, SETTINGS, Models, Output, Settings
from adm.shown import count_of
from adm.spec import SettingError
from adm.store.samples import MANIFEST


def sample(
    model: Model,
    /,
    *,
    out: Annotated[Path, OUT],
    classes: str | None = None,
    count: int | None = None,
    proportions: str | None = None,
    condition: str | None = None,
    shrink: Annotated[bool, FLAG] = False,
    settings: Settings = SETTINGS,
    models: Models = MODELS,
    upsampler: str | None = None,
    upsampler_steps: int | None = None,
    upsampler_noise: int | None = None,
    output: Output = OUTPUT,
) -> None:
    r"""Sample images from a model.

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

        adm sample fashion --classifier fashion-classifier \
            --classifier fashion-unlabelled-classifier --guide classifier:scale=2 --guide \
            classifier:scale=1,by=fashion-unlabelled-classifier,classes=cluster-03 --out out/both

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
        List of labels, a .csv file, whose proportions of classes to sample.
    condition
        Images to condition the model on, such as the small ones that an upsampler enlarges: a
        sample folder, or any data that `adm train` takes. One image is sampled for each, or --count
        images, for all in turn. Their classes, matched by name, are the default of --classes.
    shrink
        Shrink the images first, by area averaging, as in the training of an upsampler.
    upsampler
        Upsampler to apply to the images.
    upsampler_steps
        Evaluations of the upsampler per image.
    upsampler_noise
        Noise level of the images that the upsampler receives, if it was trained on noisy ones.
    """
    places.folder(out, MANIFEST)
    if shrink and condition is None:
        raise SettingError("shrink", "{} needs {condition}, the images to shrink")
    from adm.app.cli.folder import write
    from adm.generation.condition import condition_size, conditioned_job
    from adm.generation.labels import labels_like
    from adm.generation.pipeline import load
    from adm.models.device import join_ranks
    from adm.scoring import open_images

    devices, overrides = join_ranks(models.device), settings.overrides
    pipeline = load(model, models.classifier, upsampler, devices.device, models.weak)
    of: str | list[int] | None = classes
    if proportions is not None:
        of, count = labels_like(proportions, classes, pipeline.classes, count), None
    upsampling = {"upsampler_steps": upsampler_steps, "upsampler_noise": upsampler_noise}
    if condition is None:
        job = pipeline.job(of, count, **upsampling, **overrides)
    else:
        size, channels = condition_size(pipeline.model, shrink), pipeline.shape[0]
        how = {"size": size, "channels": channels, "stored": pipeline.model.range}
        images = open_images(condition, **how).source
        base = conditioned_job(
            pipeline.generator(classes=of, **overrides), images, of, count, shrink
        )
        job = pipeline.enlarged(base, **upsampling)
    write(out, job, output, f"sampling {count_of(job.count, 'image')}", devices)
