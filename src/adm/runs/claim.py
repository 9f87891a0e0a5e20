"""Run folder, identity of a run -> run.json, or ValueError naming the first field that differs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adm.differences import first_difference
from adm.files import write_json
from adm.parsed import read_json, through_json
from adm.recipes.schema import from_json, to_json

FILE = "run.json"
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


def claim(run: Path, described: Mapping[str, Any]) -> None:
    """Write the run's identity to `run.json`, after a check against the one that is there.

    Args:
        run: the run folder.
        described: the run's identity, from `run.identity`.

    Raises:
        ValueError: the folder holds other files, or a run that differs; names the first field.
    """
    path = run / FILE
    if run.exists() and not run.is_dir():
        raise ValueError(f"{run} is a file, and a run needs a folder; choose another out=...")
    if not path.exists():
        if run.exists() and any(not file.name.startswith(".") for file in run.iterdir()):
            raise ValueError(f"{run} is not empty and holds no run; choose another out=...")
    elif difference := first_difference(_held(path), through_json(described), _free(described)):
        raise ValueError(
            f"{run} holds another run: {difference}; choose another out=..., or use the same "
            "settings"
        )
    write_json(path, described)


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
    held = _held(run / FILE).get("start")
    given = None if pretrained is None else str(pretrained)
    if (held or {}).get("given") != given:
        before = "nothing" if held is None else held["given"]
        raise ValueError(
            f"{run} holds another run: it started from {before}, not {given or 'nothing'}; "
            "choose another out=..., or give the same pretrained=..."
        )
    before, now = ((held or {}).get("renamed", {}), dict(renamed or {}))
    if before != now:
        raise ValueError(
            f"{run} holds another run: it renamed {before or 'nothing'}, not {now or 'nothing'}; "
            "choose another out=..., or give the same renamed=..."
        )
    return {} if held is None else {"start": held}


def _held(path: Path) -> dict[str, Any]:
    """Read the identity of the folder's run; settings that it lacks get their defaults."""
    try:
        held = read_json(path)
        return held | {"recipe": to_json(from_json(held["recipe"]))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); choose another out=...") from None


def _free(described: Mapping[str, Any]) -> tuple[str, ...]:
    train = described["recipe"]["train"]
    # With `anneal`, the learning rate of every step depends on the number of steps.
    return FREE if train["anneal"] else (*FREE, "recipe.train.steps")
