"""Figures, pictures -> Writer: TensorBoard or Weights & Biases, both optional extras."""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from adm.extras import installing
from adm.store.files import write_text
from adm.training.loop import Progress


class Writer(NamedTuple):
    """Three functions that write figures and pictures to a service, besides log.jsonl.

    Attributes:
        figures: writes values by name after a number of steps; non-finite ones are left out.
        picture: writes a picture of a name after a number of steps.
        close: writes what is buffered, and ends.
    """

    figures: Callable[[int, dict[str, float]], None]
    picture: Callable[[int, str, Image.Image], None]
    close: Callable[[], None]


def tensorboard(folder: Path) -> Writer:
    """Return a writer of event files for `tensorboard --logdir FOLDER`.

    Earlier events of the first step that is written, and of later ones, are purged, so that no step
    of a run that resumes appears twice.

    Args:
        folder: the folder of the event files; it is created with the first figures.

    Raises:
        ValueError: the extra is not installed.
    """
    _check_installed("tensorboard", "TensorBoard")

    open_now: list[Any] = []

    def open_service(step: int) -> Any:  # on demand: the folder of a new run must be empty
        from torch.utils.tensorboard import SummaryWriter

        if not open_now:
            open_now.append(SummaryWriter(str(folder), purge_step=step if step > 1 else None))
        return open_now[0]

    def figures(step: int, values: dict[str, float]) -> None:
        for name, value in _finite(values).items():
            open_service(step).add_scalar(name, value, step)

    def picture(step: int, name: str, image: Image.Image) -> None:
        pixels = np.asarray(image.convert("RGB"))
        open_service(step).add_image(name, pixels, step, dataformats="HWC")

    def close() -> None:
        for each in open_now:
            each.close()

    return Writer(figures, picture, close)


def wandb(project: str, run: Path, settings: dict[str, Any] | None = None) -> Writer:
    """Return a writer to Weights & Biases, to a run that has the name of the run folder.

    The service does not accept a step twice. A resumed run repeats the steps since its checkpoint
    with the same figures, so those that the service already has are skipped.

    Args:
        project: the name of the project.
        run: the run folder.
        settings: the recipe as JSON values, shown with the run.

    Raises:
        ValueError: the extra is not installed.
    """
    _check_installed("wandb", "Weights & Biases")

    @cache
    def open_service() -> tuple[Any, int]:  # and the first step that the service lacks
        service = import_module("wandb")
        name = run.resolve().name
        session = service.init(
            project=project,
            name=name,
            id=_identity(run),
            resume="allow",
            dir=str(run),
            config=settings,
        )
        return session, session.step

    def figures(step: int, values: dict[str, float]) -> None:
        session, free = open_service()
        if step >= free:
            session.log(_finite(values), step=step)

    def picture(step: int, name: str, image: Image.Image) -> None:
        session, free = open_service()
        if step >= free:
            session.log({name: import_module("wandb").Image(image)}, step=step)

    return Writer(figures, picture, lambda: open_service()[0].finish())


def record(progress: Iterator[Progress], writers: Sequence[Writer]) -> Iterator[Progress]:
    """Yield from `progress`; give the writers every step's figures, and close them at the end."""
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
    """Return the identifier of the run at the service, which the run folder stores."""
    path = run / "wandb.txt"
    if not path.exists():
        write_text(path, secrets.token_hex(4) + "\n")
    return path.read_text().strip()


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _check_installed(extra: str, what: str) -> None:
    spec = find_spec(extra)
    if spec is None or spec.origin is None:  # a folder of that name is a namespace package
        raise ValueError(f"{what} is not installed; run {installing(extra)}, or use only log.jsonl")
