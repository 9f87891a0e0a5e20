"""Recipe, data, folder -> run folder of a trained network."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

from adm.data import Source
from adm.data.naming import at_home
from adm.distillation import Teach
from adm.models.device import pick
from adm.models.finetune import start_from
from adm.models.teacher import Teacher
from adm.models.trained import ClassifierModel
from adm.processes import Devices
from adm.progress import displayed, progress, silent
from adm.recipes import build
from adm.recipes.schema import DiffusionRecipe, Recipe
from adm.runs.data import DataOptions, check_source, choose, known_facts, open_data
from adm.runs.folder import CheckData, check_claim, claim, identity, sole_writer, start_of
from adm.runs.watch import watching
from adm.runs.watch.advice import advice
from adm.runs.watch.watched import Watched
from adm.spec import SettingError, check_type, literal, out_of_range
from adm.training import checkpoint, loop
from adm.training.batches import Augmentation
from adm.training.loop import MicroBatch, Progress, Watch

log = logging.getLogger("adm")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a run is carried out; all but models and `renamed` may differ when it resumes.

    Attributes:
        micro_batch: images per forward pass: a number, `auto` for the largest that fits, or None
            for the process's whole share of the batch.
        pretrained: a model from whose weights training starts.
        renamed: the name of a class in this run, by its name in that model.
        teacher: the sampler that a recipe of distillation distils, on the run's device.
        classifier: one that guides samples, which are scored beside those without guidance.
        check_data: what is compared with the images at the start of the run: the "names" and sizes
            of the images, also all "pixels", or "none", which accepts any images.
        watch: called after every step; its figures go into the log.
        stop: called after every step; if it returns True, the run saves a checkpoint and ends.
    """

    micro_batch: MicroBatch = None
    pretrained: str | Path | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    teacher: Teacher | None = None
    classifier: ClassifierModel | None = None
    check_data: CheckData = "names"
    watch: Watch = lambda done, learner: {}
    stop: Callable[[], bool] = lambda: False

    @property
    def teach(self) -> Teach | None:
        return None if self.teacher is None else self.teacher.teach


def train(
    recipe: str | Path | Recipe,
    *,
    out: str | Path,
    data: str | Path | Source | None = None,
    condition: str | Path | None = None,
    steps: int | None = None,
    settings: Sequence[str] = (),
    device: str | torch.device | None = None,
    options: TrainOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a network to the last step; the same call resumes a run that was stopped.

    Args:
        recipe: the name of a recipe that `adm recipes` lists, whose channels and classes are those
            of the data, and whose precision suits the device, unless `settings` sets them; the path
            of a recipe as JSON or of a model that contains one; or a recipe.
        out: the run folder; absent, empty, or that of the same run.
        data: a data spec such as "fashion-mnist" or "photos/", or a source; None for the recipe's
            own. A data spec with a test split is also validated on it.
        condition: a data spec of the images that the model is conditioned on, one for each of
            `data` and of the same name; None for none.
        steps: total optimizer steps; None for the recipe's.
        settings: changes to the recipe, such as "unet.dropout=0.1".
        device: such as "cpu" or "cuda:1"; None for the best that the machine has.
        options: how the run is carried out, such as its micro-batch or the model to start from.
        on_progress: called after every step; by default progress is shown where a terminal or a
            notebook displays it.

    Returns:
        The run folder, which `adm.load` and `adm.load_classifier` accept.

    Raises:
        ValueError: the recipe contradicts itself or the data, the folder holds another run, or
            another process trains in it.
    """
    options = options or TrainOptions()
    check_type("recipe", recipe, (str, Path, *get_args(Recipe)), "a name, a path or a recipe")
    check_type("out", out, (str, Path), "the path of a folder")
    check_type("data", data, (str, Path, Source, type(None)), "a data spec or a Source")
    check_type("condition", condition, (str, Path, type(None)), "a data spec")
    check_type("settings", settings, (list, tuple), "a list such as ['unet.dropout=0.1']")
    check_type("options", options, (TrainOptions,), "TrainOptions(...)")
    overrides = [*settings, *([] if steps is None else [f"train.steps={steps}"])]
    folder, devices = at_home(out), Devices(pick(device))
    paths = DataOptions(
        data=str(data) if isinstance(data, Path) else data,
        condition=None if condition is None else str(condition),
    )
    choice = choose(recipe, overrides)
    facts = known_facts(choice, folder, devices, paired=condition is not None)
    with sole_writer(folder, devices):
        fitted, source, validation, _ = open_data(choice, facts, paths)
        check(fitted, source, devices, options)
        helpers = options.teach, options.classifier
        watch = watching(Watched(fitted, source, validation, folder, devices, *helpers))
        with displayed(silent) if on_progress else nullcontext(), _bar(fitted, folder) as advance:
            for step in start(fitted, source, folder, devices, replace(options, watch=watch)):
                (on_progress or advance)(step)
        if devices.main and (next_ := advice(folder, fitted)):
            log.info(next_)
    return folder


@contextmanager
def _bar(recipe: Recipe, folder: Path) -> Iterator[Callable[[Progress], None]]:
    newest = checkpoint.latest(folder)
    done = 0 if newest is None else checkpoint.step_of(newest) or 0
    with progress(f"training {recipe.name}", recipe.train.steps, "steps", done) as advance:
        yield lambda step: advance(1, f"{step.images_per_second:.0f} images/s")


def train_steps(
    recipe: Recipe,
    source: Source,
    run: Path,
    devices: Devices | torch.device,
    options: TrainOptions | None = None,
) -> Iterator[Progress]:
    """Train `recipe` on `source` in the run folder `run`, step by step; the same call resumes it.

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
    with ExitStack() as stack:
        stack.enter_context(sole_writer(run, devices))
        progress = start(recipe, source, run, devices, options)
        steps = _locked(stack.pop_all(), progress)
        next(steps)
        return steps


def _locked(lock: ExitStack, progress: Iterator[Progress]) -> Iterator[Any]:
    with lock:
        yield  # begun, so that closing it before its first step releases the lock
        yield from progress


def check(recipe: Recipe, source: Source, devices: Devices, options: TrainOptions) -> None:
    """Raise ValueError if the recipe contradicts itself, the data or the number of processes."""
    build.check(recipe)
    build.check_sampling(recipe)
    check_source(recipe, source)
    _check_teacher(recipe, source, options.teacher)
    _check_batch(recipe.train.batch_size, source, devices)


def start(
    recipe: Recipe, source: Source, run: Path, devices: Devices, options: TrainOptions
) -> Iterator[Progress]:
    """As `train_steps`, for a caller that is the folder's `sole_writer` and has called `check`."""
    network, described, teacher = build.network(recipe), identity(recipe, source), options.teacher
    if teacher is not None:
        described |= teacher.identity
        teacher.start(network)
    if checkpoint.latest(run) is not None:
        described |= start_of(run, options.pretrained, options.renamed)
    elif (given := options.pretrained) is not None:
        started = start_from(network, recipe, source.classes, given, options.renamed)
        described["start"] = {"given": str(given), **started.origin}
        if devices.main:
            for line in started.lines:
                log.info(line)
    devices.agree("recipe, data or version", (described, version("ablated-diffusion")))
    images = devices.once(lambda: check_claim(run, described, source, options.check_data))
    prepared = loop.Run(
        learner=build.learner(recipe, network, devices, options.teach),
        source=source,
        settings=recipe.train,
        folder=run,
        metadata=described,
        devices=devices,
        augmentation=Augmentation(
            recipe.data.flip,
            recipe.data.crop == "random",
            recipe.data.low_res if recipe.data.low_res_noise else None,
        ),
        watch=options.watch,
        stop=options.stop,
    )
    steps = loop.train(prepared, options.micro_batch)
    devices.once(lambda: claim(run, described, images))  # last: a refusal changes nothing
    return steps


def _check_batch(size: int, source: Source, devices: Devices) -> None:
    most, world = len(source), devices.world
    if most < size:
        allowed = f"at most {most}, the number of images in {literal(source.name)}"
        raise out_of_range("train.batch_size", allowed, size)
    if size < world:
        raise out_of_range("train.batch_size", f"at least {world}, one for each process", size)


def _check_teacher(recipe: Recipe, source: Source, teacher: Teacher | None) -> None:
    """Raise ValueError unless there is a teacher if the recipe distils one, and only then."""
    distils, name = recipe.distillation is not None, literal(recipe.name)
    if distils and teacher is None:
        raise SettingError("teacher", f"{name} distils a model; give {{teacher=MODEL}}")
    if teacher is not None and not distils:
        raise SettingError(
            "teacher",
            f"{name} distils no model; leave {{}} out, or use a recipe such as fashion-distilled",
        )
    if teacher is not None and isinstance(recipe, DiffusionRecipe):
        teacher.check(recipe, source.classes)
