"""Model file <-> the searched grids that are stored beside it.

Those of a run are in its folder, in grids.json, and those of x.safetensors in x.grids.json. Those
that a user searches for a shipped model are in the user's own folder.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from adm.limits import MOST_LEVELS
from adm.models.identity import identify
from adm.models.paths import SHIPPED, measurement, sidecar_path
from adm.samplers import Levels
from adm.spec import SettingError
from adm.store.files import write_json
from adm.store.hashes import Sha256
from adm.store.parsed import as_type, read_json

NAME = "grids"  # of their file beside a model
CURE = "search again with `adm grid`, or remove it"


@dataclass(frozen=True, kw_only=True)
class StoredGrid:
    """The levels that a search has returned.

    Attributes:
        steps: number of levels.
        start: the noisiest level.
        scale: guidance scale of the trajectories searched; 0 for no guidance.
        levels: ascending; the last is `start`.
        deviation: root mean square of pixels by which the steps leave the teacher, added up.
        model: hash of the model; see `adm.models.identity`.
        classifier: that of the classifier; None without guidance.

    Raises:
        ValueError: the levels are not `steps` ascending ones that end at `start`.
    """

    steps: Annotated[int, Field(ge=2, le=MOST_LEVELS)]
    start: Annotated[int, Field(ge=2, le=MOST_LEVELS)]
    scale: Annotated[float, Field(allow_inf_nan=False)]
    levels: Annotated[tuple[float, ...], Field(max_length=MOST_LEVELS)]
    deviation: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    model: Sha256
    classifier: Sha256 | None = None

    def __post_init__(self) -> None:
        Levels(levels=self.levels).check(self.start)
        if len(self.levels) != self.steps or self.levels[-1] != self.start:
            raise ValueError(f"levels must be {self.steps} that end at {self.start}")

    @property
    def key(self) -> tuple[str, int, int, float]:
        """What distinguishes it from the other grids of a file."""
        return self.model, self.start, self.steps, self.scale


@dataclass(frozen=True, kw_only=True)
class _File:
    grids: tuple[StoredGrid, ...]


def read(model: Path) -> tuple[StoredGrid, ...]:
    """Return all grids stored for a model file, those of other models in the file included.

    Of two with the same key, the user's own hides the one that is shipped.

    Raises:
        ValueError: a file is damaged.
        OSError: it exists and cannot be read.
    """
    grids = (*_in_file(sidecar_path(model, NAME)), *_in_file(measurement(model, NAME)))
    return tuple({grid.key: grid for grid in grids}.values())


def store(model: Path, grids: Iterable[StoredGrid]) -> Path:
    """Add grids to the file that a user measures into; one with the same key is replaced.

    Returns:
        The file: beside the model file, or in the user's folder for a shipped one.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be written.
    """
    path = measurement(model, NAME)
    merged = {grid.key: grid for grid in (*_in_file(path), *grids)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"grids": [asdict(merged[key]) for key in sorted(merged)]})
    return path


def levels_for(model: Path, steps: int, start: int | None, scale: float) -> tuple[float, ...]:
    """Return the stored levels of a model for a number of steps.

    Args:
        start: the noisiest level; None for that of the noisiest grid.
        scale: guidance scale; the grid of the nearest one is taken.

    Raises:
        ValueError: no such levels are stored; names the numbers of steps that are.
        OSError: the file cannot be read.
    """
    grids = read(model)
    digest = identify(model) if grids else ""
    own = [grid for grid in grids if grid.model == digest]
    starting = [grid for grid in own if start in (None, grid.start)]
    fitting = [grid for grid in starting if grid.steps == steps]
    if fitting:
        return min(fitting, key=lambda grid: (-grid.start, abs(grid.scale - scale))).levels
    name, command = named_model(model), f"adm grid {named_model(model)} --steps {steps}"
    command += "" if start is None else f" --start {start}"
    if not starting:
        expected = f"another one: no levels{'' if start is None else ' from there'} are stored"
        raise SettingError("grid", f"{expected} for {name}", "searched", f"run `{command}`")
    stored = ", ".join(map(str, sorted({grid.steps for grid in starting})))
    raise SettingError(
        "steps", f"one of {stored}, those searched for {name}", steps, f"or run `{command}`"
    )


def named_model(model: Path) -> str:
    """Return the name by which a user gives a model: shipped, of a run folder, or of a file."""
    if model.parent == SHIPPED:
        return model.stem
    path = sidecar_path(model, NAME)
    return str(path.parent if path.name == f"{NAME}.json" else model)


def _in_file(path: Path) -> tuple[StoredGrid, ...]:
    if not path.is_file():
        return ()
    try:
        return as_type(_File, read_json(path)).grids
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {CURE}") from None
