"""Model name or path -> Pipeline; classes, settings by name -> Samples: the front door."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from adm.diffusion import Denoise, Schedule
from adm.generation.cascade import cascade
from adm.generation.folder import Chain, check_free, write_folder
from adm.generation.generate import DiffusionGenerator, generate
from adm.generation.generator import OnStep
from adm.generation.job import Job, LowRes
from adm.generation.labels import Classes, labels_of
from adm.guidance import Gradient
from adm.models.device import pick
from adm.models.load import load_classifier, load_diffusion
from adm.models.pair import classes_of, classifier_of
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.pictures import by_class, grid, png
from adm.samplers import Sampling, State
from adm.samplers.words import changed


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A model ready to be sampled.

    Settings are those of the model's recipe unless they are given by name: `scale`, `seed`,
    `steps`, `sampler` and the other fields of `Sampling` and `Grid`, and the sampler's own
    parameters, such as `eta`. The same words on the command line give the same bytes.

    Attributes:
        model: network, recipe, classes, schedule.
        guide: the noisy classifier that guides where a scale is given, or its name or path, from
            which `classifier` loads it when it is first needed; None without one.
        upsampler: a second model that makes the images larger, or None.
    """

    model: DiffusionModel
    guide: ClassifierModel | str | Path | None = None
    upsampler: DiffusionModel | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that can be asked for, in the order of the labels."""
        return self.model.classes or classes_of(self.model, self.classifier)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's images."""
        return self.model.shape

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def schedule(self) -> Schedule:
        """The diffusion process that the model was trained on."""
        return self.model.schedule

    @property
    def sampling(self) -> Sampling:
        """The settings that the model is sampled with unless told otherwise."""
        return self.model.recipe.sample

    @cached_property
    def classifier(self) -> ClassifierModel | None:
        """The noisy classifier that guides, loaded when it is first needed."""
        if self.guide is None or isinstance(self.guide, ClassifierModel):
            return self.guide
        return load_classifier(self.guide, self.device)

    def __repr__(self) -> str:
        sides = "x".join(map(str, self.shape[1:]))
        return f"Pipeline({self.model.path.stem!r}, {sides}, {len(self.model.classes)} classes)"

    def denoise(self, labels: Tensor | None = None, **options: Any) -> Denoise:
        """The denoiser, (x_t, level) -> Prediction; see `DiffusionModel.denoise`."""
        return self.model.denoise(labels, **options)

    def generator(self, **settings: Any) -> DiffusionGenerator:
        """labels, indices -> images, with these settings.

        Raises:
            ValueError: the model cannot be sampled with them.
        """
        sampling = changed(self.sampling, **settings)
        guides = self.classifier if sampling.guidance else None
        return DiffusionGenerator(self.model, sampling, guides)

    def job(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        low_res: Tensor | None = None,
        upsampler_steps: int | None = None,
        **settings: Any,
    ) -> Job:
        """The images that a call of `sample` with the same arguments makes.

        Args:
            low_res: (N, C, h, w) uint8, what an upsampler starts from.
            upsampler_steps: evaluations of the upsampler per image; its recipe's by default.

        Raises:
            ValueError: as `sample`.
        """
        if upsampler_steps is not None and self.upsampler is None:
            raise ValueError("upsampler_steps needs an upsampler; pass upsampler=...")
        generator = self.generator(**settings)
        if low_res is not None and classes is None:
            count = len(low_res) if count is None else count
        labels, number = labels_of(classes, generator.classes, count)
        start = None if low_res is None else LowRes(low_res, "memory")
        base = Job(generator, labels, number, start)
        return base if self.upsampler is None else cascade(base, self.upsampler, upsampler_steps)

    def sample(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        batch_size: int = 64,
        on_step: OnStep | None = None,
        **settings: Any,
    ) -> "Samples":
        """Sample images.

        Args:
            classes: {"sneaker": 8, "bag": 4}, "sneaker:8,bag:4", "all:8", a name with `count`, or
                one label per image; all classes in turn by default.
            count: number of images, where `classes` does not say it.
            batch_size: images at a time; it changes memory and speed, and the last digits of
                float32 arithmetic at most.
            on_step: called after every step with the number of images that took it.
            settings: what is to differ from the model's own settings, by name; and `low_res` and
                `upsampler_steps`, see `job`.

        Raises:
            ValueError: an unknown class or setting, or one that the model cannot be sampled with.
        """
        job = self.job(classes, count, **settings)
        return Samples(_chain(job, batch_size, on_step), batch_size)

    def trajectory(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        gradient: Gradient | None = None,
        **settings: Any,
    ) -> Iterator[State]:
        """Sample one batch of images step by step; `sample` describes the arguments.

        Args:
            gradient: guidance of one's own, added to the classifier's.

        Yields:
            State after every step; `prediction.x_0` is the guided estimate of the images, and the
            last `x` are the images, in [-1, 1].
        """
        generator = self.generator(**settings)
        labels, number = labels_of(classes, generator.classes, count)
        chosen = None if labels is None else torch.tensor(labels)
        return generator.trajectory(chosen, range(number), gradient=gradient)


@dataclass(frozen=True, eq=False)
class Samples:
    """Images with everything that they follow from.

    Attributes:
        chain: the job with its images, then, for a cascade, the job that it started from.
        batch_size: that they were made with.
    """

    chain: Chain
    batch_size: int

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) uint8."""
        return self.chain[0][1]

    @cached_property
    def labels(self) -> Tensor | None:
        """(N,) int64; None of an unconditional model."""
        labels = self.chain[0][0].labels
        return None if labels is None else torch.tensor(labels)

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each label."""
        return self.chain[0][0].generator.classes

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Samples({len(self)} images of (C, H, W) = {tuple(self.images.shape[1:])})"

    def grid(self) -> Image.Image:
        """One picture of all images: a row for each class, or as square as can be."""
        if self.labels is not None:
            columns = int(self.labels.bincount().max())
            return by_class(self.images, self.labels, self.classes, columns)
        return grid(self.images, math.ceil(len(self.images) ** 0.5))

    def save(self, out: str | Path, *, overwrite: bool = False) -> Path:
        """Write the folder that `adm sample` writes.

        Raises:
            FileExistsError: `out` holds something else, and is not to be overwritten.
        """
        path = Path(out)
        check_free(path, overwrite)
        write_folder(path, self.chain, self.batch_size, overwrite)
        return path

    def _repr_png_(self) -> bytes:
        """Notebooks show it."""
        return png(self.grid())


def load(
    model: str | Path,
    classifier: ClassifierModel | str | Path | None = None,
    upsampler: str | Path | None = None,
    device: str | torch.device | None = None,
) -> Pipeline:
    """Load a diffusion model, ready to be sampled.

    Args:
        model: a shipped name such as "fashion", a model file, a run folder, or one of the released
            .pt files.
        classifier: what guides it where a scale is given; by default that of a shipped model, and
            that of a released file where it lies beside it.
        upsampler: a model that makes its images larger.
        device: such as "cpu" or "cuda:1"; the best that the machine has by default.

    Raises:
        ValueError: there is no such model, or its file is damaged or is a classifier.
    """
    place = pick(device)
    larger = None if upsampler is None else load_diffusion(upsampler, place)
    guide = classifier_of(model) if classifier is None else classifier
    return Pipeline(load_diffusion(model, place), guide, larger)


def _chain(job: Job, batch_size: int, on_step: OnStep | None) -> Chain:
    """A job with its images, then the job that it starts from with its own, and so on."""
    before: Chain = []
    low_res = None
    if isinstance(job.low_res, Job):
        before = _chain(job.low_res, batch_size, on_step)
        low_res = before[0][1]
    elif job.low_res is not None:
        low_res = job.low_res.images
    labels = None if job.labels is None else torch.tensor(job.labels)
    parts = generate(
        job.generator,
        labels,
        range(job.count),
        batch_size=batch_size,
        low_res=low_res,
        on_step=on_step,
    )
    return [(job, torch.cat(list(parts))), *before]
