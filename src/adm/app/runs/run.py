"""Recipe, Source, folder -> iterator of Progress: builds all objects that the loop needs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from adm.app.runs.claim import check_same, origin_of, sole_writer, store
from adm.app.runs.same_data import CHECKS, CheckData, compared, record
from adm.data import Source
from adm.distillation import Teach
from adm.models.finetune import start_from
from adm.models.teacher import Teacher
from adm.processes import Devices, on_this_machine
from adm.recipes import build, stages
from adm.recipes.schema import DiffusionRecipe, GANRecipe, Recipe, to_json
from adm.recipes.training import loop_settings, player_settings
from adm.shown import shown
from adm.store.hashes import sha256_of
from adm.training import checkpoint, loop, players
from adm.training.loop import Progress, Watch
from adm.training.players import RunState

SAFE_SHARE = 0.75  # of free memory: a step needs up to 1.23 estimates (docs/recipes.md)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a run is carried out; all but models and `renamed` may differ when it resumes.

    Attributes:
        micro_batch: images per forward pass: a number, `auto` for the largest that fits, or None
            for the process's whole share of the batch.
        pretrained: a model from whose weights training starts.
        renamed: the name of a class in this run, by its name in that model.
        teacher: the sampler that a recipe of distillation distils, on the run's device.
        shard: whether to shard weights, gradients and moments over the processes (FSDP).
        check_data: what is compared with what the images were when the run began: their "names" and
            sizes, all their "pixels", too, or "none", which accepts those that are there.
        watch: called after every step; its figures go into the log.
        stop: called after every step; if it returns True, the run saves a checkpoint and ends.
        say: called with each line of the report on what was taken from `pretrained`.
    """

    micro_batch: int | Literal["auto"] | None = None
    pretrained: str | Path | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    teacher: Teacher | None = None
    shard: bool = False
    check_data: CheckData = "names"
    watch: Watch = lambda done, state: {}
    stop: Callable[[], bool] = lambda: False
    say: Callable[[str], None] = lambda line: None


def train(
    recipe: Recipe,
    source: Source,
    run: Path,
    devices: Devices | torch.device,
    options: TrainOptions | None = None,
) -> Iterator[Progress]:
    """Train `recipe` on `source` in the run folder `run`; the same call resumes the run.

    No other process can train in this folder until the iterator is exhausted, closed or deleted.

    Yields:
        The progress after each step.

    Raises:
        ValueError: the recipe contradicts itself or the data, the folder holds another run, or
            another process trains in it (`InUse`).
    """
    options = options or TrainOptions()
    devices = Devices(devices) if isinstance(devices, torch.device) else devices
    check(recipe, source, devices, options)
    with ExitStack() as held:
        held.enter_context(sole_writer(run, devices))
        progress = steps(recipe, source, run, devices, options)
        return _holding(held.pop_all(), progress)


def _holding(held: ExitStack, progress: Iterator[Progress]) -> Iterator[Progress]:
    # If it is deleted before its first step, `held` is as well, which releases the lock.
    with held:
        yield from progress


def check(recipe: Recipe, source: Source, devices: Devices, options: TrainOptions) -> None:
    """Raise ValueError if the recipe contradicts itself, the data or the number of processes."""
    if options.check_data not in CHECKS:
        raise ValueError(f"check_data must be {', '.join(CHECKS)}, got {shown(options.check_data)}")
    build.check(recipe)
    build.check_sampling(recipe)
    check_source(recipe, source)
    check_teacher(recipe, source, options.teacher)
    _check_batch(recipe.train.batch_size, source, devices, options.shard)
    if isinstance(recipe, GANRecipe):
        _check_gan(recipe, devices, options)


def steps(
    recipe: Recipe, source: Source, run: Path, devices: Devices, options: TrainOptions
) -> Iterator[Progress]:
    """As `train`, for a caller that is the folder's `sole_writer` and has called `check`."""
    networks, importance = build.networks(recipe), build.importance(recipe)
    described, teacher = identity(recipe, source), options.teacher
    if teacher is not None:
        described |= teacher.identity
        teacher.start(networks[players.MODEL])
    if checkpoint.latest(run) is not None:
        described |= origin_of(run, options.pretrained, options.renamed)
    elif (model := options.pretrained) is not None:
        started = start_from(
            networks[players.MODEL], recipe, source.classes, model, options.renamed
        )
        described["start"] = {"given": str(model), **started.origin}
        for line in started.lines:
            options.say(line)
    devices.agree("recipe, data or version", (described, version("ablated-diffusion")))
    devices.once(lambda: _claim(run, described, source, options.check_data))
    settings = player_settings(recipe)
    learners = {
        name: players.player(network, settings[name], devices, sharded=options.shard)
        for name, network in networks.items()
    }
    auto = options.micro_batch == "auto"
    teach = None if teacher is None else teacher.teach
    frozen = {} if teacher is None else teacher.networks
    return loop.train(
        loop.Run(
            state=RunState(learners, frozen, importance=importance),
            turn=stages.turn_of(recipe, networks, devices.device, importance, teach),
            source=source,
            settings=loop_settings(recipe),
            folder=run,
            metadata=described,
            devices=devices,
            watch=options.watch,
            stop=options.stop,
            fits=fits_in_memory(recipe, teach) if auto and devices.device.type == "cpu" else None,
            divisible=recipe.divisible,
        ),
        micro_batch=None if isinstance(options.micro_batch, str) else options.micro_batch,
        auto=auto,
    )


def _claim(run: Path, described: Mapping[str, Any], source: Source, check: CheckData) -> None:
    """Make the folder that of this run and these images, or raise ValueError if it is another's."""
    check_same(run, described)
    found = compared(run, source, check, checkpoint.latest(run) is not None)
    store(run, described)
    if found is not None:
        record(run, found)


def _check_batch(size: int, source: Source, devices: Devices, shard: bool) -> None:
    if len(source) < size:
        raise ValueError(
            f"{source.name} has {len(source)} images, fewer than a batch of {size}; set "
            f"train.batch_size={max(1, len(source))} or less, or give more data"
        )
    if size < devices.world:
        raise ValueError(
            f"train.batch_size={size} is less than the {devices.world} processes; set it to at "
            "least one image per process"
        )
    if shard and size % devices.world:
        raise ValueError(
            f"train.batch_size={size} is not a multiple of the {devices.world} processes, as "
            "shard=True needs; set it to a multiple"
        )


def _check_gan(recipe: GANRecipe, devices: Devices, options: TrainOptions) -> None:
    """Refuse what a GAN cannot do: its generator normalises over the whole batch."""
    if options.micro_batch is not None:
        raise ValueError(
            "a GAN is trained on its whole batch, over which its generator normalises; leave "
            "micro_batch=... out, or set train.batch_size to fewer images"
        )
    if options.shard:
        raise ValueError("the weights of a GAN cannot be sharded; leave shard=True out")
    if options.pretrained is not None:
        raise ValueError("a GAN starts from random weights; leave pretrained=... out")
    size, parts = recipe.train.batch_size, recipe.adversarial.discriminator_steps * devices.world
    if size % parts:
        raise ValueError(
            f"train.batch_size={size} does not divide into {parts} equal parts, one for each "
            f"process and step of the discriminator; set it to {-(-size // parts) * parts}"
        )


def identity(recipe: Recipe, source: Source) -> dict[str, Any]:
    """Return what identifies a run, as JSON values; it is stored with the run and every model."""
    labels = sha256_of(source.labels.numpy().tobytes())
    return {
        "recipe": to_json(recipe),
        "classes": list(source.classes),
        "data": source.name,
        "images": len(source),
        "labels": labels,
    }


def fits_in_memory(recipe: Recipe, teach: Teach | None = None) -> Callable[[int], bool]:
    """Return a function that estimates whether a micro-batch fits in the free memory of the CPU.

    A trial would not show it, because the system swaps to the disk before an allocation fails.
    """
    import psutil

    from adm.app.runs.memory import estimate

    needed = cache(partial(estimate, recipe, "cpu", teach))  # takes seconds, so only on demand
    share = SAFE_SHARE / on_this_machine()
    return lambda size: needed().of(size) < share * psutil.virtual_memory().available


def check_teacher(recipe: Recipe, source: Source, teacher: Teacher | None) -> None:
    """Raise ValueError unless the recipe distils this teacher, or there is none to distil."""
    stages.check_taught(recipe, teacher is not None)
    if teacher is not None and isinstance(recipe, DiffusionRecipe):
        teacher.check(recipe, source.classes)


def check_source(recipe: Recipe, source: Source) -> None:
    """Raise ValueError unless the recipe's network can be trained on the data."""
    if not len(source):
        raise ValueError(f"{source.name} has no images; give another data=...")
    if recipe.data.crop == "random" and source.crop is None:
        raise ValueError(f"{source.name} cannot be cropped at random; set data.crop=centre")
    got, wanted = source.shape, (recipe.data.channels, *recipe.data.size)
    if got != wanted:
        raise ValueError(
            f"{source.name} has images of (C, H, W) = {got}, and the recipe needs {wanted}; "
            "set data.size and data.channels, or give another data=..."
        )
    config = recipe.config
    if config.classes is not None and config.classes != len(source.classes):
        raise ValueError(
            f"{source.name} has {len(source.classes)} classes, and the recipe {config.classes}; "
            f"set {recipe.section}.classes={len(source.classes)}"
        )
