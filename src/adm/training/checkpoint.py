"""Learner, Numbers <-> checkpoint folder of safetensors and JSON, each verified by its hash.

A checkpoint is a folder `checkpoints/step-0001000/` in the run folder, with the files
    model.safetensors      the average of the weights, with the recipe in the file's metadata
    raw.safetensors        the weights themselves
    optimizer.safetensors  the optimizer's moments and counts of steps
    ema-0.999.safetensors  further averages by name, if there are any
    importance.safetensors the recent losses of each level, if levels are sampled by importance
    state.json             the step and all other numbers
    SHA256SUMS             the hash of each of these
"""

import json
import logging
import math
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adm.processes import Devices
from adm.shown import reason_of
from adm.store.files import FULL, fsync, link
from adm.store.hashes import SUMS, damaged_parts, read_sums, seal
from adm.store.parsed import as_type, read_json
from adm.training.learner import Learner
from adm.training.model_file import Steps, check_finite, save_model, save_tensors
from adm.training.settings import TrainSettings

RUN, FOLDER, STATE = "run.json", "checkpoints", "state.json"
MOMENTS, IMPORTANCE = "optimizer.safetensors", "importance.safetensors"
# A number of a checkpoint -> the link to the one of which it is the lowest.
LINKS = {"validation": "best", "distance": "best-distance"}
ASIDE = "damaged-"  # before the name of a damaged checkpoint that was set aside
NUMBER = re.compile(r"step-(\d{7,12})")

log = logging.getLogger("adm")

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Numbers:
    """All state of a run other than tensors, as in state.json.

    Attributes:
        step: optimizer steps done.
        micro_batch: size of the micro-batches so far; resuming with it keeps the same rounding.
        validation, distance: validation loss and distance of samples after this step; None if it
            was not measured, or not finite.
        bad_steps: consecutive steps up to this one that were not finite.
        loss_scale: the factor of the loss, infinite after more than a million steps without an
            overflow.
        good_steps: consecutive steps without an overflow.
    """

    step: Steps
    micro_batch: Annotated[int, Field(gt=0, lt=1 << 31)]
    validation: Finite | None = None
    distance: Finite | None = None
    bad_steps: Count = 0
    loss_scale: Annotated[float, Field(gt=0)] = 1.0
    good_steps: Count = 0

    @classmethod
    def of(cls, learner: Learner, micro_batch: int, judged: Mapping[str, float]) -> "Numbers":
        """Return the numbers of a run after a step, with those of `LINKS` that were measured."""
        # JSON has neither NaN nor infinity.
        finite = {name: value for name, value in judged.items() if math.isfinite(value)}
        return cls(
            step=learner.step,
            micro_batch=micro_batch,
            bad_steps=learner.bad_steps,
            loss_scale=learner.scale.value,
            good_steps=learner.scale.good,
            **finite,
        )


def step_folder(step: int) -> str:
    """Return the name of the checkpoint after `step` steps."""
    return f"step-{step:07d}"


def step_of(folder: Path) -> int | None:
    """Return the step of a checkpoint by the name of its folder; None for another folder."""
    match = NUMBER.fullmatch(folder.name)
    step = None if match is None else int(match[1])
    return step if step is not None and folder.name == step_folder(step) else None


def folders_of(run: Path) -> list[Path]:
    """Return all complete checkpoints of a run, oldest first.

    One is complete if it has its final name, as its files are written under another, and a
    state.json, which is the first to go when it is removed.
    """
    steps = {
        folder: step
        for folder in (run / FOLDER).glob("step-*")
        if (step := step_of(folder)) is not None and (folder / STATE).is_file()
    }
    return sorted(steps, key=steps.__getitem__)


def latest(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run, or None."""
    folders = folders_of(run)
    return folders[-1] if folders else None


def read_numbers(folder: Path) -> Numbers:
    """Read the numbers of a checkpoint.

    Raises:
        ValueError: state.json is missing or damaged.
    """
    path = folder / STATE
    try:
        return as_type(Numbers, read_json(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or damaged ({reason_of(error)})") from None


def newest_finite(run: Path) -> Path | None:
    """Return the newest complete checkpoint whose last step was finite, or None."""
    numbers = _numbers_of(run)
    return next((f for f in reversed(numbers) if not numbers[f].bad_steps), None)


def best(run: Path, by: str = "validation") -> Path | None:
    """Return the checkpoint with the lowest of a number of `LINKS`; None if none has it."""
    numbers = {folder: getattr(each, by) for folder, each in _numbers_of(run).items()}
    known = [folder for folder, number in numbers.items() if number is not None]
    return min(known, key=lambda folder: numbers[folder], default=None)


def _numbers_of(run: Path) -> dict[Path, Numbers]:
    """Return the numbers of the complete checkpoints, oldest first, without damaged ones."""
    numbers: dict[Path, Numbers] = {}
    for folder in folders_of(run):
        with suppress(ValueError):
            numbers[folder] = read_numbers(folder)
    return numbers


def check_parts(folder: Path, names: Iterable[str] | None = None) -> Numbers:
    """Return the numbers of a checkpoint, after a comparison of its parts with their hashes.

    Args:
        names: the parts to check besides state.json; all by default.

    Raises:
        ValueError: a part is missing, damaged or from another checkpoint; names it.
    """
    numbers, sums = read_numbers(folder), read_sums(folder)
    if sums is None:
        raise ValueError(f"{folder / SUMS} is missing")
    if damaged := damaged_parts(folder, [*(sums if names is None else names), STATE]):
        raise ValueError(
            f"{folder / damaged[0]} is missing, damaged or from another checkpoint: it is not as "
            f"{SUMS} says"
        )
    return numbers


def check_model(path: Path) -> None:
    """Raise ValueError unless a model file is whole and belongs to the checkpoint that it is in.

    A file outside the folder of a checkpoint is not checked.
    """
    file = path.resolve()  # `best` is a link to a checkpoint
    folder = file.parent
    if not (folder / STATE).is_file():
        return
    try:
        check_parts(folder, [file.name])
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{error}; copy it again, or remove {folder} to use the checkpoint before it"
        ) from None


def save(run: Path, numbers: Numbers, learner: Learner, metadata: dict[str, Any]) -> Path:
    """Write a checkpoint atomically; of several processes, one calls.

    The folder gets its name once all files are on the disk.

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
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        for name, tensors in files_of(learner).items():
            if name in (MOMENTS, IMPORTANCE):
                save_tensors(part / name, tensors)
            else:
                own = {"step": numbers.step, "weights": Path(name).stem}
                save_model(part / name, tensors, metadata | own)
        (part / STATE).write_text(json.dumps(asdict(numbers)))
        seal(part)
        fsync(part / STATE)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise _unwritten(error, folder) from None
    return folder


def _unwritten(error: OSError, folder: Path) -> OSError:
    before = latest(folder.parent.parent)
    stays = (
        f"{before.name} is intact, and a new attempt resumes from it"
        if before
        else "there is no earlier one"
    )
    cure = "free disk space" if error.errno in FULL else "resolve that error"
    return OSError(
        error.errno,
        f"checkpoint {folder.name} was not written ({reason_of(error)}); {stays}; {cure} and try "
        "again",
    )


@torch.no_grad()
def restore(run: Path, learner: Learner, devices: Devices) -> Numbers | None:
    """Load the newest whole checkpoint of a run into `learner`; None if the run has none.

    Every process must call, and there may be any number of them. Damaged checkpoints are first
    renamed, so that an earlier one is the newest. Training replaces them, and `prune` removes
    what was set aside.

    Raises:
        ValueError: there are checkpoints and none is whole.
    """
    folder = devices.once(lambda: _newest_whole(run, learner))
    if folder is None:
        return None
    for name, tensors in files_of(learner).items():
        stored = _read(folder / name)
        for key, tensor in tensors.items():
            tensor.copy_(stored[key])
    numbers, scale = read_numbers(folder), learner.scale
    learner.step, learner.bad_steps = numbers.step, numbers.bad_steps
    scale.value, scale.good = numbers.loss_scale, numbers.good_steps
    return numbers


def _newest_whole(run: Path, learner: Learner) -> Path | None:
    """Return the newest whole checkpoint, after setting the damaged ones that are newer aside."""
    damaged: dict[Path, str] = {}
    for folder in reversed(folders_of(run)):
        try:
            _check(folder, learner)
        except (OSError, ValueError) as error:
            damaged[folder] = str(error)
            continue
        _set_aside(damaged, folder)
        return folder
    for newest, damage in damaged.items():
        raise ValueError(
            f"{damage}, and no checkpoint before it is whole; copy it again, or remove {newest} to "
            "train from the beginning"
        )
    return None


def _check(folder: Path, learner: Learner) -> None:
    """Raise ValueError unless a checkpoint is whole, and one of such a learner."""
    numbers = check_parts(folder)
    if numbers.step != step_of(folder):
        raise ValueError(f"{folder / STATE} is that of step {numbers.step}")
    for name, tensors in files_of(learner).items():
        stored = _read(folder / name)
        _check_forms(folder / name, stored, tensors)
        if name != MOMENTS:  # of a large gradient, the second moment may be infinite
            check_finite(folder / name, stored)


def _check_forms(path: Path, stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless a file has tensors of these names, shapes and dtypes."""
    for name in {**expected, **stored}:
        saved, current = (
            "absent" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
            for tensor in (stored.get(name), expected.get(name))
        )
        if saved != current:
            raise ValueError(f"{name} in {path} is {saved}, and in this run {current}")


def _set_aside(damaged: Mapping[Path, str], whole: Path) -> None:
    for each, damage in damaged.items():
        aside = each.with_name(ASIDE + each.name)
        shutil.rmtree(aside, ignore_errors=True)
        each.rename(aside)
        log.warning(
            f"{damage}; it is now in {aside.name}, and training continues from {whole.name}"
        )


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is missing or damaged ({reason_of(error)})") from None


def files_of(learner: Learner) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file, by file name; they share memory with the learner's."""
    raw = learner.network.state_dict()  # with buffers, which have no average
    files = {
        "model.safetensors": {**raw, **learner.ema.weights},
        "raw.safetensors": raw,
        MOMENTS: {
            f"{slot}/{name}": value
            for name, parameter in learner.network.named_parameters()
            for slot, value in learner.optimizer.state[parameter].items()
        },
    }
    files |= {f"{each.name}.safetensors": each.weights for each in learner.averages[1:]}
    if learner.importance is not None:
        arrays = {"history": learner.importance.history, "counts": learner.importance.counts}
        files[IMPORTANCE] = {key: torch.from_numpy(array) for key, array in arrays.items()}
    return files


def prune(run: Path, settings: TrainSettings) -> None:
    """Remove the checkpoints that the settings do not retain.

    The newest checkpoint, and the newest one whose last step was finite, are retained. One off
    the schedule, which only an interruption saves, is removed once a newer one exists.
    """
    folders = folders_of(run)
    steps = {folder: step_of(folder) or 0 for folder in folders}
    newest, last, interval = steps[folders[-1]], settings.keep_last, settings.keep_every_steps
    regular = [f for f in folders[:-1] if settings.regular(steps[f])]
    keep = {folders[-1], *(regular[-(last - 1) :] if last > 1 else ())}
    if interval is not None:
        keep |= {folder for folder in folders if steps[folder] % interval == 0}
    winners = {by: best(run, by) if settings.keep_best else None for by in LINKS}
    keep |= {folder for folder in (newest_finite(run), *winners.values()) if folder is not None}
    for by, winner in winners.items():
        _link(run / FOLDER / LINKS[by], winner)
    for folder in set(folders) - keep:
        (folder / STATE).unlink()  # first: without it, a partial folder is no checkpoint
    for folder in (run / FOLDER).glob("*step-*"):
        if folder not in keep and _is_left(folder, newest):
            shutil.rmtree(folder)


def _is_left(folder: Path, newest: int) -> bool:
    """Whether a folder is a part of a checkpoint, or a damaged one that has been replaced."""
    if folder.name.startswith("."):
        return folder.suffix == ".part"  # of an interrupted save
    if not folder.is_dir() or folder.is_symlink():
        return False
    step = step_of(folder.with_name(folder.name.removeprefix(ASIDE)))
    return step is not None and (step <= newest or not folder.name.startswith(ASIDE))


def _link(path: Path, target: Path | None) -> None:
    """Point the link at a folder beside it, or remove the link."""
    if target is None:
        for each in (path, path.with_name(f".{path.name}.part")):  # also one left by a kill
            each.unlink(missing_ok=True)
        return
    with suppress(OSError):  # without links, `best` reads the checkpoints' own numbers
        link(path, target.name)
