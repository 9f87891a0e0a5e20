"""Model file -> Described: its kind, classes and process, without loading torch or the weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adm.training.header import metadata_of

FOREIGN = (".pt", ".pth")  # suffixes of files of `torch.save`
Kind = Literal["diffusion", "classifier"]


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the header of a model file says, as far as it decides which calls are refused.

    Attributes:
        kind: diffusion or classifier.
        name: name of the recipe.
        classes: names in the order of the labels; empty for an unconditional model.
        labelled: whether the network is told the class.
        steps: T of the process.
        size: (H, W) of the images.
        channels: of the images.
        low_res: (h, w) of the images that an upsampler starts from; None for any other model.
        guided: whether the recipe is sampled with guidance by default.
        sample: the recipe's settings of sampling, as JSON.
        grid: the default `steps` and `start` of sampling, those that the recipe gives.
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
    sample: dict[str, Any]
    grid: dict[str, int | None]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        return (self.channels, *self.size)

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
    metadata = metadata_of(path)
    try:
        return _described(path, metadata)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} holds a damaged recipe or damaged classes ({type(error).__name__}: {error}); "
            "copy it again, or give a file that `adm train` wrote"
        ) from None


def check_kind(path: Path, kind: Kind, wanted: Kind) -> None:
    """Raise ValueError unless the model in a file is of the kind that is wanted."""
    if kind == wanted:
        return
    if kind == "classifier":
        raise ValueError(
            f"{path} is a classifier; give a diffusion model, and pass this one as classifier=..."
        )
    raise ValueError(f"{path} is a diffusion model; give a classifier")


def _described(path: Path, metadata: dict[str, Any]) -> Described:
    recipe = metadata["recipe"]
    kind, data, classes = recipe["kind"], recipe["data"], metadata["classes"]
    if kind not in ("diffusion", "classifier"):
        raise ValueError(f"the kind is {kind!r}")
    sample = recipe.get("sample", {})
    grid = sample.get("grid", sample)  # before 0.1, its entries were those of `sample`
    low_res = data.get("low_res")
    return Described(
        path=path,
        kind=kind,
        name=_text(recipe["name"]),
        classes=tuple(_text(each) for each in _list(classes)),
        labelled=recipe.get("unet", {}).get("classes") is not None,
        steps=_positive(recipe["process"]["steps"]),
        size=_pair(data["size"]),
        channels=_positive(data["channels"]),
        low_res=None if low_res is None else _pair(low_res),
        sample=sample,
        guided=bool(sample.get("guidance") or sample.get("scale")),
        grid={
            name: None if grid[name] is None else _positive(grid[name])
            for name in ("steps", "start")
            if name in grid
        },
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value


def _positive(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} is no positive number")
    return value


def _pair(value: Any) -> tuple[int, int]:
    height, width = _list(value)
    return _positive(height), _positive(width)
