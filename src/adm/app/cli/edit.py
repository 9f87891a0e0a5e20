"""adm edit MODEL IMAGES --out DIR -> sample folder of edited images."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import Split
from adm.app.cli.output import OUT
from adm.app.cli.sampling import MODELS, OUTPUT, SETTINGS, Models, Output, Settings
from adm.shown import count_of
from adm.store.samples import MANIFEST


def edit(
    model: str,
    images: str,
    /,
    *,
    out: Annotated[Path, OUT],
    edit: str = "noise",
    classes: str | None = None,
    samples: int = 1,
    split: Split = "train",
    count: int | None = None,
    settings: Settings = SETTINGS,
    models: Models = MODELS,
    output: Output = OUTPUT,
) -> None:
    """Edit images: resample them from noise, encode and change them, or interpolate.

    Writes a sample folder like that of `adm sample`, in which the edits of an image follow one
    another; grid.png shows them beside it. Files of images are resized and cropped to the size of
    the model, as in training. An interrupted command resumes when it is run again, and torchrun or
    --part distributes it as they do `adm sample`.

    Examples:

        adm edit fashion fashion-mnist --count 8 --edit noise:strength=0.4 --samples 4 --out four

        adm edit fashion photo.png --edit invert:strength=0.8 --classes bag,coat --scale 4 --out bag

        adm edit fashion out/pair --edit interpolate:count=7 --out out/between

    Parameters
    ----------
    model
        A diffusion model: a path (a file or a run folder) or a shipped name, such as fashion.
    images
        Images to edit: a sample folder, or any data that `adm train` takes, such as a folder of
        images or an .npz file.
    out
        Sample folder to write.
    edit
        As in noise:strength=0.5, invert:steps=100 or interpolate:count=7; `adm help edit` lists
        them.
    classes
        Classes to change each image to: bag, or all, or bag:4,coat for four and one of each image.
        By default the edits are not conditioned on a class.
    samples
        Edits of each image, for each of the classes.
    count
        Edit only the first COUNT images.
    """
    places.folder(out, MANIFEST)
    from adm.app.cli.folder import write
    from adm.generation.inputs import read_images
    from adm.generation.pipeline import load
    from adm.models.device import join_ranks

    devices = join_ranks(models.device)
    pipeline = load(model, models.classifier, None, devices.device, models.weak)
    pixels, name = read_images("images", images, pipeline.shape, split, count, pipeline.model.range)
    job = pipeline.edit_job(pixels, edit, classes, samples, name, **settings.overrides)
    write(out, job, output, f"editing {count_of(len(pixels), 'image')}", devices)
