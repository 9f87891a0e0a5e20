"""RunState, Numbers <-> checkpoint folder of safetensors and JSON.

A checkpoint is a folder `checkpoints/step-0001000/` in the run folder, with the files
    model.safetensors      the average of the weights, with the recipe in the file's metadata
    raw.safetensors        the weights themselves
    optimizer.safetensors  the optimizer's moments
    ema-0.999.safetensors  further averages by name, if there are any
    importance.safetensors the recent losses of each level, if levels are sampled by importance
    state.json             the step and all other numbers
    SHA256SUMS             the hash of each of these, by which they vouch for each other

If several networks are trained, each has a subfolder of its name for weights, moments and averages,
such as `step-0001000/generator/model.safetensors`. Frozen networks are not saved.
"""

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from adm.processes import Devices
from adm.store.files import fsync
from adm.store.hashes import seal
from adm.training import contents, parts
from adm.training.disk import unwritten
from adm.training.finished import FOLDER, finished, latest, step_folder
from adm.training.header import FORMAT, damaged, entries_of
from adm.training.players import RunState
from adm.training.spread import fill, whole
from adm.training.state import FILE, State, read_state
from adm.training.weights import check_finite


@dataclass(frozen=True)
class Numbers:
    """The numbers that describe a checkpoint.

    Attributes:
        step: optimizer steps done.
        micro_batch: size of the micro-batches so far; resuming with it keeps the same rounding.
        validation: validation loss after this step; None if it was not measured.
        log: SHA-256 of the lines of the log up to this step; None if an earlier version saved it.
    """

    step: int
    micro_batch: int
    validation: float | None = None
    log: str | None = None


def save_model(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write one self-describing model file.

    The metadata is a single JSON entry of the header, because safetensors writes several entries
    in a random order.

    Args:
        weights: tensors by name; they are written with their own dtypes.
        metadata: JSON values, `recipe` and `classes` among them.
    """
    described = {FORMAT: json.dumps(metadata)}
    save_file({k: v.detach().contiguous().cpu() for k, v in weights.items()}, path, described)


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model file written by `save_model`.

    Returns:
        Float32 weights by name, and the metadata as JSON values.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    metadata = entries_of(path)
    return load_weights(path), metadata


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a model file as float32, by name.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from None
    return {name: tensor.float() for name, tensor in weights.items()}


def numbers(folder: Path) -> Numbers:
    """Return the numbers of a checkpoint.

    Raises:
        ValueError: state.json is missing or damaged.
    """
    return _numbers(read_state(folder))


def intact(run: Path, devices: Devices) -> Path | None:
    """Return the newest checkpoint of a run, after a check of its parts; None if there is none.

    Every process must call. Damaged ones are set aside, as `parts.set_aside` says.

    Raises:
        ValueError: there are checkpoints, and none is whole.
    """
    devices.once(lambda: parts.set_aside(run))
    return latest(run)


def save(
    run: Path,
    numbers: Numbers,
    state: RunState,
    metadata: dict[str, Any],
    devices: Devices,
) -> Path:
    """Write a checkpoint atomically; every process must call.

    The processes share the writing of the files. The folder gets its name once all files are on the
    disk.

    Args:
        run: the run folder.
        metadata: stored with every weights file; see `save_model`.

    Returns:
        The checkpoint folder.

    Raises:
        OSError: a file cannot be written; earlier checkpoints are not touched.
    """
    folder = run / FOLDER / step_folder(numbers.step)
    part = folder.with_name(f".{folder.name}.part")
    places = contents.places(state).values()
    devices.once(lambda: _emptied(part, places))
    failure: Exception | None = None
    for turn, (name, tensors) in enumerate(contents.tensors(state).items()):
        mine = turn % devices.world == devices.rank and failure is None
        held = {key: whole(t).detach() for key, t in tensors.items()}  # collective
        if mine:
            try:
                _write(part / name, held, metadata | {"step": numbers.step})
            except (OSError, SafetensorError) as error:
                failure = _unwritten(error, folder, run)

    def publish() -> None:
        try:
            (part / FILE).write_text(json.dumps(_described(numbers, state)))
            seal(part)
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
    """Load a checkpoint into `state`, on any number of processes.

    Its parts are those of one checkpoint; see `intact`.

    Raises:
        ValueError: a file is missing, damaged or of another network, weights are not finite, or the
            checkpoint has other players.
    """
    held = read_state(folder)
    try:
        own = contents.numbers_of_players(state, held.players)
    except ValueError as error:
        raise ValueError(f"{folder} cannot be resumed: {error}; choose another out=...") from None
    for name, tensors in contents.tensors(state, moments=False).items():
        values = _tensors(folder / name, folder)
        if _shapes(tensors) != _shapes(values):
            raise ValueError(f"{folder / name} has the weights of another network; {_cure(folder)}")
        check_finite(folder / name, values, _cure(folder))
        for key, tensor in tensors.items():
            fill(tensor, values[key])
    for name, place in contents.places(state).items():
        path = folder / place / "optimizer.safetensors"
        moments = _tensors(path, folder)
        known = dict(state.players[name].network.named_parameters())
        if any(key.partition("/")[2] not in known for key in moments):
            raise ValueError(f"{path} has the moments of another network; {_cure(folder)}")
        contents.restore_learning(state.players[name], own[name], moments)
    state.step, state.bad_steps = held.step, held.bad_steps
    return _numbers(held)


def _numbers(held: State) -> Numbers:
    return Numbers(held.step, held.micro_batch, held.validation, held.log)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _cure(folder: Path) -> str:
    return f"remove {folder} to resume from the checkpoint before it"


def _described(numbers: Numbers, state: RunState) -> dict[str, Any]:
    return {
        "step": numbers.step,
        "micro_batch": numbers.micro_batch,
        "validation": _finite(numbers.validation),
        "log": numbers.log,
        **contents.numbers(state),
    }


def _finite(value: float | None) -> float | None:
    """Return the value if it is finite, else None: JSON has neither NaN nor infinity."""
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
    """Flush the folder's files and directories to the disk, before the folder is renamed."""
    fsync(folder / FILE)
    for listed in {*(folder / place for place in places), folder}:
        fsync(listed)


def _unwritten(error: Exception, folder: Path, run: Path) -> OSError:
    before = latest(run)
    stays = (
        f"{before.name} is intact, and a new attempt resumes from it"
        if before
        else "there is no earlier one"
    )
    return unwritten(f"checkpoint {folder.name}", error, f"; {stays}")


def sound(run: Path) -> Path | None:
    """Return the newest complete checkpoint whose last step was finite, or None."""
    states = states_of(run)
    return next((f for f in reversed(states) if not states[f].bad_steps), None)


def states_of(run: Path) -> dict[Path, State]:
    """Return the numbers of the complete checkpoints, oldest first, without damaged ones."""
    found: dict[Path, State] = {}
    for folder in finished(run):
        with suppress(ValueError):
            found[folder] = read_state(folder)
    return found


def _tensors(path: Path, folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is missing or damaged ({error}); {_cure(folder)}") from None
