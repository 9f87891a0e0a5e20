"""Run folder, identity of a run -> run.json, or ValueError naming the first field that differs."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from adm.data import Source
from adm.data.fingerprint import Fingerprint, difference, fingerprint
from adm.differences import first_difference
from adm.processes import Devices
from adm.recipes.schema import Recipe, from_json
from adm.shown import printable, reason_of, short, shown, shown_path
from adm.spec import SettingError, literal, out_of_range, to_json
from adm.store.files import write_json
from adm.store.hashes import sha256_of
from adm.store.locks import locked
from adm.store.parsed import CLASSES, as_type, read_json, through_json
from adm.training import checkpoint
from adm.training.checkpoint import RUN
from adm.training.model_file import Start

log = logging.getLogger("adm")
DATA = "data.json"  # the fingerprint of a run's images
CheckData: TypeAlias = Literal["names", "pixels", "none"]
TREND = "trend"  # the entry of run.json that says how the distance of samples goes on
LONGEST = 200  # characters of the reason why a file is damaged
# Fields without effect on the steps: a run may resume although they differ.
FREE = (
    "recipe.watch",
    "recipe.train.steps",
    "recipe.train.checkpoint_activations",
    "recipe.train.patience",
    "recipe.train.patience_of",
    "recipe.train.give_up_after",
    "recipe.train.save_every_steps",
    "recipe.train.keep_last",
    "recipe.train.keep_best",
    "recipe.train.keep_every_steps",
    "recipe.sample",
    TREND,
)
IMAGES = ("images", "labels")  # fields that the user may accept a change of


@dataclass(frozen=True)
class Identity:
    """The content of `run.json`."""

    recipe: dict[str, Any]
    classes: tuple[str, ...]
    data: str
    images: int
    labels: str
    start: Start | None = None


@contextmanager
def sole_writer(run: Path, devices: Devices) -> Iterator[None]:
    """Hold the lock of a run folder on rank 0, for all ranks, until the block ends.

    Raises:
        InUse: another process trains in this folder; names its process id and host.
        SettingError: the path is a file.
        ValueError: the folder has a pipe or a link in it.
        OSError: the folder cannot be written to.
    """

    def take() -> None:
        if run.exists() and not run.is_dir():
            raise SettingError("out", f"{literal(str(run))} is a file; choose a folder")
        stack.enter_context(locked(run))
        _check_files(run)

    with ExitStack() as stack:
        devices.once(take)
        yield


def _check_files(run: Path) -> None:
    """Raise ValueError for what is no file of a run: a pipe, or a link, which would be followed."""
    for path in run.iterdir():
        what = "a link" if path.is_symlink() else "a pipe or a device"
        if not path.is_dir() and (path.is_symlink() or not path.is_file()):
            raise ValueError(f"{shown_path(path)} is {what}, and no file of a run; remove it")


def identity(recipe: Recipe, source: Source) -> dict[str, Any]:
    """Return what identifies a run, as JSON values; it is stored with the run and every model."""
    return {
        "recipe": to_json(recipe),
        "classes": list(source.classes),
        "data": source.name,
        "images": len(source),
        "labels": sha256_of(source.labels.numpy().tobytes()),
    }


def recipe_in(run: Path) -> Recipe | None:
    """Return the recipe of the run in a folder; None if there is none.

    Raises:
        ValueError: it is damaged.
    """
    return from_json(_read(run)["recipe"]) if (run / RUN).exists() else None


def check_claim(
    run: Path, described: Mapping[str, Any], source: Source, check: CheckData = "names"
) -> Fingerprint:
    """Return the fingerprint of a run's images, after comparing the run with that in its folder.

    Nothing is written.

    Args:
        described: the run's `identity`.
        check: the names and sizes of the images, also all pixels, or none, which accepts any
            images. Without a checkpoint they may change as well.

    Raises:
        SettingError: the images differ.
        ValueError: the folder holds other files, or a run that differs, and the message names the
            first field; or the record of its images is damaged.
    """
    if check not in get_args(CheckData):
        raise out_of_range("check_data", f"one of {', '.join(get_args(CheckData))}", check)
    if not (run / RUN).exists():
        if run.exists() and any(not file.name.startswith(".") for file in run.iterdir()):
            raise ValueError(f"{run} is not empty and holds no run; choose another folder")
        return fingerprint(source, check == "pixels")
    stored = _read(run)
    if different := first_difference(stored, through_json(described), (*FREE, *IMAGES)):
        raise ValueError(
            f"{run} holds another run: {different}; choose another folder, or use the same settings"
        )
    now = fingerprint(source, check == "pixels")
    if check == "none" or checkpoint.latest(run) is None:
        return now
    before = _read_fingerprint(run / DATA) if (run / DATA).exists() else None
    what = None if before is None else difference(before, now)
    if what is None and stored["images"] != described["images"]:
        what = "the number of images"
    if what is None and stored["labels"] != described["labels"]:
        what = "the label of an image"
    if what is not None:
        raise SettingError(
            "data",
            f"{literal(str(run))} began with other images: {what} has changed; restore them, "
            "choose another {out}, or accept them with {check_data=none}",
        )
    return now if before is None or now.pixels is not None else before


def claim(run: Path, described: Mapping[str, Any], images: Fingerprint) -> None:
    """Claim a folder for a run: write its `run.json` and the record of its images.

    Args:
        described, images: the run's `identity`, and the result of `check_claim`.
    """
    trend: dict[str, Any] = {}
    if (run / RUN).exists():
        stored = _read(run)
        trend = {key: stored[key] for key in stored if key == TREND}
        before, now = stored["recipe"]["train"], described["recipe"]["train"]
        if now["anneal"] and before["steps"] != now["steps"]:
            log.info(
                "the learning rate falls from here to 0 at step %d; it was to be 0 at step %d",
                now["steps"],
                before["steps"],
            )
        if stored["images"] != described["images"] and checkpoint.latest(run) is not None:
            log.info(
                "there are %d images, and were %d: from here, they come in another order",
                described["images"],
                stored["images"],
            )
    write_json(run / RUN, {**described, **trend})
    write_json(run / DATA, asdict(images))


def write_trend(run: Path, words: str) -> None:
    """Write into `run.json` how the distance of a run's samples goes on."""
    write_json(run / RUN, {**read_json(run / RUN, CLASSES), TREND: words})


def start_of(
    run: Path, pretrained: str | Path | None, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the `start` entry of `run.json`, after a check against the caller's arguments.

    Args:
        run: the folder of a run that has a checkpoint.
        pretrained: the caller's model to start from.
        renamed: new class name by its name in that model.

    Raises:
        ValueError: the run started from another model, or with other names.
    """
    values = _read(run)
    before = values.get("start") or {"given": None}
    requested = None if pretrained is None else str(pretrained)
    pairs = [
        ("it started from", before["given"], requested),
        ("it renamed", before.get("renamed") or None, dict(renamed or {}) or None),
    ]
    for what, old, new in pairs:
        if old != new:
            raise ValueError(
                f"{run} holds another run: {what} {_or_nothing(old)}, not {_or_nothing(new)}; "
                "choose another folder, or give the same"
            )
    return {"start": values["start"]} if before["given"] is not None else {}


def _read_fingerprint(path: Path) -> Fingerprint:
    try:
        return as_type(Fingerprint, read_json(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({reason_of(error)}); restore or remove it") from None


def _read(run: Path) -> dict[str, Any]:
    path = run / RUN
    try:
        values = read_json(path, CLASSES)
        return values | {"recipe": to_json(from_json(as_type(Identity, values).recipe))}
    except (OSError, ValueError) as error:
        reason = short(printable(reason_of(error)), LONGEST)
        raise ValueError(f"{path} is damaged ({reason}); choose another folder") from None


def _or_nothing(value: object) -> str:
    if value is None:
        return "nothing"
    return shown_path(value) if isinstance(value, str) else shown(value)
