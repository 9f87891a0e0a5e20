"""JSON of a page -> Order; Order, ModelCache, emit -> events: all that a browser may request.

Whatever arrives is parsed once, into types with bounds, before any work. A model is a name that the
cache offers, a setting the text of a spec, and a picture its bytes: nothing of a request is a path,
or code. A new order is one class here.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, Self, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from adm.app.studio import live, pictures, provenance
from adm.app.studio.forms import CLOSED
from adm.app.studio.model_cache import CLASSIFIERS, ModelCache, alike
from adm.app.studio.worker import Emit
from adm.data.pixels import MODES, to_picture
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline
from adm.generation.restored import Problem
from adm.images import to_uint8
from adm.limits import MOST_TEXT
from adm.pictures import png
from adm.restoration.operators import Inpaint
from adm.samplers import Sampling
from adm.spec import SettingError, out_of_range, refusal

MOST_BODY = 6 << 20  # bytes of an order: two pictures in base64, and the rest
MOST_IMAGES = 64  # of an order
MOST_STEPS = 1000  # of an image
MOST_CALLS = 10_000  # of the network, for an image
MOST_VALUES = 16  # of an axis
SHORTHANDS = ("scale", "steps")
OPEN = {*(each.name for each in fields(Sampling)), *SHORTHANDS}
OUT = "out/studio"  # of the commands that a page shows
NAMEABLE = re.compile(r"(?!all$)[^-,:*\s][^,:*]*")  # classes; a number names others

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Spec: TypeAlias = Annotated[str, Field(max_length=400)]
Value: TypeAlias = bool | int | float | Spec | Annotated[list[Spec], Field(max_length=8)] | None
Settings: TypeAlias = Annotated[dict[Name, Value], Field(max_length=16)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
Index: TypeAlias = Annotated[int, Field(ge=0, lt=1_000_000)]
Picture: TypeAlias = Annotated[bytes, Field(min_length=1, max_length=pictures.MOST_BYTES)]


class Order(BaseModel):
    """A request of a page."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        val_json_bytes="base64",
        ser_json_bytes="base64",
    )

    @abstractmethod
    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        """Carry out the order, and emit its events; an exception of `emit` ends it."""


class OfModel(Order):
    """An order of a model.

    Attributes:
        model: one that the cache offers.
    """

    model: Name


class Choose(OfModel):
    """A model, to be shown and sampled: it is loaded."""

    kind: Literal["choose"]

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        emit("chosen", models.describe(self.model))


class Images(OfModel):
    """Images of a model.

    Attributes:
        settings: of sampling, by name; see `Sampling.change`.
    """

    settings: Settings = Field(default_factory=dict)

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings, as `Pipeline` takes them."""
        return dict(self.settings)

    @property
    def guided_by(self) -> dict[str, str | None]:
        """The classifier that guides, as an option; None for the model's own."""
        return {"classifier": CLASSIFIERS.get(self.model)}

    @abstractmethod
    def job(self, pipeline: Pipeline) -> Job:
        """Return the job, without running it."""

    @abstractmethod
    def made(self, job: Job, index: int) -> Self:
        """Return an order that makes an image of the job again, under the same index."""

    @abstractmethod
    def command(self, job: Job, index: int) -> str:
        """Return the line of the shell that makes an image of the job."""

    @abstractmethod
    def lines(self, job: Job, index: int) -> str:
        """Return the lines of Python that assign an image of the job to `image`."""

    def indices(self, job: Job) -> range:
        """Return the indices of the images to generate."""
        return range(job.count)

    def checked(self, models: ModelCache) -> tuple[Pipeline, Job]:
        """Return the pipeline and the job.

        Raises:
            SettingError: a setting cannot be chosen here, or it would take too long.
        """
        if closed := self.settings.keys() - OPEN | self.settings.keys() & {*CLOSED}:
            raise SettingError(f"settings.{min(closed)}", "{} cannot be chosen in the studio")
        pipeline = models.pipeline(self.model)
        job = self.job(pipeline)
        for field, most, got in (
            ("count", MOST_IMAGES, len(self.indices(job))),
            ("steps", MOST_STEPS, job.generator.steps),
            ("steps", MOST_CALLS, job.cost.network),
        ):
            if got > most:
                calls = " calls of the network" if most == MOST_CALLS else ""
                raise out_of_range(field, f"at most {most:,}{calls}", got)
        return pipeline, job

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        pipeline, job = self.checked(models)
        indices = self.indices(job)
        made = {"cost": str(job.cost), "guidance": job.generator.guidance}
        emit("begin", {**begun(job, indices), **made})

        def describe(index: int, image: Tensor) -> dict[str, Any]:
            order = self.made(job, index).model_copy(update={"model": pipeline.model.name})
            return {
                "png": noted(image, Origin.model_validate({"order": order, "index": index})),
                "command": self.command(job, index),
                "python": self.lines(job, index),
            }

        live.show(job, indices, emit, describe)


def begun(job: Job, indices: range) -> dict[str, Any]:
    """Return what a page knows of images of a job before they come, as JSON values."""
    names, labels = job.generator.classes, job.labels
    return {
        "count": len(indices),
        "shape": list(job.generator.shape),
        "labels": [] if labels is None else [names[labels[index]] for index in indices],
    }


class Sample(Images):
    """Samples.

    Attributes:
        classes: class -> number of images; None for all classes in turn.
        count: number of images without `classes`.
        only: index of the one image to generate, whatever the numbers; None for all.
    """

    kind: Literal["sample"]
    classes: Annotated[dict[Name, Count], Field(min_length=1, max_length=MOST_IMAGES)] | None = None
    count: Count | None = None
    only: Index | None = None

    def job(self, pipeline: Pipeline) -> Job:
        if self.only is None:
            return pipeline.job(self.classes, self.count, **self.overrides)
        named = None if self.classes is None else next(iter(self.classes))
        return pipeline.job(named, self.only + 1, **self.overrides)

    def indices(self, job: Job) -> range:
        return range(job.count) if self.only is None else range(self.only, self.only + 1)

    def made(self, job: Job, index: int) -> Self:
        named = class_of(job, index)
        classes = None if named is None else {named: 1}
        return self.model_copy(update={"classes": classes, "count": None, "only": index})

    def command(self, job: Job, index: int) -> str:
        options = self.guided_by | {"classes": class_of(job, index), "count": index + 1}
        return provenance.shell(["adm", "sample", self.model], options, self.settings, {"out": OUT})

    def lines(self, job: Job, index: int) -> str:
        named = class_of(job, index)
        classes = [] if named is None else [named]
        arguments = provenance.call(classes, {"count": index + 1, **self.settings})
        return (
            f"import adm\n\nmodel = adm.load({provenance.call([self.model], self.guided_by)})\n"
            f"image = model.job({arguments}).images([{index}])[0]\n"
        )


def class_of(job: Job, index: int) -> str | None:
    """Return the class of an image, as all of Python, a shell and an order may name it."""
    if job.labels is None:
        return None
    label = job.labels[index]
    name = job.generator.classes[label]
    return name if NAMEABLE.fullmatch(name) and name.isprintable() else str(label)


class FromPictures(Images):
    """Images that are generated from pictures.

    Attributes:
        classes: class of the images; None for none.
        samples: number of images.
    """

    classes: Name | None = None
    samples: Count = 1

    @abstractmethod
    def words(self) -> tuple[str, str, int, dict[str, Any]]:
        """Return the verb, the file or folder of pictures, their number, and the verb's options."""

    def command(self, job: Job, index: int) -> str:
        verb, source, _, options = self.words()
        options |= self.guided_by | {"classes": self.classes, "samples": self.samples}
        words = ["adm", verb, self.model, source]
        return provenance.shell(words, options, self.settings, {"out": OUT})

    def lines(self, job: Job, index: int) -> str:
        verb, source, count, options = self.words()
        options |= {"classes": self.classes, "samples": self.samples}
        channels, *size = job.generator.shape
        return (
            "import adm\nfrom adm.data import open_source\n\n"
            f"model = adm.load({provenance.call([self.model], self.guided_by)})\n"
            f'data = open_source("{source}", size={tuple(size)}, channels={channels})\n'
            f"pictures, _ = data.batch({[*range(count)]})\n"
            f"image = model.{verb}(pictures, {provenance.call([], options | self.settings)})"
            f".images[{index}]\n"
        )


class Edit(FromPictures):
    """Images that are made from others.

    Attributes:
        pictures: one, or two to interpolate between.
        edit: spec of the edit.
    """

    kind: Literal["edit"]
    pictures: Annotated[list[Picture], Field(min_length=1, max_length=2)]
    edit: Spec = "noise"

    def job(self, pipeline: Pipeline) -> Job:
        images = torch.stack([pictures.decode(each, pipeline.shape) for each in self.pictures])
        return pipeline.edit_job(images, self.edit, self.classes, self.samples, **self.overrides)

    def made(self, job: Job, index: int) -> Self:
        shape = job.generator.shape
        fitted = [pictures.fitted(each, shape) for each in self.pictures]
        return self.model_copy(update={"pictures": fitted})

    def words(self) -> tuple[str, str, int, dict[str, Any]]:
        source = "picture.png" if len(self.pictures) == 1 else "pair"
        return "edit", source, len(self.pictures), {"edit": self.edit}


class Fill(FromPictures):
    """A picture of which a region is filled.

    Attributes:
        picture: the picture.
        mask: white where it is to be filled.
        method: spec of the method.
    """

    kind: Literal["fill"]
    picture: Picture
    mask: Picture
    method: Spec = "mmps"

    def job(self, pipeline: Pipeline) -> Job:
        image = pictures.decode(self.picture, pipeline.shape)
        # The operator reads its mask from a file, when the job is made.
        with TemporaryDirectory(prefix="adm-studio-") as folder:
            path = Path(folder) / "mask.png"
            path.write_bytes(self.known(pipeline.shape))
            problem = Problem.parsed(Inpaint(mask=str(path)), self.method)
            return pipeline.restore_job(
                image[None], problem, self.samples, self.classes, **self.overrides
            )

    def known(self, shape: tuple[int, int, int]) -> bytes:
        """Return the mask as `adm restore` takes it: a PNG that is white where pixels are known."""
        painted = pictures.decode(self.mask, (1, *shape[1:])) > 127
        if not painted.any() or painted.all():
            raise SettingError("mask", "paint a part of the picture, and not all of it")
        return png(to_picture(255 * (~painted).byte()))

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        shape = models.pipeline(self.model).shape
        emit("mask", {"png": pictures.encode(self.known(shape))})
        super().carry_out(models, emit)

    def made(self, job: Job, index: int) -> Self:
        shape = job.generator.shape
        mask = pictures.fitted(self.mask, (1, *shape[1:]))
        picture = pictures.fitted(self.picture, shape)
        return self.model_copy(update={"picture": picture, "mask": mask})

    def words(self) -> tuple[str, str, int, dict[str, Any]]:
        options = {"operator": "inpaint:mask=mask.png", "method": self.method}
        return "restore", "picture.png", 1, options


AnyImages: TypeAlias = Annotated[Sample | Edit | Fill, Field(discriminator="kind")]


class Origin(BaseModel):
    """What an image records of itself.

    Attributes:
        order: that made it; its model is a name.
        index: which of its images it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: AnyImages
    index: Index


def noted(image: Tensor, origin: Origin) -> str:
    """Return a PNG of an image, (C, H, W) uint8, that carries its origin if a text has room."""
    text = json.dumps(origin.model_dump(mode="json"))
    if image.shape[0] not in MODES or len(text) > MOST_TEXT:
        return pictures.exact(image)
    return pictures.encode(provenance.annotate(image, text))


class Film(Order):
    """The trajectory of one image from noise.

    Attributes:
        of: the order that made it.
        index: which one it is.
    """

    kind: Literal["film"]
    of: AnyImages
    index: Index

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        _, job = self.of.checked(models)
        if self.index not in self.of.indices(job):
            raise SettingError("index", f"the order has no image {self.index}")
        emit("film", live.film(job, self.index, emit))


class Real(Order):
    """Real images beside samples: of the model's data, and of the same classes.

    Attributes:
        of: the order of the samples; its seed chooses the images.
    """

    kind: Literal["real"]
    of: Sample

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        _, job = self.of.checked(models)
        split, source = models.real(self.of.model)
        indices = self.of.indices(job)
        images = alike(source, job, indices)
        heading = f"{split.capitalize()} images of {source.name}"
        emit("begin", {**begun(job, indices), "heading": heading})
        for place, index in enumerate(indices):
            title = f"{split} image {images.row(place)} of {source.name}"
            shown = {"png": pictures.exact(images.read(place)), "title": title, "order": None}
            emit("image", {"place": place, "index": index, **shown})


class Axis(BaseModel):
    """A setting that is varied.

    Attributes:
        name: of the setting; `class` for the class.
        values: of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    name: Name
    values: Annotated[list[Value], Field(min_length=1, max_length=MOST_VALUES)]


class Grid(Order):
    """Images of the same noise, with two settings varied.

    Cells that differ in their class alone are sampled together, so that an image may differ from
    that of its settings by rounding.

    Attributes:
        of: the settings that are not varied.
        rows, columns: those that are.
        index: of the noise.
        label: the class, where no axis is one.
    """

    kind: Literal["grid"]
    of: Sample
    rows: Axis
    columns: Axis
    label: Name | None = None
    index: Index = 0

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        axes = [{"name": each.name, "values": each.values} for each in (self.rows, self.columns)]
        emit("begin", {"axes": axes, "shape": list(models.pipeline(self.of.model).shape)})
        for cells in self._together():
            places = [place for place, _, _ in cells]
            try:
                images = self._images(models, cells, places, emit)
            except SettingError as error:
                for place in places:
                    emit("cell", {"place": place, "error": str(error)})
                continue
            for (place, settings, label), image in zip(cells, images, strict=True):
                cell = {"settings": settings, "class": label}
                emit("cell", {"place": place, "png": pictures.exact(image), **cell})

    def _together(self) -> Iterator[list["_Cell"]]:
        """Yield the cells that are sampled together, which differ in their class alone."""
        cells: dict[str, list[_Cell]] = {}
        for row, one in enumerate(self.rows.values):
            for column, other in enumerate(self.columns.values):
                varied = {self.rows.name: one, self.columns.name: other}
                label = varied.pop("class", self.label)
                cells.setdefault(repr(varied), []).append(
                    ([row, column], {**self.of.settings, **varied}, label)
                )
        yield from cells.values()

    def _images(
        self, models: ModelCache, cells: Sequence["_Cell"], places: list[list[int]], emit: Emit
    ) -> Tensor:
        """Sample cells of the same settings: (B, C, H, W) uint8."""
        named = [str(label) for _, _, label in cells if label is not None]
        order = self.of.model_copy(update={"settings": cells[0][1], "classes": None, "count": 1})
        pipeline, job = order.checked(models)
        labels = None
        if job.generator.classes:
            classes = named or [job.generator.classes[0]] * len(cells)
            labels = pipeline.job(classes, **order.overrides).label_tensor
        generator, indices = job.generator, [self.index] * len(cells)
        clock, x = live.Clock(job), torch.empty(0)
        for state in generator.trajectory(labels, indices):
            clock.step, x = clock.step + 1, state.x
            estimate = pictures.strip(to_uint8(state.prediction.x_0).cpu())
            emit("step", {"places": places, "strip": estimate, **clock.read()})
        return to_uint8(x).cpu()


_Cell: TypeAlias = tuple[list[int], dict[str, Any], Any]  # row and column, settings, class


class Nearest(OfModel):
    """The training images of a model that are nearest to a picture."""

    kind: Literal["nearest"]
    picture: Picture

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        image = pictures.decode(self.picture, models.pipeline(self.model).shape)
        emit("nearest", models.training(self.model, emit).nearest(image))


class Drop(OfModel):
    """A dropped picture: what made it, if it records that, and how the model sees it."""

    kind: Literal["drop"]
    picture: Picture

    def carry_out(self, models: ModelCache, emit: Emit) -> None:
        event: dict[str, Any] = {"order": None}
        with suppress(ValueError):
            origin = Origin.model_validate_json(provenance.annotation(self.picture) or "")
            order = origin.order.model_dump(mode="json")
            event["order"] = order | {"model": models.offered(order["model"])}
        image = pictures.decode(self.picture, models.pipeline(self.model).shape)
        emit("dropped", {**event, "png": pictures.exact(image)})


AnyOrder: TypeAlias = Annotated[
    Choose | Sample | Edit | Fill | Film | Real | Grid | Nearest | Drop, Field(discriminator="kind")
]
_ORDER: TypeAdapter[Order] = TypeAdapter(AnyOrder)


def parse(body: bytes) -> Order:
    """Return the order that a page has sent as JSON.

    Raises:
        ValueError: it is no order, or a value in it is out of bounds.
    """
    try:
        return _ORDER.validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        for each in errors:
            each["loc"] = each["loc"][1:]  # without the kind of the order
        raise refusal(errors) from None
