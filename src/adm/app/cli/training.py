"""TrainingData, TrainOptions -> run folder, with the progress of training printed."""

import ctypes
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from adm.app.cli import Saved
from adm.app.cli.output import say
from adm.app.cli.progress import progress
from adm.app.cli.saving import saving
from adm.app.notices import notice
from adm.app.runs import run
from adm.app.runs.data import TrainingData
from adm.app.runs.estimate import duration, seconds_per_step
from adm.app.runs.run import TrainOptions
from adm.app.runs.watch import Writer, tensorboard, wandb, watching, written
from adm.data import Source
from adm.models.device import pick
from adm.models.teacher import Teacher
from adm.processes import Devices, join, launched
from adm.recipes import Recipe, build
from adm.recipes.schema import to_json
from adm.shown import count_of
from adm.training import checkpoint

SMOOTHING = 0.95  # of the exponential average of the printed losses
# Entries of the log that are printed, those that it has.
SHOWN = (
    *("loss", "mse", "vlb", "accuracy", "gradient_norm"),
    *("generator/loss", "discriminator/loss", "discriminator/real", "discriminator/generated"),
)
MOST_NAMED = 12  # classes or unreadable images listed
TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)
NEVER = 2**31 - 1  # bytes, the largest int that mallopt takes
LARGEST = (2**30, 2**25)  # bytes; older versions of glibc accept only the second


@dataclass(frozen=True)
class WatchOptions:
    """Where the log of a run goes in addition to log.jsonl.

    Attributes:
        tensorboard: whether to write event files for TensorBoard.
        wandb: a Weights & Biases project, or None.
    """

    tensorboard: bool = False
    wandb: str | None = None


def describe(source: Source) -> str:
    """Describe data in one line: the number of images in each class."""
    counts = torch.bincount(source.labels, minlength=len(source.classes)).tolist()
    pairs = list(zip(source.classes, counts, strict=False))
    listed = ", ".join(f"{name} {count}" for name, count in pairs[:MOST_NAMED])
    more = ", ..." if len(pairs) > MOST_NAMED else ""
    images, classes = count_of(len(source), "image"), count_of(len(pairs), "class", "classes")
    return f"{source.name}: {images} of {classes}: {listed}{more}"


def parse_micro_batch(text: str | None) -> int | Literal["auto"] | None:
    """Parse a positive number or auto; raise ValueError for anything else."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--micro-batch must be a positive number or auto, got {text!r}")
    return int(text)


def parse_renames(pairs: Sequence[str], pretrained: str | None) -> dict[str, str]:
    """['old=new', ...] -> {old: new}.

    Raises:
        ValueError: a pair has another form, or there is no pretrained model.
    """
    if pairs and pretrained is None:
        raise ValueError(
            "--rename renames classes of the --pretrained model; give --pretrained as well"
        )
    renamed = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (equals and old and new):
            raise ValueError(f"cannot read {pair!r}; write --rename old=new")
        renamed[old] = new
    return renamed


def place(device: str | None, shard: bool) -> Devices:
    """Join the ranks that were launched together; alone, use the given device.

    Raises:
        ValueError: `shard` without other ranks, or no such device.
    """
    if shard and not launched():
        raise ValueError(
            "--shard needs several processes, and this is the only one; start them with "
            "torchrun --nproc-per-node N -m adm train ..."
        )
    if launched():
        joined = join(None if device is None else torch.device(device))
    else:
        joined = Devices(pick(device))
    if joined.device.type == "cpu":
        keep_freed_memory()
    return joined


def follow(
    images: TrainingData, out: Path, devices: Devices, options: TrainOptions, watched: WatchOptions
) -> None:
    """Train to the end or to a signal, and print the progress."""
    recipe, source, held = images.recipe, images.training, images.validation
    run.check(recipe, source, devices, options)
    newest = checkpoint.intact(out, devices)
    done = 0 if newest is None else checkpoint.read_numbers(newest).step
    if devices.main:
        for line in (describe(source), *images.notes):
            say(line)
        say(f"validation: {held.name if held else 'none; see --hold-out'}")
    if done < recipe.train.steps:
        announce(recipe, devices, options, done)
    writers = _writers(recipe, out, watched, done) if devices.main else []
    pictures = [writer.picture for writer in writers]
    teach = None if options.teacher is None else options.teacher.teach
    watch = watching(recipe, source, held, out, devices, on_picture=pictures, teach=teach)
    with saving() as stop:
        told_by = say if devices.main else options.say
        told = replace(options, watch=watch, stop=stop, say=told_by)
        steps = run.steps(recipe, source, out, devices, told)
        if done and devices.main:
            say(f"continuing {out} from step {done}")
        show(written(steps, writers), out.resolve().name, recipe.train.steps, devices, done)
        number = max(devices.gather(stop.signal or 0))  # a signal may reach one process only
    tell_skipped([source] if held is None else [source, held], devices)
    newest = checkpoint.latest(out)
    if number and newest is not None and checkpoint.read_numbers(newest).step < recipe.train.steps:
        _leave(newest, number, devices)
    _finish(recipe, out, devices)


def announce(recipe: Recipe, devices: Devices, options: TrainOptions, done: int) -> None:
    """Print the time that the remaining steps will take, from a trial of one step."""
    if options.shard:  # the whole network may not fit on one device
        return
    teach = None if options.teacher is None else options.teacher.teach
    seconds = max(devices.gather(seconds_per_step(recipe, devices, teach)))
    if devices.main:
        left = recipe.train.steps - done
        say(
            f"estimated time: {duration(seconds * left)} for {left:,} steps, {seconds:.2g} s each, "
            "without loading of images and validation"
        )


def load_teacher(model: str | None, classifier: str | None, devices: Devices) -> Teacher | None:
    """Load the teacher of a recipe of distillation on the run's device; None without one."""
    return None if model is None else Teacher.load(model, classifier, devices.device)


def _writers(recipe: Recipe, out: Path, watched: WatchOptions, done: int) -> list[Writer]:
    writers = [tensorboard(out / "tensorboard", done)] if watched.tensorboard else []
    return [*writers, wandb(watched.wandb, out, to_json(recipe))] if watched.wandb else writers


def show(steps: Iterator[run.Progress], name: str, total: int, devices: Devices, done: int) -> None:
    """Print the progress of a run from step `done` to `total`, on the main rank only."""
    if not devices.main:
        for _ in steps:
            pass
        return
    speed, smooth = 0.0, dict[str, float]()
    with progress(name, total, "steps", done) as advance:
        for state in steps:
            for key in SHOWN:
                if math.isfinite(value := state.shown.get(key, math.nan)):
                    smooth[key] = SMOOTHING * smooth.get(key, value) + (1 - SMOOTHING) * value
            speed = SMOOTHING * (speed or state.images_per_second)
            speed += (1 - SMOOTHING) * state.images_per_second
            figures = "  ".join(f"{key} {value:.4f}" for key, value in smooth.items())
            advance(1, f"{figures}  {speed:.0f} images/s")


def tell_skipped(sources: Sequence[Source], devices: Devices) -> None:
    """Print the images that a process could not read."""
    all_ = devices.gather([path for source in sources for path in source.skipped])
    skipped = list(dict.fromkeys(path for paths in all_ for path in paths))
    if skipped and devices.main:
        shown = ", ".join(skipped[:MOST_NAMED]) + ", ..." * (len(skipped) > MOST_NAMED)
        say(f"{count_of(len(skipped), 'image')} could not be read: {shown}")


def _finish(recipe: Recipe, out: Path, devices: Devices) -> None:
    if not devices.main:
        return
    newest, winner = checkpoint.latest(out), checkpoint.best(out)
    if winner is not None:
        say(f"best validation: {winner}")
    use = build.by_kind(
        recipe,
        diffusion=lambda r: f"upsample {out} IMAGES" if r.data.low_res else f"sample {out}",
        classifier=lambda _: f"sample MODEL --classifier {out}",
        gan=lambda _: f"sample {out} --truncation 1",
    )
    say(f"{newest}: done; next, `adm {use} --out ...`")


def _leave(newest: Path, number: int, devices: Devices) -> None:
    if devices.main:
        notice(f"{newest}: saved; run the same command again to resume")
    raise Saved(128 + number)  # the exit status of a process that a signal ended


def keep_freed_memory() -> bool:
    """Keep freed blocks of up to 1 GiB for later allocations of this process.

    glibc returns large blocks to the system as soon as they are freed. A training step on a CPU
    then waits for thousands of new pages, which the kernel clears, although the freed ones would
    do. This changes no number, and the peak memory of a run by little.

    Returns:
        Whether the allocator was configured, which only glibc on Linux supports.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(TRIM, NEVER)) and any(mallopt(MMAP, size) for size in LARGEST)
