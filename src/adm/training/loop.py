"""data, objective, network -> trained weights: the loop."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeAlias

import torch
from torch import nn

from adm.data import Source, shuffled
from adm.files import write_text
from adm.losses import TimestepImportance
from adm.networks import recompute
from adm.processes import Devices
from adm.training import checkpoint, failure, posthoc, retention
from adm.training.batches import Augmentation, Batch, batch_at, batches
from adm.training.checkpoint import Numbers
from adm.training.ema import averages
from adm.training.microbatch import is_out_of_memory, largest, probe, refusal
from adm.training.objective import Objective
from adm.training.spread import longest_share, share, spread
from adm.training.update import LossScale, RunState, Update, update


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What the loop itself must know; see `TrainSettings` for meanings."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    anneal: bool
    ema_decay: float
    ema_others: tuple[float, ...]
    ema_widths: tuple[float, ...]
    gradient_clip: float | None
    precision: str
    give_up_after: int
    checkpoint_activations: bool
    seed: int
    augmentation: Augmentation
    policy: retention.Policy

    def rate(self, step: int) -> float:
        """Learning rate of optimizer step number `step`, counted from 0."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return self.learning_rate * rise * ((1 - step / self.steps) if self.anneal else 1.0)

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps."""
        return self.policy.regular(done) or done == self.steps


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
        folder: where it is kept.
        metadata: stored with the weights, so that a path is enough to sample from.
        importance: the objective's own, where it has one, to be saved and restored with the rest.
        watch: looks at the network after every step.
        stop: asked after every step whether to save and leave.
        sharded: spread weights, gradients and moments over the processes (FSDP).
        fits: whether so many images at once fit in memory; tried out when None.
    """

    network: nn.Module
    objective: Objective
    source: Source
    settings: LoopSettings
    folder: Path
    metadata: dict[str, Any]
    devices: Devices
    importance: TimestepImportance | None = None
    watch: Watch = lambda done, state: {}
    stop: Callable[[], bool] = lambda: False
    sharded: bool = False
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
    settings, devices = run.settings, run.devices
    if settings.checkpoint_activations:
        recompute(run.network)
    runner, state = built(run)
    found = checkpoint.latest(run.folder)
    before = Numbers(0, 0) if found is None else checkpoint.restore(found, state)
    micro = micro_batch or before.micro_batch
    if not micro and auto:
        micro = _largest(run, runner, state)
    most = longest_share(settings.batch_size, devices)  # of all, so that all do the same
    micro = min(most, micro or most)
    steps = range(before.step, settings.steps)
    with _continued(run.folder / "log.jsonl", before.step, devices) as log:
        stream = batches(
            run.source, settings.seed, settings.batch_size, steps, devices, settings.augmentation
        )
        started = time.monotonic()
        for step, batch in zip(steps, stream, strict=True):
            taken = _step(run, runner, state, step, batch, micro)
            shown = _shown(taken, settings, step, state) | run.watch(step + 1, state)
            _write(log, step + 1, shown)
            leaving = devices.any(run.stop())
            saved = None
            if leaving or settings.saves(step + 1):
                _flush(log)
                numbers = Numbers(step + 1, micro, shown.get("validation/loss"))
                saved = _save(run, numbers, state)
            # From yield to yield, so that waiting for images counts.
            before_it, started = started, time.monotonic()
            speed = settings.batch_size / (started - before_it)
            yield Progress(step + 1, shown, speed, saved)
            if leaving:
                return


def built(run: Run) -> tuple[nn.Module, RunState]:
    """The network on its devices, and what changes with it."""
    settings = run.settings
    run.network.train()
    runner = spread(run.network, run.devices, run.sharded)
    optimizer = torch.optim.AdamW(
        run.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    kept = averages(run.network, settings.ema_decay, settings.ema_others, settings.ema_widths)
    scale = LossScale.of(settings.precision)
    return runner, RunState(run.network, kept, optimizer, run.importance, scale)


def _largest(run: Run, runner: nn.Module, state: RunState) -> int:
    """The micro-batch to use, found by trial, or told by `run.fits` where trial tells nothing."""
    size, trial = run.settings.batch_size, run.fits
    if trial is None:
        mine, seed = share(size, run.devices), run.settings.seed
        batch = batch_at(run.source, seed, mine.start, len(mine), run.settings.augmentation)
        trial = probe(state, runner, run.objective, batch.to(run.devices.device), run.devices)
    found = min(run.devices.gather(largest(trial, longest_share(size, run.devices)) or 0))
    if not found:
        raise MemoryError(refusal(1, None))
    return found


def _step(
    run: Run, runner: nn.Module, state: RunState, step: int, batch: Batch, micro_batch: int
) -> Update:
    settings = run.settings
    for group in state.optimizer.param_groups:
        group["lr"] = settings.rate(step)
    taken = _updated(run, runner, state, batch, micro_batch)
    state.bad_steps = failure.count(state.bad_steps, taken, state.scale)
    state.scale.after(taken.skipped is None)
    if taken.skipped is None:
        for average in state.averages:
            average.update(state.network, step)
    elif state.bad_steps >= settings.give_up_after:
        start = step * settings.batch_size
        images = shuffled(settings.seed, len(run.source), start, settings.batch_size)
        last = checkpoint.sound(run.folder)
        raise FloatingPointError(failure.give_up(run.folder, step + 1, taken, images, last))
    return taken


def _updated(
    run: Run, runner: nn.Module, state: RunState, batch: Batch, micro_batch: int
) -> Update:
    try:
        return update(
            state,
            runner,
            run.objective,
            batch,
            run.devices,
            batch_size=run.settings.batch_size,
            micro_batch=micro_batch,
            gradient_clip=run.settings.gradient_clip,
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Only here, past the exception, is the failed step's memory free for trials.
    state.optimizer.zero_grad(set_to_none=True)
    alone = run.devices.world == 1  # others wait in the middle of the step, and cannot try
    fits = probe(state, runner, run.objective, batch, run.devices) if alone else bool
    raise MemoryError(refusal(micro_batch, largest(fits, micro_batch // 2)))


def _shown(taken: Update, settings: LoopSettings, step: int, state: RunState) -> dict[str, float]:
    """The figures of a step's line in the log."""
    figures = taken.means | {
        "gradient_norm": taken.gradient_norm,
        "learning_rate": settings.rate(step),
    }
    if state.scale.active:
        figures["loss_scale"] = state.scale.value
    if taken.skipped is not None:
        figures[f"skipped_{taken.skipped}"] = 1.0
    return figures


def _save(run: Run, numbers: Numbers, state: RunState) -> Path:
    if run.settings.ema_widths:  # first, so that no checkpoint is without its snapshots
        posthoc.snapshot(run.folder, numbers.step, state.averages, run.metadata, run.devices)
    folder = checkpoint.save(run.folder, numbers, state, run.metadata, run.devices)
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
