"""Run folder, identity of a run -> run.json, or ValueError naming the first field that differs."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adm.differences import first_difference
from adm.processes import Devices
from adm.recipes.schema import Recipe, from_json, to_json
from adm.shown import printable, short, shown, shown_path
from adm.store.files import write_json
from adm.store.locks import locked
from adm.store.parsed import as_type, read_json, through_json
from adm.training.checkpoint import RUN

LONGEST = 200  # characters of the reason why it is damaged
# Fields without effect on the weights, with which a run may resume although they differ.
FREE = (
    "recipe.watch",
    "recipe.train.checkpoint_activations",
    "recipe.train.give_up_after",
    "recipe.train.save_every_steps",
    "recipe.train.keep_last",
    "recipe.train.keep_best",
    "recipe.train.keep_every_steps",
    "recipe.sample",
)


@dataclass(frozen=True)
class Start:
    """The pretrained model that a run started from, as far as a resumed run depends on it."""

    given: str
    renamed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """What `run.json` says; runs of earlier versions may lack all but the recipe."""

    recipe: dict[str, Any]
    classes: tuple[str, ...] | None = None
    data: str | None = None
    images: int | None = None
    labels: str | None = None
    start: Start | None = None


@contextmanager
def sole_writer(run: Path, devices: Devices) -> Iterator[None]:
    """Hold the lock of a run folder on rank 0, for all ranks, until the block ends.

    Raises:
        InUse: another process trains in this folder; names its process id and host.
        ValueError: the path is a file, or the folder has a pipe or a link in it.
        OSError: the folder cannot be written to.
    """

    def take() -> None:
        if run.exists() and not run.is_dir():
            raise ValueError(f"{run} is a file, and a run needs a folder; choose another out=...")
        held.enter_context(locked(run))
        _check_files(run)

    with ExitStack() as held:
        devices.once(take)
        yield


def _check_files(run: Path) -> None:
    """Raise ValueError for what is no file of a run: a pipe, or a link, which would be followed."""
    for path in run.iterdir():
        what = "a link" if path.is_symlink() else "a pipe or a device"
        if not path.is_dir() and (path.is_symlink() or not path.is_file()):
            raise ValueError(f"{shown_path(path)} is {what}, and no file of a run; remove it")


def check_same(run: Path, described: Mapping[str, Any]) -> None:
    """Check the run's identity against the one in `run.json`, if there is one.

    Args:
        run: the run folder.
        described: the run's identity, from `run.identity`.

    Raises:
        ValueError: the folder holds other files, or a run that differs; names the first field.
    """
    path = run / RUN
    if not path.exists():
        if run.exists() and any(not file.name.startswith(".") for file in run.iterdir()):
            raise ValueError(f"{run} is not empty and holds no run; choose another out=...")
    elif difference := first_difference(_held(path)[0], through_json(described), _free(described)):
        raise ValueError(
            f"{run} holds another run: {difference}; choose another out=..., or use the same "
            "settings"
        )


def recipe_in(run: Path) -> Recipe | None:
    """Return the recipe of the run in a folder; None if there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = run / RUN
    return from_json(_held(path)[0]["recipe"]) if path.exists() else None


def store(run: Path, described: Mapping[str, Any]) -> None:
    """Write the run's identity to `run.json`."""
    write_json(run / RUN, described)


def origin_of(
    run: Path, pretrained: str | Path | None, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the `start` entry of `run.json`, after a check against the caller's arguments.

    Args:
        run: the folder of a run that has a checkpoint.
        pretrained: the model that the run is said to have started from.
        renamed: new class name by its name in that model.

    Raises:
        ValueError: the run started from another model, or with other names.
    """
    values, held = _held(run / RUN)
    given = None if pretrained is None else str(pretrained)
    before = None if held.start is None else held.start.given
    if before != given:
        raise ValueError(
            f"{run} holds another run: it started from {_or_nothing(before)}, not "
            f"{_or_nothing(given)}; choose another out=..., or give the same pretrained=..."
        )
    old, new = {} if held.start is None else held.start.renamed, dict(renamed or {})
    if old != new:
        raise ValueError(
            f"{run} holds another run: it renamed {_or_nothing(old)}, not {_or_nothing(new)}; "
            "choose another out=..., or give the same renamed=..."
        )
    return {} if held.start is None else {"start": values["start"]}


def _held(path: Path) -> tuple[dict[str, Any], Held]:
    """Read the identity of the folder's run; settings that it lacks get their defaults."""
    try:
        values = read_json(path)
        held = as_type(Held, values)
        return values | {"recipe": to_json(from_json(held.recipe))}, held
    except (OSError, ValueError) as error:
        reason = short(printable(str(error)), LONGEST)
        raise ValueError(f"{path} is damaged ({reason}); choose another out=...") from None


def _or_nothing(value: object) -> str:
    return value if isinstance(value, str) and value.isprintable() else shown(value or "nothing")


def _free(described: Mapping[str, Any]) -> tuple[str, ...]:
    train = described["recipe"]["train"]
    # With `anneal`, the learning rate of every step depends on the number of steps.
    return FREE if train["anneal"] else (*FREE, "recipe.train.steps")
