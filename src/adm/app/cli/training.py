"""TrainingData, TrainOptions -> run folder, with the progress of training printed."""

import ctypes
import math
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from adm.app.cli import Saved
from adm.app.cli.output import say
from adm.app.cli.stopping import handling
from adm.app.notices import notice
from adm.data import Source
from adm.networks import parameters_of
from adm.processes import Devices
from adm.progress import progress
from adm.recipes import Recipe
from adm.runs import run
from adm.runs.data import TrainingData
from adm.runs.run import TrainOptions
from adm.runs.watch import watching
from adm.runs.watch.advice import advice
from adm.runs.watch.watched import Watched
from adm.runs.watch.writers import TensorBoard
from adm.shown import abbreviated, count_of
from adm.training import checkpoint
from adm.training.loop import Progress

SMOOTHING = 0.95  # of the exponential average of the printed losses
# Entries of the log that are printed, where present.
SHOWN = ("loss", "mse", "vlb", "accuracy", "gradient_norm")
MOST_NAMED = 12  # classes listed
STATE = 20  # bytes a parameter: weight, gradient, two moments and an average in float32
TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)


def describe(source: Source) -> str:
    """Describe data in one line: the number of images in each class."""
    counts = torch.bincount(source.labels, minlength=len(source.classes)).tolist()
    pairs = [f"{name} {count}" for name, count in zip(source.classes, counts, strict=False)]
    images, classes = count_of(len(source), "image"), count_of(len(pairs), "class", "classes")
    return f"{source.name}: {images} of {classes}: {abbreviated(pairs, MOST_NAMED)}"


def plan(recipe: Recipe, source: Source | None) -> dict[str, str]:
    """Describe what would be trained, on these images or on those that a recipe names, unopened."""
    parameters, (height, width) = parameters_of(recipe.config), recipe.data.size
    return {
        "data": f"{recipe.data.source}; --data names others"
        if source is None
        else describe(source),
        "model": f"{recipe.makes} of {height}x{width} images in "
        f"{count_of(recipe.data.channels, 'channel')}, of {parameters:,} parameters",
        "steps": f"{recipe.train.steps:,} of {recipe.train.batch_size} images",
        "time": "the first steps show it; adm recipes NAME says what was measured",
        "memory": f"{parameters * STATE / 1e9:.1g} GB, and what the images of a pass need; see "
        "--micro-batch auto",
        "settings": "--dry-run --json shows all, and `adm help recipe` explains them",
    }


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks of up to 1 GiB for later ones of this process.

    Otherwise it returns them to the system, and each step of `digits` on a CPU waits for 4,800 new
    pages: for 8.6 to 9.9 of its 115 ms in 8 runs, and for 0.6 at most in 8 with this. No number
    changes, nor does the peak of memory.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM, 2**31 - 1)  # bytes, the largest int
        for size in (2**25, 2**30):  # older versions take the first alone
            mallopt(MMAP, size)


def follow(
    images: TrainingData,
    out: Path,
    devices: Devices,
    options: TrainOptions,
    to_tensorboard: bool,
) -> None:
    """Train to the end or to a signal, and print the progress.

    Args:
        to_tensorboard: whether to write event files for TensorBoard.
    """
    recipe, source, validation = images.recipe, images.training, images.validation
    if devices.device.type == "cpu":
        keep_freed_memory()
    run.check(recipe, source, devices, options)
    if devices.main:
        for line in (describe(source), *images.notes):
            say(line)
        say(f"validation: {validation.name if validation else 'none; see --hold-out'}")
    writer = TensorBoard(out / "tensorboard") if devices.main and to_tensorboard else None
    helpers = options.teach, options.classifier
    watch = watching(Watched(recipe, source, validation, out, devices, *helpers), writer)
    with saving() as stop:
        options = replace(options, watch=watch, stop=stop)
        steps = run.start(recipe, source, out, devices, options)
        newest = checkpoint.latest(out)
        done = 0 if newest is None else checkpoint.read_numbers(newest).step
        if done and devices.main:
            say(f"continuing {out} from step {done}")
        steps = steps if writer is None else writer.record(steps)
        speed = show(steps, out.resolve().name, recipe.train.steps, devices, done)
        number = max(devices.gather(stop.signal or 0))  # a signal may reach one process only
    newest = checkpoint.latest(out)
    if number and newest is not None and checkpoint.read_numbers(newest).step < recipe.train.steps:
        _leave(newest, number, devices)
    _finish(recipe, out, devices, recipe.train.batch_size / speed if speed else None)


def show(steps: Iterator[Progress], name: str, total: int, devices: Devices, done: int) -> float:
    """Print the progress of a run from step `done` to `total`, on the main rank only.

    Returns:
        Images per second, 0 without a step.
    """
    speed, smooth = 0.0, dict[str, float]()
    with progress(name, total, "steps", done, shown=devices.main) as advance:
        for state in steps:
            for key in SHOWN:
                if math.isfinite(value := state.shown.get(key, math.nan)):
                    smooth[key] = SMOOTHING * smooth.get(key, value) + (1 - SMOOTHING) * value
            speed = SMOOTHING * (speed or state.images_per_second)
            speed += (1 - SMOOTHING) * state.images_per_second
            figures = "  ".join(f"{key} {value:.4f}" for key, value in smooth.items())
            advance(1, f"{figures}  {speed:.0f} images/s")
    return speed


def _finish(recipe: Recipe, out: Path, devices: Devices, pace: float | None) -> None:
    if not devices.main:
        return
    newest, winner = checkpoint.latest(out), checkpoint.best(out)
    if winner is not None:
        say(f"best validation: {winner}")
    if next_ := advice(out, recipe, pace):
        say(next_)
    condition = " --condition IMAGES" if recipe.data.low_res else ""
    is_classifier = recipe.kind == "classifier"
    use = f"sample MODEL --classifier {out}" if is_classifier else f"sample {out}{condition}"
    say(f"{newest}: done; next, `adm {use} --out ...`")


def _leave(newest: Path, number: int, devices: Devices) -> None:
    """Exit as a process that a signal ended; to torchrun, which reports failures, as one is done.

    It still prints a traceback if the signal was to itself, whatever its processes do.
    """
    of_torchrun = torch.distributed.is_torchelastic_launched()
    if devices.main:
        more = "; a traceback of torchrun below is of the signal alone" * of_torchrun
        notice(f"{newest}: saved; run the same command again to resume{more}")
    raise Saved(0 if of_torchrun else 128 + number)


class Stop:
    """Whether a signal has requested that the run save and exit."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None


@contextmanager
def saving() -> Iterator[Stop]:
    """Save and exit after the current step on SIGTERM, SIGHUP or Ctrl-C; a second Ctrl-C stops."""
    stop = Stop()

    def handle(number: int, frame: object) -> None:
        if stop.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal = number
        notice("\nsaving after this step, then exiting")

    with handling(handle):
        yield stop
