"""Figures, pictures -> Writer: TensorBoard or Weights & Biases, both optional extras."""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from adm.files import write_text
from adm.training.loop import Progress

Figures: TypeAlias = Callable[[int, dict[str, float]], None]


class Writer(NamedTuple):
    """Where figures go besides log.jsonl.

    Attributes:
        figures: (steps done, name -> value); values that are not finite are left out.
        picture: (steps done, name, picture).
        close: writes what is left.
    """

    figures: Figures
    picture: Callable[[int, str, Image.Image], None]
    close: Callable[[], None]


def tensorboard(folder: Path, done: int = 0) -> Writer:
    """Write event files for `tensorboard --logdir FOLDER`, from the first figures on.

    Args:
        done: steps of a run that continues. What was written beyond them before it stopped is
            purged, so that no step is drawn twice.

    Raises:
        ValueError: the extra is not installed.
    """
    _installed("tensorboard", "TensorBoard")

    @cache
    def opened() -> Any:  # late, for a new run's folder must be empty
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=done + 1 if done else None)

    def figures(step: int, values: dict[str, float]) -> None:
        for name, value in _finite(values).items():
            opened().add_scalar(name, value, step)

    def picture(step: int, name: str, image: Image.Image) -> None:
        pixels = np.asarray(image.convert("RGB"))
        opened().add_image(name, pixels, step, dataformats="HWC")

    return Writer(figures, picture, lambda: opened().close())


def wandb(project: str, run: Path, settings: dict[str, Any] | None = None) -> Writer:
    """Write to Weights & Biases, as the run that is called after the folder.

    Its steps cannot be taken back. A run that continues repeats those since its checkpoint, and
    since they repeat their figures too, those already there are left as they are.

    Args:
        settings: the recipe as JSON values, shown with the run.

    Raises:
        ValueError: the extra is not installed.
    """
    _installed("wandb", "Weights & Biases")

    @cache
    def opened() -> tuple[Any, int]:  # with the first step that is free
        service = import_module("wandb")
        name = run.resolve().name
        held = service.init(
            project=project,
            name=name,
            id=_identity(run),
            resume="allow",
            dir=str(run),
            config=settings,
        )
        return held, held.step

    def figures(step: int, values: dict[str, float]) -> None:
        held, free = opened()
        if step >= free:
            held.log(_finite(values), step=step)

    def picture(step: int, name: str, image: Image.Image) -> None:
        held, free = opened()
        if step >= free:
            held.log({name: import_module("wandb").Image(image)}, step=step)

    return Writer(figures, picture, lambda: opened()[0].finish())


def written(progress: Iterator[Progress], writers: Sequence[Writer]) -> Iterator[Progress]:
    """Hand every step's figures to the writers on its way, and close them at the end."""
    with ExitStack() as stack:
        for writer in writers:
            stack.callback(writer.close)
        for step in progress:
            for writer in writers:
                writer.figures(
                    step.step, step.shown | {"images_per_second": step.images_per_second}
                )
            yield step


def _identity(run: Path) -> str:
    """What the service knows a run by, kept in its folder."""
    path = run / "wandb.txt"
    if not path.exists():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text().strip()


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _installed(extra: str, what: str) -> None:
    found = find_spec(extra)
    if found is None or found.origin is None:  # a folder of its name is none
        raise ValueError(
            f"{what} is not installed; pip install 'ablated-diffusion[{extra}]', or leave it out "
            "and read log.jsonl"
        )
