"""Run folder, identity of a run -> run.json, or ValueError naming the first field that differs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adm.files import read_json, through_json, write_json
from adm.recipes.schema import from_json, to_json

FILE = "run.json"
# Fields that change nothing of what is learned, so that a run may go on with others.
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
    """Make the folder this run's, or see that it already is.

    Raises:
        ValueError: the folder holds something else, or the same run with other settings.
    """
    path = run / FILE
    if run.exists() and not run.is_dir():
        raise ValueError(f"{run} is a file, and a run needs a folder; choose another out=...")
    if not path.exists():
        if run.exists() and any(not file.name.startswith(".") for file in run.iterdir()):
            raise ValueError(f"{run} is not empty and holds no run; choose another out=...")
    elif difference := _difference(_held(path), through_json(described), _free(described)):
        raise ValueError(
            f"{run} holds another run: {difference}; choose another out=..., or use the same "
            "settings"
        )
    write_json(path, described)


def origin_of(
    run: Path, pretrained: str | Path | None, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Where a run that has begun started from, as far as the caller says the same.

    Raises:
        ValueError: it started from something else.
    """
    held = _held(run / FILE).get("start")
    given = None if pretrained is None else str(pretrained)
    if (held or {}).get("given") != given:
        before = "nothing" if held is None else held["given"]
        raise ValueError(
            f"{run} holds another run: it started from {before}; choose another out=..., or "
            "start from the same model"
        )
    before, now = ((held or {}).get("renamed", {}), dict(renamed or {}))
    if before != now:
        raise ValueError(
            f"{run} holds another run: it renamed {before or 'nothing'} not {now or 'nothing'}; "
            "choose another out=..., or give the same renamed=..."
        )
    return {} if held is None else {"start": held}


def _held(path: Path) -> dict[str, Any]:
    """What the folder says of its run; settings that came later have their defaults."""
    try:
        held = read_json(path)
        return held | {"recipe": to_json(from_json(held["recipe"]))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); choose another out=...") from None


def _free(described: Mapping[str, Any]) -> tuple[str, ...]:
    train = described["recipe"]["train"]
    # More steps are the same run for longer, unless the learning rate is drawn towards the last.
    return FREE if train["anneal"] else (*FREE, "recipe.train.steps")


def _difference(held: object, asked: object, free: tuple[str, ...], path: str = "") -> str | None:
    """The first setting in which two runs differ, with both values."""
    if path in free:
        return None
    if isinstance(held, dict) and isinstance(asked, dict):
        for key in {**held, **asked}:
            here = f"{path}.{key}" if path else str(key)
            if found := _difference(held.get(key), asked.get(key), free, here):
                return found
        return None
    return None if held == asked else f"{path} is {held!r} there and {asked!r} here"
