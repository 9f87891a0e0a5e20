"""Options, Pipeline -> Job of an image-conditional model: an upsampler, or one of pairs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli.options import FLAG
from adm.spec import out_of_range

if TYPE_CHECKING:  # so that --help does not load torch
    from torch import Tensor

    from adm.data import Source
    from adm.generation.job import Job
    from adm.generation.labels import Classes
    from adm.generation.pipeline import Pipeline
    from adm.models.trained import DiffusionModel
    from adm.processes import Devices


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The images that condition an image-conditional model.

    Parameters
    ----------
    condition
        Images to condition the model on, such as the small ones that an upsampler enlarges: a
        sample folder, or any data that `adm train` takes. One image is sampled for each, or --count
        images, for all in turn. Their classes, matched by name, are the default of --classes.
    shrink
        Shrink the images first, by area averaging, as in the training of an upsampler.
    """

    condition: str | None = None
    shrink: Annotated[bool, FLAG] = False

    def __post_init__(self) -> None:
        if self.shrink and self.condition is None:
            raise out_of_range("condition", "given where {shrink} is")

    def job(
        self,
        pipeline: "Pipeline",
        classes: "Classes | None",
        count: int | None,
        overrides: Mapping[str, Any],
        devices: "Devices",
    ) -> "Job":
        """Return the job of a model and settings, without an upsampler of its images.

        Args:
            classes, count: as of `Pipeline.job`; by default those of the images.
            overrides: settings by name.
        """
        import torch

        from adm.generation.cascade import translate
        from adm.generation.job import Job
        from adm.generation.labels import labels_of, positive

        model, generator = pipeline.model, pipeline.generator(**overrides)
        if model.low_shape is None:
            raise out_of_range("condition", f"left out, as {model.name} is not image-conditional")
        named = bool(generator.classes) and classes is None
        source = self.opened(model, named, devices)
        if classes is None:
            number = len(source) if count is None else positive("count", count)
            turns = [i % len(source) for i in range(number)]
            own, labels = source.labels[turns].tolist(), None
            if named:
                labels = translate(own, source.classes, generator.classes)
        else:
            labels, number = labels_of(classes, generator.classes, count)
            turns = [i % len(source) for i in range(number)]
        inputs = [self.fitted(source.read(i), model) for i in range(min(number, len(source)))]
        what = f"{source.name}, shrunk" if self.shrink else source.name
        return Job(generator, labels, number, torch.stack(inputs)[turns], what)

    def opened(self, model: "DiffusionModel", named: bool, devices: "Devices") -> "Source":
        """Open the images; if `named`, labels without names are those of the model."""
        from adm.scoring import open_images

        assert self.condition is not None
        data = model.recipe.data
        size = data.low_res if data.paired else data.size if self.shrink else None
        how = {"size": size, "channels": data.channels}
        source = open_images(self.condition, **how).source
        count, classes = len(source.classes), model.classes
        if not named or source.classes != tuple(map(str, range(count))):
            return source
        if len(classes) < count:
            raise ValueError(
                f"{self.condition} holds {count} classes and the model knows {len(classes)}; "
                "add --set use_labels=false, or give images of its classes"
            )
        return replace(source, classes=classes)

    def fitted(self, image: "Tensor", model: "DiffusionModel") -> "Tensor":
        """(C, H, W) uint8 -> (C, h, w) uint8; raise ValueError for another size."""
        from adm.images import to_float, to_uint8
        from adm.training.objective import area_mean

        shape = model.low_shape
        assert shape is not None
        if self.shrink:
            return to_uint8(area_mean(shape[1:], rounded=False)(to_float(image)[None]))[0]
        if tuple(image.shape) != shape:
            (h, w), (height, width) = shape[1:], image.shape[1:]
            raise ValueError(
                f"{self.condition} has images of {height}x{width} and the upsampler {model.path} "
                f"starts from {h}x{w}; give images of that size, or add --shrink to shrink these "
                "first"
            )
        return image


NOTHING = Conditions()
