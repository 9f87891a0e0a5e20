"""Run -> iterator of Progress, one per optimizer step; checkpoints in the run folder."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from adm.data import Source, shuffle
from adm.processes import Devices
from adm.store.files import write_json
from adm.training import checkpoint, log
from adm.training.batches import PLAIN, Augmentation, Batch, batch_at, batches
from adm.training.checkpoint import Numbers
from adm.training.learner import Learner
from adm.training.microbatch import is_out_of_memory, largest, refusal
from adm.training.settings import TrainSettings
from adm.training.spread import longest_share, share
from adm.training.update import StepSettings, Update, backward, update

JUDGED = {  # numbers of a checkpoint, of which the lowest is the best -> figures of the log
    "validation": "validation/loss",
    "distance": "scores/frechet_at_infinity",
}
MOST_NAMED = 8  # images listed in a message

notices = logging.getLogger("adm")


class Progress(NamedTuple):
    """The state of a run after a step.

    Attributes:
        step: optimizer steps done.
        shown: the figures of the step's line in the log, by name.
        images_per_second: throughput of the step, over all processes, without `watch`.
        saved: the checkpoint folder, if one was saved after this step.
    """

    step: int
    shown: dict[str, float]
    images_per_second: float
    saved: Path | None = None


MicroBatch: TypeAlias = int | Literal["auto"] | None
# Takes the number of steps done and the run's learner, and returns figures for the log.
Watch: TypeAlias = Callable[[int, Learner], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Run:
    """The objects that make up a training run.

    Attributes:
        learner: the network with its initial weights.
        source: the training images.
        folder: the run folder.
        settings: those of the loop.
        metadata: stored with the weights, so that a model file is complete in itself.
        augmentation: random changes of the training images.
        watch: called after every step; its figures go into the log.
        stop: called after every step; if it returns True, the run saves a checkpoint and ends.
    """

    learner: Learner
    source: Source
    settings: TrainSettings
    folder: Path
    metadata: dict[str, Any]
    devices: Devices
    augmentation: Augmentation = PLAIN
    watch: Watch = lambda done, learner: {}
    stop: Callable[[], bool] = lambda: False


def train(run: Run, micro_batch: MicroBatch = None) -> Iterator[Progress]:
    """Train until `settings.steps` steps are done, `settings.patience` ends or `stop` returns True.

    If the folder has checkpoints, the newest one that is whole is loaded at once, and the run
    resumes from it. Every random number is a function of (seed, position in the stream of images),
    so that a resumed run equals one that was not interrupted. `log.jsonl` gets one line per step. A
    checkpoint is saved where `settings` say, where the distance of samples is measured, and at the
    end.

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
    return _resumed(run, micro_batch, checkpoint.restore(run.folder, run.learner, run.devices))


def _resumed(run: Run, micro_batch: MicroBatch, newest: Numbers | None) -> Iterator[Progress]:
    settings, devices, learner = run.settings, run.devices, run.learner
    micro = newest.micro_batch if newest is not None else 0
    if isinstance(micro_batch, int):
        micro = micro_batch
    if not micro and micro_batch == "auto":
        micro = _largest(run)
    most = longest_share(settings.batch_size, devices)  # the same on every process
    micro = min(most, micro or most)
    how = StepSettings(devices, settings.batch_size, micro, settings.gradient_clip)
    steps = range(learner.step, settings.steps)
    if newest is not None:  # a run that was killed while it removed older checkpoints
        devices.once(lambda: checkpoint.prune(run.folder, settings))
    watched, history = JUDGED[settings.patience_of], list[float]()
    if settings.patience is not None:
        history = devices.once(lambda: log.read(run.folder, learner.step, watched))
    if steps and is_out_of_patience(history, settings.patience):
        _log_end(run)
        return
    with log.reopen(run.folder, learner.step, devices) as lines:
        stream = batches(
            run.source, settings.seed, settings.batch_size, steps, devices, run.augmentation
        )
        started = time.monotonic()
        for batch in stream:
            shown = _shown(learner, _step(run, batch, how))
            # From the last yield, to include the time that is spent waiting for images.
            speed = settings.batch_size / (time.monotonic() - started)
            done = learner.step
            shown |= run.watch(done, learner)
            log.write(lines, done, shown)
            judged = {name: shown[key] for name, key in JUDGED.items() if key in shown}
            if watched in shown:
                history.append(shown[watched])
            ended = watched in shown and is_out_of_patience(history, settings.patience)
            leaving = devices.any(run.stop()) or ended
            saved = None
            if leaving or settings.saves(done) or "distance" in judged:
                log.flush(lines)
                saved = _save(run, Numbers.of(learner, micro, judged))
            if ended:
                _log_end(run)
            started = time.monotonic()
            yield Progress(done, shown, speed, saved)
            if leaving:
                return


def is_out_of_patience(history: Sequence[float], patience: int | None) -> bool:
    """Return whether the latest `patience` figures are all no better than one before them."""
    if patience is None or len(history) <= patience:
        return False
    figures = [math.inf if math.isnan(each) else each for each in history]
    return min(figures[:-patience]) <= min(figures[-patience:])


def _log_end(run: Run) -> None:
    if not run.devices.main:
        return
    done, patience, by = run.learner.step, run.settings.patience, run.settings.patience_of
    notices.info(
        f"step {done}: the run ends, as its last {patience} {by}s are no better than an "
        f"earlier one (train.patience={patience}); the best checkpoint is "
        f"{checkpoint.best(run.folder, by)}"
    )


def _largest(run: Run) -> int:
    """Try sizes, from the process's whole share by halves, until one fits in memory."""
    size, seed = run.settings.batch_size, run.settings.seed
    mine = share(size, run.devices)
    batch = batch_at(run.source, seed, mine.start, len(mine), run.augmentation)
    fits = partial(_fits, run, batch.to(run.devices.device))
    fitting = largest(fits, longest_share(size, run.devices))
    if fitting is None:
        raise MemoryError(refusal(1, None))
    return fitting


def _fits(run: Run, batch: Batch, size: int) -> bool:
    """Try both passes of the batch's first `size` images, without a step.

    All processes must try the same sizes; a size fits if it fits on all of them.
    """
    failed = False
    try:
        backward(run.learner, batch.part(0, size), factor=1.0, last=False)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    run.learner.optimizer.zero_grad()
    if run.devices.device.type == "cuda":
        torch.cuda.empty_cache()
    return not run.devices.any(failed)


def _step(run: Run, batch: Batch, how: StepSettings) -> Update:
    learner, settings = run.learner, run.settings
    for group in learner.optimizer.param_groups:
        peak = group.setdefault("initial_lr", group["lr"])  # the key that torch's schedulers use
        group["lr"] = settings.rate(learner.step, peak)
    try:
        taken = update(learner, batch, how)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        taken = None
    if taken is None:
        # Not in the handler: until it ends, the exception keeps the failed step's tensors alive.
        raise MemoryError(_refusal(run, batch, how.micro_batch))
    if learner.bad_steps >= settings.give_up_after:
        raise FloatingPointError(_give_up(run, taken))
    return taken


def _refusal(run: Run, batch: Batch, micro_batch: int) -> str:
    """Return the message of a micro-batch that does not fit, with the largest that does."""
    run.learner.optimizer.zero_grad()
    if run.devices.world > 1:  # the others are blocked in the step's collectives
        return refusal(micro_batch, micro_batch // 2 or None)
    return refusal(micro_batch, largest(partial(_fits, run, batch), micro_batch // 2))


def _shown(learner: Learner, taken: Update) -> dict[str, float]:
    """Return the figures of a step."""
    figures = taken.means | {
        "gradient_norm": taken.gradient_norm,
        "learning_rate": learner.learning_rate,
    }
    if learner.scale.active:
        figures["loss_scale"] = learner.scale.value
    if taken.skipped is not None:
        figures[f"skipped_{taken.skipped}"] = 1.0
    return figures


def _save(run: Run, numbers: Numbers) -> Path:
    def save_and_prune() -> Path:
        folder = checkpoint.save(run.folder, numbers, run.learner, run.metadata)
        checkpoint.prune(run.folder, run.settings)
        return folder

    return run.devices.once(save_and_prune)


def _give_up(run: Run, last: Update) -> str:
    """Write `failure.json` about the last step, and return the message of the error."""
    done, size = run.learner.step, run.settings.batch_size
    indices = shuffle(run.settings.seed, len(run.source), (done - 1) * size, size)
    loss = last.rows["loss"].abs().nan_to_num(torch.inf, torch.inf)
    worst = [
        {"image": indices[i], "level": int(last.level[i]), "loss": str(last.rows["loss"][i].item())}
        for i in loss.argsort(descending=True).tolist()
    ]
    report = run.folder / "failure.json"
    write_json(report, {"step": done, "skipped": last.skipped, "worst": worst})
    what = (
        "the network's output is not finite"
        if last.skipped == "forward"
        else "the loss is finite, but its gradient is not"
    )
    levels = ", ".join(str(w["level"]) for w in worst[:MOST_NAMED])
    images = ", ".join(str(w["image"]) for w in worst[:MOST_NAMED])
    finite = checkpoint.newest_finite(run.folder)
    place = f"start a new run from {finite}" if finite else "start a new run"
    return (
        f"step {done}: {what}, for too many consecutive steps; worst at levels {levels}, for "
        f"images {images} (all are in {report}); {place} with a lower train.learning_rate, a "
        "smaller train.gradient_clip or train.precision=float32"
    )
