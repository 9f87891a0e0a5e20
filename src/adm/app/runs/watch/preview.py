"""RunState -> Weights, raw and averaged -> PNG files in RUN/previews/."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from PIL import Image
from torch import Tensor

from adm.app.runs.watch.times import Times
from adm.app.runs.watch.weights import mean_weights, raw_weights
from adm.processes import Devices
from adm.store.files import new_file
from adm.training.loop import Watch
from adm.training.players import RunState

FILE = "step-{:07d}.png"


class Weights(NamedTuple):
    """The raw weights and their average, by name."""

    raw: Mapping[str, Tensor]
    mean: Mapping[str, Tensor]


class Drawn(NamedTuple):
    """A preview, and the figures that go into the log with it."""

    picture: Image.Image
    figures: dict[str, float]


Draw: TypeAlias = Callable[[int, Weights], Drawn]  # of the steps done
OnPicture: TypeAlias = Callable[[int, str, Image.Image], None]  # steps done, name, picture


def preview(
    draw: Draw,
    folder: Path,
    times: Times,
    devices: Devices,
    on_picture: Sequence[OnPicture] = (),
) -> Watch:
    """Return a watch that writes a preview at the given times into `folder`.

    The files are named `step-0001000.png`. Only the main process draws, and the others return no
    figures; all must call, because they gather the weights.

    Args:
        draw: draws a preview, such as the result of `samples`, `upsampled` or `mistakes`.
        on_picture: each is called with every preview, such as a writer's `picture`.
    """

    def watch(done: int, state: RunState) -> dict[str, float]:
        if not times.due(done):
            return {}
        weights = Weights(raw_weights(state.model), mean_weights(state.model))  # collective
        if not devices.main:
            return {}
        drawn = draw(done, weights)
        write(drawn.picture, folder / FILE.format(done))
        for tell in on_picture:
            tell(done, "preview", drawn.picture)
        return drawn.figures

    return watch


def titled(run: Path, done: int) -> str:
    """Return the start of a preview's title: the name of the run folder, and the steps done."""
    return f"{run.resolve().name}, step {done:,}"


def write(picture: Image.Image, path: Path) -> None:
    """Write a PNG file atomically."""
    with new_file(path, sync=False) as part:
        picture.save(part, "PNG", optimize=True)
