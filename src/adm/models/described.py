"""Model file -> Described: its kind, classes and process, without loading torch or the weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from adm.limits import MOST_CHANNELS, MOST_LEVELS, MOST_SIDE
from adm.store.parsed import as_type
from adm.training.header import Metadata, Name, damaged_metadata, metadata_of

FOREIGN = (".pt", ".pth")  # suffixes of files of `torch.save`
Kind = Literal["diffusion", "classifier", "gan"]
NAMED: dict[Kind, str] = {
    "diffusion": "a diffusion model",
    "classifier": "a classifier",
    "gan": "a GAN",
}
NETWORKS: dict[Kind, str] = {"diffusion": "unet", "classifier": "classifier", "gan": "gan"}
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
Levels = Annotated[int, Field(ge=1, le=MOST_LEVELS)]


@dataclass(frozen=True, kw_only=True)
class _Data:
    size: tuple[Side, Side]
    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
    low_res: tuple[Side, Side] | None = None


@dataclass(frozen=True, kw_only=True)
class _Process:
    steps: Levels


@dataclass(frozen=True, kw_only=True)
class _Network:
    classes: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Grid:
    steps: Levels | None = None
    start: Levels | None = None


@dataclass(frozen=True, kw_only=True)
class _Distilled:
    steps: Annotated[tuple[Levels, ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class _Train:
    label_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """The fields of a recipe, of any version, that are read without torch."""

    kind: Kind
    name: Name
    data: _Data
    process: _Process | None = None
    unet: _Network = _Network()
    classifier: _Network = _Network()
    gan: _Network = _Network()
    distillation: _Distilled | None = None
    train: _Train = _Train()
    sample: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the header of a model file says, as far as it decides which calls are refused.

    Attributes:
        kind: diffusion, classifier or gan.
        name: name of the recipe.
        classes: names in the order of the labels; empty for an unconditional model.
        labelled: whether the network is told the class.
        label_dropout: fraction of images that it was trained on without their class.
        steps: T of the process; 0 for a GAN, which has none.
        size: (H, W) of the images.
        channels: of the images.
        low_res: (h, w) of the images that an upsampler starts from; None for any other model.
        guided: whether the recipe is sampled with guidance by a classifier by default.
        sample: the recipe's settings of sampling, as JSON.
        grid: the default `steps` and `start` of sampling, those that the recipe gives.
        learned: the numbers of steps that a distilled model samples in; empty for any other.
    """

    path: Path
    kind: Kind
    name: str
    classes: tuple[str, ...]
    labelled: bool
    steps: int
    size: tuple[int, int]
    channels: int
    low_res: tuple[int, int] | None = None
    guided: bool = False
    label_dropout: float = 0.0
    sample: dict[str, Any]
    grid: dict[str, int | None]
    learned: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return (self.channels, *self.size)

    @property
    def told(self) -> tuple[str, ...]:
        """The classes that the network is told."""
        return self.classes if self.labelled else ()

    @property
    def low_shape(self) -> tuple[int, int, int] | None:
        """(C, h, w) of the images that an upsampler starts from; None for any other model."""
        return None if self.low_res is None else (self.channels, *self.low_res)


def described(path: Path) -> Described | None:
    """Return what a model file says about itself; None for a file of `torch.save`.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    if path.suffix in FOREIGN:
        return None
    return described_by(path, metadata_of(path))


def described_by(path: Path, metadata: Metadata) -> Described:
    """Return what the metadata of a model file say.

    Raises:
        ValueError: the recipe is damaged, or has another number of classes.
    """
    try:
        return _described(path, metadata)
    except ValueError as error:
        raise damaged_metadata(path, error) from None


def check_kind(path: Path, kind: Kind, wanted: Kind) -> None:
    """Raise ValueError unless the model in a file is of the kind that is wanted."""
    if kind == wanted:
        return
    also = ", and pass this one as classifier=..." if kind == "classifier" else ""
    raise ValueError(f"{path} is {NAMED[kind]}; give {NAMED[wanted]}{also}")


def _described(path: Path, metadata: Metadata) -> Described:
    recipe, classes = as_type(_Recipe, metadata.recipe), metadata.classes
    network: _Network = getattr(recipe, NETWORKS[recipe.kind])
    if recipe.process is None and recipe.kind != "gan":
        raise ValueError("it names no diffusion process")
    if network.classes is not None and network.classes != len(classes):
        raise ValueError(f"it names {len(classes)} classes, and its network has {network.classes}")
    sample = recipe.sample
    given = sample.get("grid", sample)  # before 0.1, its entries were those of `sample`
    grid = as_type(_Grid, given)
    return Described(
        path=path,
        kind=recipe.kind,
        name=recipe.name,
        classes=() if network.classes is None else classes,
        labelled=recipe.kind != "classifier" and network.classes is not None,
        steps=0 if recipe.process is None else recipe.process.steps,
        size=recipe.data.size,
        channels=recipe.data.channels,
        low_res=recipe.data.low_res,
        sample=sample,
        learned=() if recipe.distillation is None else recipe.distillation.steps,
        guided=_by_classifier(sample.get("guidance")) or bool(sample.get("scale")),
        label_dropout=recipe.train.label_dropout,
        grid={name: getattr(grid, name) for name in ("steps", "start") if name in given},
    )


def _by_classifier(guidance: object) -> bool:
    """Return whether terms of guidance, as JSON values, include one by a classifier."""
    terms = guidance if isinstance(guidance, list) else []
    names = [term.get("name", "classifier") for term in terms if isinstance(term, dict)]
    return "classifier" in names
