"""Run -> iterator of Progress, one per optimizer step; checkpoints in the run folder."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeAlias

from adm.data import Source, shuffled
from adm.files import write_text
from adm.processes import Devices
from adm.training import checkpoint, contents, failure, posthoc, retention
from adm.training.batches import Batch, batch_at, batches
from adm.training.checkpoint import Numbers
from adm.training.microbatch import forget_gradients, is_out_of_memory, largest, probe, refusal
from adm.training.players import Player, RunState
from adm.training.settings import LoopSettings
from adm.training.spread import longest_share, share
from adm.training.turns import Turn
from adm.training.update import StepSettings, Update, update


class Progress(NamedTuple):
    """Yielded after every step."""

    step: int  # steps done
    shown: dict[str, float]
    images_per_second: float
    saved: Path | None = None


# The number of steps done and the run's state -> figures for the log, or none at this step.
Watch: TypeAlias = Callable[[int, RunState], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Run:
    """What a run is made of, built.

    Attributes:
        state: the players as they start, and what they learn from.
        turn: which of them learn what from a batch.
        folder: where it is kept.
        metadata: stored with the weights, so that a path is enough to sample from.
        watch: looks at the network after every step.
        stop: asked after every step whether to save and leave.
        fits: whether so many images at once fit in memory; tried out when None.
    """

    state: RunState
    turn: Turn
    source: Source
    settings: LoopSettings
    folder: Path
    metadata: dict[str, Any]
    devices: Devices
    watch: Watch = lambda done, state: {}
    stop: Callable[[], bool] = lambda: False
    fits: Callable[[int], bool] | None = None


def train(run: Run, micro_batch: int | None = None, auto: bool = False) -> Iterator[Progress]:
    """Train, or go on training, until `settings.steps` steps are done or `stop` says so.

    A run found in the folder is continued from its newest checkpoint. Every random number is a
    function of (seed, position in the stream of images), so continuing equals never having
    stopped. `log.jsonl` takes one line a step.

    Args:
        micro_batch: images that go through the network at once; as before when continuing, or
            this process's whole share, when None.
        auto: where neither is given, find the largest that fits before training.

    Raises:
        FloatingPointError: too many steps in a row were not finite; the last checkpoint stays.
        MemoryError: the device has not enough for the micro-batch.
        OSError: a checkpoint cannot be written.
    """
    settings, devices, state = run.settings, run.devices, run.state
    state.freeze(devices.device)
    found = checkpoint.latest(run.folder)
    before = Numbers(0, 0) if found is None else checkpoint.restore(found, state)
    micro = micro_batch or before.micro_batch
    if not micro and auto:
        micro = _largest(run)
    most = longest_share(settings.batch_size, devices)  # of all, so that all do the same
    micro = min(most, micro or most)
    how = StepSettings(devices, settings.batch_size, micro, settings.gradient_clip)
    steps = range(before.step, settings.steps)
    with _continued(run.folder / "log.jsonl", before.step, devices) as log:
        stream = batches(
            run.source, settings.seed, settings.batch_size, steps, devices, settings.augmentation
        )
        started = time.monotonic()
        for step, batch in zip(steps, stream, strict=True):
            state.step, done = step, step + 1
            shown = _shown(state, _step(run, batch, how)) | run.watch(done, state)
            _write(log, done, shown)
            leaving = devices.any(run.stop())
            saved = None
            if leaving or settings.saves(done):
                _flush(log)
                saved = _save(run, Numbers(done, micro, shown.get("validation/loss")))
            # From yield to yield, so that waiting for images counts.
            before_it, started = started, time.monotonic()
            speed = settings.batch_size / (started - before_it)
            yield Progress(done, shown, speed, saved)
            if leaving:
                return


def _largest(run: Run) -> int:
    """The micro-batch to use, found by trial, or told by `run.fits` where trial tells nothing."""
    size, trial = run.settings.batch_size, run.fits
    if trial is None:
        mine, seed = share(size, run.devices), run.settings.seed
        batch = batch_at(run.source, seed, mine.start, len(mine), run.settings.augmentation)
        trial = probe(run.state, run.turn, batch.to(run.devices.device), run.devices)
    found = min(run.devices.gather(largest(trial, longest_share(size, run.devices)) or 0))
    if not found:
        raise MemoryError(refusal(1, None))
    return found


def _step(run: Run, batch: Batch, how: StepSettings) -> dict[str, Update]:
    state, settings = run.state, run.settings
    for player in state.players.values():
        _set_rate(player, settings, state.step)
    taken = _taken(run, batch, how)
    state.bad_steps = failure.count(state.bad_steps, taken.values())
    for name, one in taken.items():
        if one.skipped is None:
            for average in state.players[name].averages:
                average.update(state.players[name].network, state.step)
    if state.bad_steps >= settings.give_up_after:
        start = state.step * settings.batch_size
        images = shuffled(settings.seed, len(run.source), start, settings.batch_size)
        last = checkpoint.sound(run.folder)
        told = failure.give_up(run.folder, state.step + 1, taken, images, last)
        raise FloatingPointError(told)
    return taken


def _set_rate(player: Player, settings: LoopSettings, step: int) -> None:
    for group in player.optimizer.param_groups:
        peak = group.setdefault("initial_lr", group["lr"])  # torch's schedulers call it so too
        group["lr"] = settings.rate(step, peak)


def _taken(run: Run, batch: Batch, how: StepSettings) -> dict[str, Update]:
    state, turn = run.state, run.turn
    try:
        return turn(state, batch, partial(update, how=how))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here, past the exception, is the failed step's memory free for trials.
    forget_gradients(state)
    alone = run.devices.world == 1  # others wait in the middle of the step, and cannot try
    fits = probe(state, turn, batch, run.devices) if alone else bool
    raise MemoryError(refusal(how.micro_batch, largest(fits, how.micro_batch // 2)))


def _shown(state: RunState, taken: dict[str, Update]) -> dict[str, float]:
    """The figures of a step's line in the log, after the player's name where there are several."""
    figures: dict[str, float] = {}
    for name, one in taken.items():
        player = state.players[name]
        own = one.means | {
            "gradient_norm": one.gradient_norm,
            "learning_rate": player.learning_rate,
        }
        if player.scale.active:
            own["loss_scale"] = player.scale.value
        if one.skipped is not None:
            own[f"skipped_{one.skipped}"] = 1.0
        place = contents.places(state)[name]
        figures |= {f"{place}{figure}": value for figure, value in own.items()}
    return figures


def _save(run: Run, numbers: Numbers) -> Path:
    for name, place in contents.places(run.state).items():
        # First, so that no checkpoint is without its snapshots.
        kept = run.state.players[name].averages
        posthoc.snapshot(run.folder / place, numbers.step, kept, run.metadata, run.devices)
    folder = checkpoint.save(run.folder, numbers, run.state, run.metadata, run.devices)
    run.devices.once(lambda: retention.prune(run.folder, run.settings.policy))
    return folder


def _continued(path: Path, steps: int, devices: Devices) -> TextIO:
    """Open the log after step number `steps`; what a stopped run wrote beyond it goes."""
    if not devices.main:
        return open(os.devnull, "w")
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    write_text(path, "".join(line for line in lines if _step_of(line) <= steps))
    return path.open("a", buffering=1)  # a line at a time, for whoever follows it


def _step_of(line: str) -> float:
    """The number of a step in the log; beyond all for a line that a kill cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf


def _write(log: TextIO, done: int, shown: dict[str, float]) -> None:
    # JSON has no word for what is not finite.
    figures = {k: v if math.isfinite(v) else None for k, v in shown.items()}
    log.write(json.dumps({"step": done, **figures}) + "\n")


def _flush(log: TextIO) -> None:
    """Have the disk hold the log before the checkpoint that counts on its lines."""
    log.flush()
    if os.path.isfile(log.name):
        os.fsync(log.fileno())
