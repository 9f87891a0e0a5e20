"""Run -> iterator of Progress, one per optimizer step; checkpoints in the run folder."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from adm.data import Source, shuffle
from adm.processes import Devices
from adm.store.files import write_json
from adm.training import checkpoint, log
from adm.training.batches import PLAIN, Augmentation, Batch, batch_at, batches
from adm.training.checkpoint import Numbers
from adm.training.microbatch import forget_gradients, is_out_of_memory, largest, probe, refusal
from adm.training.players import Player, RunState
from adm.training.settings import TrainSettings
from adm.training.spread import longest_share, share
from adm.training.update import StepSettings, Turn, Update, update

JUDGED = "validation/loss"  # the figure of which the lowest is the best
MOST_NAMED = 8  # images listed in a message

notices = logging.getLogger("adm")


class Progress(NamedTuple):
    """The state of a run after a step.

    Attributes:
        step: optimizer steps done.
        shown: the figures of the step's line in the log, by name.
        images_per_second: throughput of the step, over all processes.
        saved: the checkpoint folder, if one was saved after this step.
    """

    step: int
    shown: dict[str, float]
    images_per_second: float
    saved: Path | None = None


MicroBatch: TypeAlias = int | Literal["auto"] | None
# Takes the number of steps done and the run's state, and returns figures for the log.
Watch: TypeAlias = Callable[[int, RunState], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Run:
    """The objects that make up a training run.

    Attributes:
        state: the players with their initial weights, and the frozen networks.
        turn: trains players on one batch.
        source: the training images.
        folder: the run folder.
        settings: those that all players share.
        metadata: stored with the weights, so that a model file is complete in itself.
        augmentation: random changes of the training images.
        watch: called after every step; its figures go into the log.
        stop: called after every step; if it returns True, the run saves a checkpoint and ends.
    """

    state: RunState
    turn: Turn
    source: Source
    settings: TrainSettings
    folder: Path
    metadata: dict[str, Any]
    devices: Devices
    augmentation: Augmentation = PLAIN
    watch: Watch = lambda done, state: {}
    stop: Callable[[], bool] = lambda: False


def train(run: Run, micro_batch: MicroBatch = None) -> Iterator[Progress]:
    """Train until `settings.steps` steps are done, `settings.patience` ends or `stop` returns True.

    If the folder has checkpoints, the newest one that is whole is loaded at once, and the run
    resumes from it. Every random number is a function of (seed, position in the stream of images),
    so that a resumed run equals one that was not interrupted. `log.jsonl` gets one line per step.

    Args:
        micro_batch: images per forward pass. Unless it is a number, it is that of the checkpoint
            or, in a new run, this process's whole share of the batch, or for `auto` the largest
            that fits.

    Yields:
        The progress after each step.

    Raises:
        FloatingPointError: `settings.give_up_after` consecutive steps were not finite.
        MemoryError: the device has too little memory for the micro-batch.
        OSError: a checkpoint cannot be written.
        ValueError: there are checkpoints, and none is whole.
    """
    run.state.freeze(run.devices.device)
    return _resumed(run, micro_batch, checkpoint.restore(run.folder, run.state, run.devices))


def _resumed(run: Run, micro_batch: MicroBatch, newest: Numbers | None) -> Iterator[Progress]:
    settings, devices, state = run.settings, run.devices, run.state
    before = newest or Numbers(0, 0)
    micro = micro_batch if isinstance(micro_batch, int) else before.micro_batch
    if not micro and micro_batch == "auto":
        micro = _largest(run)
    most = longest_share(settings.batch_size, devices)  # the same on every process
    micro = min(most, micro or most)
    how = StepSettings(devices, settings.batch_size, micro, settings.gradient_clip)
    steps = range(before.step, settings.steps)
    if newest is not None:  # a run that was killed while it removed older checkpoints
        devices.once(lambda: checkpoint.prune(run.folder, settings))
    validations = list[float]()
    if settings.patience is not None:
        validations = devices.once(lambda: log.read(run.folder, before.step, JUDGED))
    if steps and exhausted(validations, settings.patience):
        _log_end(run, before.step)
        return
    with log.continued(run.folder, before.step, devices) as lines:
        stream = batches(
            run.source, settings.seed, settings.batch_size, steps, devices, run.augmentation
        )
        started = time.monotonic()
        for step, batch in zip(steps, stream, strict=True):
            state.step, done = step, step + 1
            shown = _shown(state, _step(run, batch, how)) | run.watch(done, state)
            log.write(lines, done, shown)
            if (judged := validated(shown)) is not None:
                validations.append(judged)
            ended = judged is not None and exhausted(validations, settings.patience)
            leaving = devices.any(run.stop()) or ended
            saved = None
            if leaving or settings.saves(done):
                log.flush(lines)
                saved = _save(run, Numbers(done, micro, judged))
            # Measured from yield to yield, to include the time that is spent waiting for images.
            previous, started = started, time.monotonic()
            speed = settings.batch_size / (started - previous)
            if ended:
                _log_end(run, done)
            yield Progress(done, shown, speed, saved)
            if leaving:
                return


def validated(shown: dict[str, float]) -> float | None:
    """Return the figure of validation by which the best checkpoint is chosen; None for none."""
    return shown.get(JUDGED)


def exhausted(validations: Sequence[float], patience: int | None) -> bool:
    """Return whether the latest `patience` validations are all no better than one before them."""
    if patience is None or len(validations) <= patience:
        return False
    figures = [math.inf if math.isnan(each) else each for each in validations]
    return min(figures[:-patience]) <= min(figures[-patience:])


def _log_end(run: Run, done: int) -> None:
    if not run.devices.main:
        return
    best, patience = checkpoint.best(run.folder), run.settings.patience
    notices.info(
        f"step {done}: the run ends, as its last {patience} validations are no better than an "
        f"earlier one (train.patience={patience}); the best checkpoint is {best}"
    )


def _largest(run: Run) -> int:
    """Try sizes, from the process's whole share by halves, until one fits in memory."""
    size, seed = run.settings.batch_size, run.settings.seed
    mine = share(size, run.devices)
    batch = batch_at(run.source, seed, mine.start, len(mine), run.augmentation)
    trial = probe(run.state, run.turn, batch.to(run.devices.device), run.devices)
    fitting = largest(trial, longest_share(size, run.devices))
    if fitting is None:
        raise MemoryError(refusal(1, None))
    return fitting


def _step(run: Run, batch: Batch, how: StepSettings) -> dict[str, Update]:
    state, settings = run.state, run.settings
    for player in state.players.values():
        _set_rate(player, settings, state.step)
    updates = _take_turn(run, batch, how)
    state.bad_steps = count_bad(state.bad_steps, updates.values())
    for name, one in updates.items():
        if one.skipped is None:
            for average in state.players[name].averages:
                average.update(state.players[name].network, state.step)
    if state.bad_steps >= settings.give_up_after:
        start = state.step * settings.batch_size
        images = shuffle(settings.seed, len(run.source), start, settings.batch_size)
        last = checkpoint.sound(run.folder)
        raise FloatingPointError(give_up(run.folder, state.step + 1, updates, images, last))
    return updates


def _set_rate(player: Player, settings: TrainSettings, step: int) -> None:
    for group in player.optimizer.param_groups:
        peak = group.setdefault("initial_lr", group["lr"])  # the key that torch's schedulers use
        group["lr"] = settings.rate(step, peak)


def _take_turn(run: Run, batch: Batch, how: StepSettings) -> dict[str, Update]:
    state, turn = run.state, run.turn
    try:
        return turn(state, batch, partial(update, how=how))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Not in the handler: until it ends, the exception keeps the failed step's tensors alive.
    forget_gradients(state)
    alone = run.devices.world == 1  # other processes are blocked in the step's collectives
    fits = probe(state, turn, batch, run.devices) if alone else bool
    fitting = largest(fits, how.micro_batch // 2)
    raise MemoryError(refusal(how.micro_batch, fitting))


def _shown(state: RunState, updates: dict[str, Update]) -> dict[str, float]:
    """Return the figures of a step; several players prefix theirs with their names."""
    figures: dict[str, float] = {}
    for name, one in updates.items():
        player = state.players[name]
        values = one.means | {
            "gradient_norm": one.gradient_norm,
            "learning_rate": player.learning_rate,
        }
        if player.scale.active:
            values["loss_scale"] = player.scale.value
        if one.skipped is not None:
            values[f"skipped_{one.skipped}"] = 1.0
        place = checkpoint.places(state)[name]
        figures |= {f"{place}{figure}": value for figure, value in values.items()}
    return figures


def _save(run: Run, numbers: Numbers) -> Path:
    folder = checkpoint.save(run.folder, numbers, run.state, run.metadata, run.devices)
    run.devices.once(lambda: checkpoint.prune(run.folder, run.settings))
    return folder


def count_bad(bad_steps: int, updates: Iterable[Update]) -> int:
    """Return the number of consecutive bad steps, this one included.

    An overflow of the scaled float16 gradient does not count while a smaller scale may prevent it.

    Args:
        bad_steps: the number before this step.
        updates: of this step.
    """
    skipped = [one for one in updates if one.skipped is not None]
    if not skipped:
        return 0
    return bad_steps + any(not one.curable for one in skipped)


def give_up(
    run: Path, done: int, updates: Mapping[str, Update], indices: list[int], last: Path | None
) -> str:
    """Write `failure.json`, and return the message of the error.

    Args:
        run: the run folder.
        done: optimizer steps taken or skipped, this one included.
        updates: of this step, by player.
        indices: indices of the global batch's images in the training set.
        last: the newest checkpoint before the first bad step, if there is one.
    """
    skipped = ((one.curable, name) for name, one in updates.items() if one.skipped is not None)
    _, name = min(skipped, key=itemgetter(0))
    step, named = updates[name], {"player": name} if len(updates) > 1 else {}
    loss = step.rows["loss"].abs().nan_to_num(torch.inf, torch.inf)
    worst = [
        {"image": indices[i], "level": int(step.level[i]), "loss": str(step.rows["loss"][i].item())}
        for i in loss.argsort(descending=True).tolist()
    ]
    report = {"step": done, **named, "skipped": step.skipped, "worst": worst}
    write_json(run / "failure.json", report)
    what = (
        "the network's output is not finite"
        if step.skipped == "forward"
        else "the loss is finite, but its gradient is not"
    )
    levels = ", ".join(str(w["level"]) for w in worst[:MOST_NAMED])
    images = ", ".join(str(w["image"]) for w in worst[:MOST_NAMED])
    place = f"start a new run from {last}" if last else "start a new run"
    whose = f", {name}" if named else ""
    return (
        f"step {done}{whose}: {what}, for too many consecutive steps; worst at levels {levels}, "
        f"for images {images} (all are in {run / 'failure.json'}); {place} with a lower "
        "train.learning_rate, a smaller train.gradient_clip or train.precision=float32"
    )
