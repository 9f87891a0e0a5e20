"""adm upsample MODEL IMAGES --out DIR -> sample folder of the upsampled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.output import OUT
from adm.app.cli.sampling import ALONE, DEFAULT, USUAL, Helpers, Output, Settings
from adm.app.cli.scoring import Strict, joined
from adm.data.naming import ARCHIVE, MANIFEST

if TYPE_CHECKING:
    from torch import Tensor

    from adm.data import Source
    from adm.models.trained import DiffusionModel


def upsample(
    model: str,
    images: str,
    /,
    *,
    out: Annotated[Path, OUT],
    count: int | None = None,
    shrink: Annotated[bool, Parameter(negative="")] = False,
    strict: Strict = False,
    settings: Settings = DEFAULT,
    helpers: Helpers = ALONE,
    output: Output = USUAL,
) -> None:
    """Upsample images with an upsampler.

    Writes a sample folder like that of `adm sample`, with one image for each input image, in the
    same order. The upsampler receives the class of an image if it has a class of the same name. An
    interrupted command resumes when it is run again, and torchrun or --shard distributes it as they
    do `adm sample`.

    Examples:

        adm upsample runs/fashion-upsampler out/small --out out/large

        adm upsample 64_256_upsampler.pt 64_samples.npz --batch-size 4 --out out/large

        adm upsample runs/fashion-upsampler fashion-mnist --shrink --count 16 --out out/again

    Parameters
    ----------
    model
        An upsampler: a path (a file or a run folder).
    images
        Images to upsample: a sample folder, or any data that `adm train` takes, such as a folder of
        images or an .npz file.
    out
        Sample folder to write.
    count
        Upsample only the first COUNT images.
    shrink
        Shrink the images first, by area averaging, as in the training of the upsampler.
    strict
        Refuse images that cannot be decoded. By default they are left out, and listed.
    """
    places.folder(out, MANIFEST)
    # Imported here, so that --help does not load torch.
    import torch

    from adm.app.scoring.images import readable
    from adm.generation.cascade import translate
    from adm.generation.job import Job
    from adm.spec import SettingError

    devices = joined(helpers.device)
    pipeline = helpers.load(model, devices.device)
    upsampler = pipeline.diffusion
    if upsampler.low_shape is None:
        raise SettingError("model", "an upsampler", upsampler.name, "see `adm sample`")
    given = settings.given
    helpers.check_used(pipeline.sampling.change(**given))
    generator = pipeline.generator(**given)
    source = opened(images, upsampler, shrink, named=bool(generator.classes), strict=strict)
    source = readable(source, devices)
    number = len(source) if count is None else min(count, len(source))
    if number < 1:
        raise SettingError("count", "at least 1", count)
    low = torch.stack([small(source.read(i), upsampler, shrink, images) for i in range(number)])
    labels = None
    if generator.classes:
        labels = translate(source.labels[:number].tolist(), source.classes, generator.classes)
    job = Job(generator, labels, number, low, f"{images}, shrunk" if shrink else images)
    output.write(out, job, f"upsampling {number} images", devices)


def opened(
    images: str, model: "DiffusionModel", shrink: bool, named: bool, strict: bool
) -> "Source":
    """Open the images; if `named`, with the class names of their manifest or of the model."""
    from dataclasses import replace

    from adm.data import open_source
    from adm.data.naming import at_home
    from adm.generation.folder import check
    from adm.generation.manifest import read_manifest

    data, spec, classes = model.recipe.data, images, None
    folder = at_home(images)
    if (folder / MANIFEST).is_file() and (folder / ARCHIVE).is_file():
        check(folder)
        made = read_manifest(folder) or {}
        spec = str(folder / ARCHIVE)
        classes = None if made.get("labels") is None else tuple(made.get("classes", ()))
    source = open_source(
        spec, size=data.size if shrink else None, channels=data.channels, strict=strict
    )
    numbers = tuple(map(str, range(len(source.classes))))
    if classes is None and source.classes == numbers:
        classes = model.classes  # labels without names are those of the upsampler
    if classes is None or not named:
        return source
    if len(classes) < len(source.classes):
        raise ValueError(
            f"{images} holds {len(source.classes)} classes and the model knows {len(classes)}; "
            "add --set use_labels=false, or give images of its classes"
        )
    return replace(source, classes=classes)


def small(image: "Tensor", model: "DiffusionModel", shrink: bool, images: str) -> "Tensor":
    """(C, H, W) uint8 -> (C, h, w) uint8; raise ValueError for another size without `shrink`."""
    from adm.images import to_float, to_uint8
    from adm.training.objective import area_mean

    shape = model.low_shape
    assert shape is not None
    if shrink:
        return to_uint8(area_mean(shape[1:], rounded=False)(to_float(image)[None]))[0]
    if tuple(image.shape) != shape:
        (h, w), (height, width) = shape[1:], image.shape[1:]
        raise ValueError(
            f"{images} has images of {height}x{width} and the upsampler {model.path} starts from "
            f"{h}x{w}; give images of that size, or add --shrink to shrink these first"
        )
    return image
