"""RunState, Numbers <-> checkpoint folder of safetensors and JSON, each verified by its hash.

A checkpoint is a folder `checkpoints/step-0001000/` in the run folder, with the files
    model.safetensors      the average of the weights, with the recipe in the file's metadata
    raw.safetensors        the weights themselves
    optimizer.safetensors  the optimizer's moments and counts of steps
    ema-0.999.safetensors  further averages by name, if there are any
    importance.safetensors the recent losses of each level, if levels are sampled by importance
    state.json             the step and all other numbers
    SHA256SUMS             the hash of each of these

If several networks are trained, each has a subfolder of its name for weights, moments and averages,
such as `step-0001000/generator/model.safetensors`. Frozen networks are not saved.

Of a run whose weights are sharded, all checkpoints but its last have a folder `shards/` in place of
raw.safetensors, the moments and further averages; see `start_saving`.
"""

import json
import logging
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adm.processes import Devices
from adm.shown import reason_of
from adm.store.files import FULL, fsync, link
from adm.store.hashes import SUMS, damaged_parts, read_sums, seal
from adm.store.parsed import as_type, read_json
from adm.training import sharded
from adm.training.model_file import Steps, check_finite, save_model, save_tensors
from adm.training.players import Player, RunState
from adm.training.settings import TrainSettings
from adm.training.sharded import Forms
from adm.training.spread import fill, whole

RUN, FOLDER, STATE = "run.json", "checkpoints", "state.json"
MODEL, MOMENTS = "model.safetensors", "optimizer.safetensors"
SHARDS = "shards"  # of a checkpoint; a shard's names are those of a file and of a tensor in it
SUFFIX = ".safetensors/"
BEST = "best"  # a link to the checkpoint with the lowest validation loss
ASIDE = "damaged-"  # before the name of a damaged checkpoint that was set aside
STEP = "step"  # the slot of an optimizer that counts steps
NUMBER = re.compile(r"step-(\d{7,12})")

log = logging.getLogger("adm")

Count = Annotated[int, Field(ge=0, lt=1 << 63)]


@dataclass(frozen=True)
class Learning:
    """The numbers of a player.

    Attributes:
        loss_scale: the factor of the loss, infinite after more than a million steps without an
            overflow.
        good_steps: consecutive steps without an overflow.
    """

    loss_scale: Annotated[float, Field(gt=0)]
    good_steps: Count


@dataclass(frozen=True)
class Numbers:
    """All state of a run other than tensors, as in state.json.

    Attributes:
        step: optimizer steps done.
        micro_batch: size of the micro-batches so far; resuming with it keeps the same rounding.
        validation: validation loss after this step; None if it was not measured, or not finite.
        bad_steps: consecutive steps up to this one that were not finite.
        players: the numbers of each player by name; `save` fills them in, and `bad_steps`.
    """

    step: Steps
    micro_batch: Annotated[int, Field(gt=0, lt=1 << 31)]
    validation: Annotated[float, Field(allow_inf_nan=False)] | None = None
    bad_steps: Count = 0
    players: dict[str, Learning] = field(default_factory=dict)


def step_folder(step: int) -> str:
    """Return the name of the checkpoint after `step` steps."""
    return f"step-{step:07d}"


def step_of(folder: Path) -> int | None:
    """Return the step of a checkpoint by the name of its folder; None for another folder."""
    match = NUMBER.fullmatch(folder.name)
    step = None if match is None else int(match[1])
    return step if step is not None and folder.name == step_folder(step) else None


def finished(run: Path) -> list[Path]:
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
    folders = finished(run)
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


def sound(run: Path) -> Path | None:
    """Return the newest complete checkpoint whose last step was finite, or None."""
    numbers = _numbers_of(run)
    return next((f for f in reversed(numbers) if not numbers[f].bad_steps), None)


def best(run: Path) -> Path | None:
    """Return the checkpoint with the lowest validation loss; None if none was validated."""
    scored = [
        (numbers.validation, folder)
        for folder, numbers in _numbers_of(run).items()
        if numbers.validation is not None
    ]
    return min(scored)[1] if scored else None


def _numbers_of(run: Path) -> dict[Path, Numbers]:
    """Return the numbers of the complete checkpoints, oldest first, without damaged ones."""
    numbers: dict[Path, Numbers] = {}
    for folder in finished(run):
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
    for folder in (file.parent, file.parent.parent):
        if (folder / STATE).is_file() and ((folder / SUMS).exists() or step_of(folder) is not None):
            try:
                check_parts(folder, [file.relative_to(folder).as_posix()])
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{error}; copy it again, or remove {folder} to use the checkpoint before it"
                ) from None
            return


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
        numbers: without those that are in `state`.
        metadata: stored with every weights file; see `save_model`.

    Returns:
        The checkpoint folder.

    Raises:
        OSError: a file cannot be written; earlier checkpoints are not touched.
    """
    folder, part = _begin(run, numbers, state, devices)
    failure: Exception | None = None
    for turn, (name, tensors) in enumerate(files_of(state).items()):
        mine = turn % devices.world == devices.rank and failure is None
        gathered = {key: whole(t).detach() for key, t in tensors.items()}  # collective
        if mine:
            try:
                _write(part / name, gathered, metadata | {"step": numbers.step})
            except OSError as error:
                failure = _unwritten(error, folder)
    numbers = _completed(numbers, state)
    try:
        devices.share_failure(failure)
        devices.once(lambda: _publish(part, folder, numbers))
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return folder


# Seven parameters: those of `save`, the writer and what follows.
def start_saving(
    run: Path,
    numbers: Numbers,
    state: RunState,
    metadata: dict[str, Any],
    devices: Devices,
    writer: sharded.Writer,
    then: Callable[[], object],
) -> Path:
    """Write a checkpoint of shards behind the training; every process must call.

    A step waits for a copy of the state alone. Each process then writes its shards, and rank 0 the
    model file of each player from them, before the folder gets its name.

    Args:
        run, numbers, state, metadata: as for `save`.
        writer: of the run; its `wait` raises what comes later.
        then: called on rank 0, in the background, once the checkpoint is complete.

    Returns:
        The folder that it will have.

    Raises:
        OSError: it cannot be begun, or the checkpoint before it could not be written.
    """
    writer.wait()
    folder, part = _begin(run, numbers, state, devices)
    numbers = _completed(numbers, state)

    written = writer.start(part / SHARDS, _flat(files_of(state)))

    def finish() -> None:
        try:
            written()
            if devices.main:
                for place in places(state).values():
                    weights = sharded.read_whole(part / SHARDS, f"{place}{MODEL}/")
                    _write(part / place / MODEL, weights, metadata | {"step": numbers.step})
                _publish(part, folder, numbers)
                then()
        except OSError as error:
            if devices.main:
                shutil.rmtree(part, ignore_errors=True)
            raise _unwritten(error, folder) from None

    writer.follow(finish)
    return folder


def _begin(run: Path, numbers: Numbers, state: RunState, devices: Devices) -> tuple[Path, Path]:
    """Return the folder of a checkpoint, and the empty one that it is written in."""
    folder = run / FOLDER / step_folder(numbers.step)
    part = folder.with_name(f".{folder.name}.part")
    folders = [part, *{part / place for place in places(state).values()}]
    devices.once(lambda: _empty(part, folders))
    return folder, part


def _publish(part: Path, folder: Path, numbers: Numbers) -> None:
    try:
        (part / STATE).write_text(json.dumps(asdict(numbers)))
        seal(part)
        fsync(part / STATE)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        raise _unwritten(error, folder) from None


def _flat(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """{file: {name: tensor}} -> {"file/name": tensor}."""
    return {f"{file}/{name}": t for file, tensors in files.items() for name, t in tensors.items()}


def _empty(part: Path, folders: Iterable[Path]) -> None:
    shutil.rmtree(part, ignore_errors=True)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    if path.name.startswith(("optimizer", "importance")):
        save_tensors(path, tensors)
    else:
        save_model(path, tensors, metadata | {"weights": path.stem})


def _completed(numbers: Numbers, state: RunState) -> Numbers:
    """Add the numbers of the state; JSON has neither NaN nor infinity for a validation loss."""
    validation = numbers.validation
    if validation is not None and not math.isfinite(validation):
        validation = None
    scales = {name: player.scale for name, player in state.players.items()}
    players = {name: Learning(scale.value, scale.good) for name, scale in scales.items()}
    return replace(numbers, validation=validation, bad_steps=state.bad_steps, players=players)


def _unwritten(error: OSError, folder: Path) -> OSError:
    if error.strerror is not None and error.strerror.startswith("checkpoint "):
        return error  # already described
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


def restore(run: Path, state: RunState, devices: Devices) -> Numbers | None:
    """Load the newest whole checkpoint of a run into `state`; None if the run has none.

    Every process must call, and there may be any number of them. Damaged checkpoints are then
    renamed, so that an earlier one is the newest. Training replaces them, and `prune` removes
    what was set aside.

    Raises:
        ValueError: there are checkpoints and none is whole, or the newest has other players.
    """
    folder, damaged = devices.once(lambda: _newest_whole(run, state))
    if folder is None:
        return None
    numbers, stored = read_numbers(folder), _stored(folder, files_of(state))
    for name, place in places(state).items():
        player, own = state.players[name], numbers.players[name]
        _allocate_moments(player, stored[f"{place}{MOMENTS}"])
        player.scale.value, player.scale.good = own.loss_scale, own.good_steps
    if (folder / SHARDS).is_dir():
        sharded.read(folder / SHARDS, _flat(files_of(state)), devices)
    else:
        for name, tensors in files_of(state).items():
            values = _read(folder / name)
            for key, tensor in tensors.items():
                fill(tensor, values[key])
    state.step, state.bad_steps = numbers.step, numbers.bad_steps
    devices.once(lambda: _set_aside(damaged, folder))
    return numbers


def _newest_whole(run: Path, state: RunState) -> tuple[Path | None, dict[Path, str]]:
    """Return the newest whole checkpoint, and what is wrong with each of the newer ones."""
    damaged: dict[Path, str] = {}
    for folder in reversed(finished(run)):
        try:
            numbers = _check(folder, state)
        except (OSError, ValueError) as error:
            damaged[folder] = str(error)
            continue
        if numbers.players.keys() == state.players.keys():
            return folder, damaged
        before, now = (", ".join(each) or "no network" for each in (numbers.players, state.players))
        raise ValueError(
            f"{folder} cannot be resumed: it trains {before}, but this run trains {now}; train in "
            "another folder"
        )
    for newest, damage in damaged.items():
        raise ValueError(
            f"{damage}, and no checkpoint before it is whole; copy it again, or remove {newest} to "
            "train from the beginning"
        )
    return None, damaged


def _check(folder: Path, state: RunState) -> Numbers:
    """Return the numbers of a checkpoint; raise ValueError unless a run of `state` saved it whole.

    The tensors of a checkpoint of other players are not checked.
    """
    numbers = check_parts(folder)
    if numbers.step != step_of(folder):
        raise ValueError(f"{folder / STATE} is that of step {numbers.step}")
    if numbers.players.keys() != state.players.keys():
        return numbers
    stored = _stored(folder, files_of(state))
    for name, tensors in files_of(state, moments=False).items():
        _check_forms(folder / name, stored[name], _forms(tensors))
    for name, values in _weights(folder, files_of(state, moments=False)):
        check_finite(folder / name, values)
    for name, place in places(state).items():
        path, moments = folder / place / MOMENTS, stored[f"{place}{MOMENTS}"]
        # After skipped steps only, or without a gradient, a parameter has no moments.
        having = {key.partition("/")[2] for key in moments}
        forms = _moment_forms(state.players[name]).items()
        _check_forms(path, moments, {k: v for k, v in forms if k.partition("/")[2] in having})
    return numbers


def _stored(folder: Path, names: Iterable[str]) -> dict[str, Forms]:
    """Return the forms of the tensors of a checkpoint, by the file that they are, or would be, in.

    Args:
        names: of the files.
    """
    if not (folder / SHARDS).is_dir():
        return {name: _forms(_read(folder / name)) for name in names}
    stored: dict[str, Forms] = {name: {} for name in names}
    for key, form in sharded.forms(folder / SHARDS).items():
        file, suffix, name = key.partition(SUFFIX)
        stored.setdefault(file + suffix.rstrip("/"), {})[name] = form
    return stored


def _weights(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each file of a checkpoint that has others than moments, and those tensors."""
    if not (folder / SHARDS).is_dir():
        yield from ((name, _read(folder / name)) for name in names)
        return
    for path, tensors in sharded.files(folder / SHARDS).items():
        own = {key: t for key, t in tensors.items() if f"{MOMENTS}/" not in key}
        yield path.relative_to(folder).as_posix(), own


def _forms(tensors: Mapping[str, Tensor]) -> Forms:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def _check_forms(path: Path, stored: Forms, expected: Forms) -> None:
    """Raise ValueError unless a file has these tensors, and no others."""
    for name in {**expected, **stored}:
        if stored.get(name) != expected.get(name):
            saved, current = (
                "absent" if form is None else f"{form[1]} {form[0]}"
                for form in (stored.get(name), expected.get(name))
            )
            raise ValueError(f"{name} in {path} is {saved}, and in this run {current}")


def _moment_forms(player: Player) -> Forms:
    """Return the forms of all moments, by a step of the same optimizer with one number a group."""
    names = {parameter: name for name, parameter in player.network.named_parameters()}
    forms: Forms = {}
    for group in player.optimizer.param_groups:
        one = nn.Parameter(torch.zeros(1))
        one.grad = torch.zeros(1)
        twin = copy(player.optimizer)
        twin.state = defaultdict(dict)
        twin.param_groups = [{**group, "params": [one]}]
        twin.step()
        for slot, value in twin.state[one].items():
            if isinstance(value, Tensor):
                forms |= {
                    f"{slot}/{names[own]}": (tuple(own.shape) if value.shape else (), value.dtype)
                    for own in group["params"]
                }
    return forms


def _set_aside(damaged: Mapping[Path, str], whole: Path) -> None:
    for each, damage in damaged.items():
        aside = each.with_name(ASIDE + each.name)
        shutil.rmtree(aside, ignore_errors=True)
        each.rename(aside)
        log.warning(
            f"{damage}; it is now in {aside.name}, and training continues from {whole.name}"
        )


def _allocate_moments(player: Player, stored: Iterable[str]) -> None:
    """Give an optimizer the moments whose names are stored, without their values.

    A moment is sharded as its parameter is. AdamW has a count of steps on the CPU, and a fused one
    beside the parameter.
    """
    parameters = dict(player.network.named_parameters())
    fused = player.optimizer.defaults.get("fused")
    state: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key in stored:
        slot, _, name = key.partition("/")
        parameter = parameters[name]
        count = torch.zeros((), device=parameter.device if fused else "cpu")
        state[name][slot] = count if slot == STEP else torch.zeros_like(parameter)
    for name, own in state.items():
        player.optimizer.state[parameters[name]] = dict(own)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is missing or damaged ({reason_of(error)})") from None


def places(state: RunState) -> dict[str, str]:
    """Return the subfolder of each player, relative to the checkpoint folder, by name."""
    if len(state.players) == 1:
        return dict.fromkeys(state.players, "")
    return {name: f"{name}/" for name in state.players}


def files_of(state: RunState, moments: bool = True) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file, by file name; they share memory with the state.

    Args:
        moments: whether to include the optimizers' moments.
    """
    files: dict[str, dict[str, Tensor]] = {}
    for name, place in places(state).items():
        player = state.players[name]
        buffers = _buffers(player.network)
        files[f"{place}model.safetensors"] = {**player.ema.weights, **buffers}
        raw = dict(player.network.named_parameters())
        files[f"{place}raw.safetensors"] = {**raw, **buffers}
        if moments:
            files[f"{place}{MOMENTS}"] = dict(_moments(player))
        for average in player.averages[1:]:
            files[f"{place}{average.name}.safetensors"] = average.weights
    if state.importance is not None:
        arrays = {"history": state.importance.history, "counts": state.importance.counts}
        shared = {key: torch.from_numpy(array) for key, array in arrays.items()}
        files["importance.safetensors"] = shared
    return files


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return the persistent buffers, such as the statistics of batch normalisation."""
    persistent = network.state_dict().keys()  # without non-persistent buffers
    return {name: buffer for name, buffer in network.named_buffers() if name in persistent}


def _moments(player: Player) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in player.network.named_parameters():
        # `get`, because the state is a defaultdict, and indexing it would add an entry.
        for slot, value in player.optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                yield f"{slot}/{name}", value


def prune(run: Path, settings: TrainSettings) -> None:
    """Remove the checkpoints that the settings do not retain.

    The newest checkpoint, and the newest one whose last step was finite, are retained. One off
    the schedule, which only an interruption saves, is removed once a newer one exists.
    """
    folders = finished(run)
    steps = {folder: step_of(folder) or 0 for folder in folders}
    newest, last, interval = steps[folders[-1]], settings.keep_last, settings.keep_every_steps
    regular = [f for f in folders[:-1] if settings.regular(steps[f])]
    keep = {folders[-1], *(regular[-(last - 1) :] if last > 1 else ())}
    if interval is not None:
        keep |= {folder for folder in folders if steps[folder] % interval == 0}
    winner = best(run) if settings.keep_best else None
    keep |= {folder for folder in (sound(run), winner) if folder is not None}
    _link(run / FOLDER / BEST, winner)
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
