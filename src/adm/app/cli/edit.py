"""adm edit MODEL IMAGES --out DIR -> sample folder of edited images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.options import FLAG, Split
from adm.app.cli.output import OUT
from adm.app.cli.sampling import ALONE, DEFAULT, USUAL, Helpers, Output, Settings
from adm.app.cli.scoring import joined
from adm.spec import SettingError, out_of_range
from adm.store.samples import MANIFEST

if TYPE_CHECKING:
    from adm.data import Source
    from adm.generation.job import Job
    from adm.generation.pipeline import Pipeline
    from adm.processes import Devices


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Editing:
    """The edits, and the images to edit.

    Parameters
    ----------
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
    resize
        Resize and crop images of another size, as in the training of the model.
    """

    edit: str | None = None
    classes: str | None = None
    samples: int = 1
    split: Split = "train"
    count: int | None = None
    resize: Annotated[bool, FLAG] = False

    def open(self, images: str, pipeline: "Pipeline", devices: "Devices") -> "Source":
        """Open the images to edit.

        Raises:
            SettingError: their size differs from the model's, or there are none.
        """
        import numpy as np

        from adm.generation.cascade import sized
        from adm.scoring import open_images

        channels, *size = pipeline.shape
        expected, cure = f"of {sized(pipeline.shape)}, as the model generates", "or add {resize}"
        options = {"split": self.split, "channels": channels}
        height, width = size
        try:
            fitted = (height, width) if self.resize else None
            source = open_images(images, size=fitted, **options).source
        except SettingError as error:
            if error.field != "size" or self.resize:
                raise
            raise out_of_range("images", expected, "images of several sizes", cure) from None
        number = len(source) if self.count is None else min(self.count, len(source))
        if number < 1:
            raise out_of_range("count", "at least 1", self.count)
        if source.shape != pipeline.shape:
            raise out_of_range("images", expected, sized(source.shape), cure)
        return source.subset(np.arange(number))

    # Five parameters: the images, the model and the settings.
    def job(
        self,
        pipeline: "Pipeline",
        source: "Source",
        settings: Settings,
        helpers: Helpers,
        usual: str,
    ) -> "Job":
        """Return the job of the edits of all images of a source."""
        overrides, classes = settings.overrides, self.classes
        helpers.check_used(pipeline.sampling.change(**overrides))
        pixels, _ = source.batch(range(len(source)))
        edit = self.edit or usual
        return pipeline.edit_job(pixels, edit, classes, self.samples, source.name, **overrides)


NOTHING = Editing()


def edit(
    model: str,
    images: str,
    /,
    *,
    out: Annotated[Path, OUT],
    editing: Editing = NOTHING,
    settings: Settings = DEFAULT,
    helpers: Helpers = ALONE,
    output: Output = USUAL,
) -> None:
    """Edit images: resample them from noise, encode and change them, or interpolate.

    Writes a sample folder like that of `adm sample`, in which the edits of an image follow one
    another; grid.png shows them beside it. An interrupted command resumes when it is run again, and
    torchrun or --part distributes it as they do `adm sample`.

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
    """
    places.folder(out, MANIFEST)
    devices = joined(helpers.device)
    pipeline = helpers.load(model, devices.device)
    source = editing.open(images, pipeline, devices)
    job = editing.job(pipeline, source, settings, helpers, "noise")
    output.write(out, job, f"editing {len(source)} images", devices)
