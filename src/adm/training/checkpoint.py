"""RunState, Numbers <-> checkpoint folder of safetensors and JSON.

A run's folder holds `checkpoints/step-0001000/`, and there:
    model.safetensors      the averaged weights, with the recipe in the file's metadata
    raw.safetensors        the weights as the optimizer left them
    optimizer.safetensors  its moments
    ema-0.999.safetensors  further averages, where there are any, by name
    importance.safetensors the recent losses of each level, where levels are drawn by them
    state.json             the step, and all else that is a number

Where several networks learn, each has a folder of its name for its weights, moments and averages,
such as `step-0001000/generator/model.safetensors`. Frozen networks are not saved.
"""

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from adm.files import fsync, parse_json, read_json
from adm.processes import Devices
from adm.training import contents
from adm.training.disk import unwritten
from adm.training.players import RunState
from adm.training.spread import fill, whole

FORMAT = "adm"  # under which a model file's header holds its metadata
STEP_FOLDER = "step-{:07d}"


@dataclass(frozen=True)
class Numbers:
    """What a checkpoint holds beside tensors.

    Attributes:
        step: optimizer steps done.
        micro_batch: that they were done with; going on with it gives the same rounding.
        validation: the step's validation loss, where it was measured.
    """

    step: int
    micro_batch: int
    validation: float | None = None


def save_model(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write one self-describing model file; `metadata` becomes JSON.

    All of it is one entry of the file's header, which would list several in a random order.
    """
    described = {FORMAT: json.dumps(metadata)}
    save_file({k: v.detach().contiguous().cpu() for k, v in weights.items()}, path, described)


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model file written by `save_model`: float32 weights, and the metadata.

    Raises:
        ValueError: the file is truncated, or no model of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = dict(file.metadata() or {})
        weights = load_file(path)
        metadata = described_by(described)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is no model file or is damaged ({error}); copy it again, or give a file "
            "that `adm train` wrote"
        ) from None
    if not isinstance(metadata, dict) or not {"recipe", "classes"} <= metadata.keys():
        raise ValueError(
            f"{path} carries no recipe: of a checkpoint give model.safetensors, and import a file "
            "that adm did not write"
        )
    return {k: v.float() for k, v in weights.items()}, metadata


def described_by(described: dict[str, str]) -> dict[str, Any]:
    """The entries of a file's header -> the metadata of `save_model`; empty for a foreign file."""
    if FORMAT in described:
        return parse_json(described[FORMAT])
    if described.pop("format", None) == FORMAT:  # as files were before 0.1: an entry each
        return {k: parse_json(v) for k, v in described.items()}
    return {}


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, if it has one."""
    found = finished(run)
    return found[-1] if found else None


def numbers(folder: Path) -> Numbers:
    """A checkpoint's numbers.

    Raises:
        ValueError: they are damaged.
    """
    held = _state(folder)
    return Numbers(held["step"], held["micro_batch"], held["validation"])


def save(
    run: Path,
    numbers: Numbers,
    state: RunState,
    metadata: dict[str, Any],
    devices: Devices,
) -> Path:
    """Write a checkpoint whole or not at all.

    Every process writes the files that fall to it; the folder appears under its name when all are
    on the disk.

    Raises:
        OSError: a file cannot be written; the checkpoints before stay as they are.
    """
    folder = run / "checkpoints" / STEP_FOLDER.format(numbers.step)
    part = folder.with_name(f".{folder.name}.part")
    places = contents.places(state).values()
    devices.once(lambda: _emptied(part, places))
    failure: Exception | None = None
    for turn, (name, tensors) in enumerate(contents.tensors(state).items()):
        mine = turn % devices.world == devices.rank and failure is None
        held = {key: whole(t).detach() for key, t in tensors.items()}  # together, if in parts
        if mine:
            try:
                _write(part / name, held, metadata | {"step": numbers.step})
            except (OSError, SafetensorError) as error:
                failure = _unwritten(error, folder, run)

    def publish() -> None:
        try:
            (part / "state.json").write_text(json.dumps(_described(numbers, state)))
            _synced(part, places)
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
            fsync(folder.parent)
        except OSError as error:
            raise _unwritten(error, folder, run) from None

    try:
        devices.share_failure(failure)
        devices.once(publish)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


def restore(folder: Path, state: RunState) -> Numbers:
    """Load a checkpoint into built objects; on any number of processes.

    Raises:
        ValueError: one of its files is damaged, or it is of a run of other players.
    """
    held = _state(folder)
    try:
        own = contents.numbers_of_players(state, held)
    except ValueError as error:
        raise ValueError(f"{folder} cannot be continued: {error}; give another folder") from None
    for name, tensors in contents.tensors(state, moments=False).items():
        values = _tensors(folder / name)
        for key, tensor in tensors.items():
            fill(tensor, values[key])
    for name, place in contents.places(state).items():
        moments = _tensors(folder / place / "optimizer.safetensors")
        contents.restore_learning(state.players[name], own[name], moments)
    state.step, state.bad_steps = held["step"], held["bad_steps"]
    return Numbers(held["step"], held["micro_batch"], held["validation"])


def _described(numbers: Numbers, state: RunState) -> dict[str, Any]:
    return {
        "step": numbers.step,
        "micro_batch": numbers.micro_batch,
        "validation": _finite(numbers.validation),
        **contents.numbers(state),
    }


def _finite(value: float | None) -> float | None:
    """JSON has no word for what is not, and it is no result either."""
    return value if value is not None and math.isfinite(value) else None


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    if path.name.startswith(("optimizer", "importance")):
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, path)
    else:
        save_model(path, tensors, metadata | {"weights": path.stem})
    fsync(path)


def _emptied(folder: Path, places: Iterable[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for place in places:
        (folder / place).mkdir(parents=True)


def _synced(folder: Path, places: Iterable[str]) -> None:
    """Have the disk hold what the folder lists, before the folder takes its name."""
    fsync(folder / "state.json")
    for listed in {*(folder / place for place in places), folder}:
        fsync(listed)


def _unwritten(error: Exception, folder: Path, run: Path) -> OSError:
    before = latest(run)
    stays = f"{before.name} stays whole" if before else "there is none before it"
    return unwritten(f"checkpoint {folder.name}", error, f"; {stays}")


def finished(run: Path) -> list[Path]:
    """All whole checkpoints of a run, oldest first."""
    found = (state.parent for state in (run / "checkpoints").glob("step-*/state.json"))
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("step-")))


def sound(run: Path) -> Path | None:
    """The newest whole checkpoint with no step before it that was not finite, if there is one."""
    return next((f for f in reversed(finished(run)) if not _state(f)["bad_steps"]), None)


def _state(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "state.json")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder / 'state.json'} is damaged ({error}); remove {folder} to continue from the "
            "checkpoint before it"
        ) from None


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is missing or damaged ({error}); remove {path.parent} to continue from the "
            "checkpoint before it"
        ) from None
