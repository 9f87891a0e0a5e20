"""Model name or path -> Pipeline; Classes, settings -> Samples."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from adm.data.naming import at_home
from adm.diffusion import Denoise, Schedule
from adm.generation.cascade import cascade
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.edit import EDITS, Edit
from adm.generation.generator import Generator, OnStep
from adm.generation.guides import OfSchedule, functions_of, with_functions
from adm.generation.inputs import Images, read_images
from adm.generation.job import Job
from adm.generation.labels import Classes, labels_of
from adm.generation.restored import Problem
from adm.generation.samples import Samples, sample
from adm.generation.start import NOISE, Start
from adm.models import hub, paths
from adm.models.device import pick
from adm.models.load import load_classifier, load_diffusion
from adm.models.pair import classifier_of, guides_of, weak_of
from adm.models.trained import ClassifierModel, DiffusionModel, TrainedModel
from adm.progress import progress
from adm.restoration import DPS, Method, Operator, operator_of
from adm.restoration.measurement import Forward
from adm.samplers import ClassifierGuide, FreeGuide, Sampling, State, WeakGuide
from adm.shown import count_of
from adm.spec import SettingError, literal, parse

if TYPE_CHECKING:
    from adm.generation.pretrained import Pretrained, Scored

log = logging.getLogger("adm")
OneOrSeveral: TypeAlias = (
    ClassifierModel | str | Path | Sequence[ClassifierModel | str | Path] | None
)
OF_LOAD = {"model", "classifier", "weak", "device"}  # arguments that are no settings
ONLY_LABELS = "the classes only label the images: neither the model nor a guide depends on them"


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A model with its guides and its upsampler, ready to be sampled.

    Settings default to those of the model's recipe, and are changed by name; see `Sampling.change`.
    The same options of `adm sample` give the same images.

    Attributes:
        model: a diffusion model, or a student.
        guides: the classifiers that guide if the scale is not 0, or their names or paths, from
            which `classifiers` loads them on first use.
        upsampler: an upsampler to apply to the images, or None.
        weak: the weak model of autoguidance, or its name or path, from which `weaker` loads it on
            first use; None for none.
    """

    model: DiffusionModel
    guides: tuple[ClassifierModel | str | Path, ...] = ()
    upsampler: DiffusionModel | None = None
    weak: DiffusionModel | str | Path | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that can be sampled, in the order of the labels."""
        guides = self.classifier
        return self.model.classes or (() if guides is None else guides.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's images."""
        return self.model.shape

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.model.device

    def to(self, device: str | torch.device) -> "Pipeline":
        """Return the models on a device, such as "cuda:1"; this pipeline stays where it is."""
        place = pick(device)

        def moved(model: Any) -> Any:
            return model.to(place) if isinstance(model, TrainedModel) else model

        others = {each: moved(getattr(self, each)) for each in ("model", "upsampler", "weak")}
        return replace(self, guides=tuple(map(moved, self.guides)), **others)

    @property
    def schedule(self) -> Schedule:
        """The diffusion process that the model was trained on."""
        return self.model.schedule

    @property
    def sampling(self) -> Sampling:
        """The default settings, the recipe's with the guides of a shipped or a released model."""
        default = self.model.recipe.sample
        if not default.guide:
            return replace(default, guide=guides_of(self.model.path, bool(self.guides)))
        return default

    @cached_property
    def classifiers(self) -> tuple[ClassifierModel, ...]:
        """The classifiers that guide, loaded on first use."""
        return tuple(
            each if isinstance(each, ClassifierModel) else load_classifier(each, self.device)
            for each in self.guides
        )

    @property
    def classifier(self) -> ClassifierModel | None:
        """The first of `classifiers`, which guides by default; None for none."""
        return next(iter(self.classifiers), None)

    @cached_property
    def weaker(self) -> DiffusionModel | None:
        """The weak model of autoguidance, loaded on first use."""
        if self.weak is None or isinstance(self.weak, DiffusionModel):
            return self.weak
        return load_diffusion(self.weak, self.device)

    def __repr__(self) -> str:
        sides = "x".join(map(str, self.shape[1:]))
        return f"Pipeline({self.model.name!r}, {sides}, {len(self.model.classes)} classes)"

    def denoise(self, labels: Tensor | None = None, **options: Any) -> Denoise:
        """Return the denoiser, (x_t, level) -> Prediction; see `DiffusionModel.denoise`."""
        return self.model.denoise(labels, **options)

    def generator(
        self,
        *,
        gradient: OfSchedule | str | Sequence[OfSchedule | str] | None = None,
        start: Start = NOISE,
        classes: Classes | None = None,
        **settings: Any,
    ) -> DiffusionGenerator:
        """Return the generator with these settings, (labels, indices) -> images.

        Args:
            start: where sampling starts; it may have default settings of its own.
            gradient: guidance of the caller's, as `guide="gradient:scale=2"` scales and limits it:
                a function of the schedule that is sampled, which returns the gradient, or its
                module:function; or several. Those that no guide names are added at scale 1. It may
                differentiate the denoiser; the manifest has its name and the hash of its source.
            classes: those that will be sampled. Where images depend on no class, as those of a
                model without labels at scale 0, they label the images alone.

        Raises:
            ValueError: a setting is unknown, or the model cannot be sampled with the settings.
        """
        for name in OF_LOAD & settings.keys():
            raise SettingError(name, "{} is no setting of sampling; pass it to adm.load")
        functions = functions_of(gradient)
        sampling = self.sampling.change(**start.settings(self.model, settings))
        sampling = with_functions(sampling, functions)
        guides = self.classifiers if sampling.by(ClassifierGuide) else ()
        weak = self.weaker if any(isinstance(g, WeakGuide) for g in sampling.by_contrast) else None
        generator = DiffusionGenerator.of(self.model, sampling, guides, weak, functions, start)
        if classes is None or generator.classes or not self.classes:
            return generator
        log.info(ONLY_LABELS)
        return replace(generator, names=self.classes)

    def job(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        inputs: Tensor | None = None,
        upsampler_steps: int | None = None,
        upsampler_noise: int | None = None,
        **settings: Any,
    ) -> Job:
        """Return the job of a call of `sample` with the same arguments, without running it.

        Args:
            inputs: (N, C, h, w), uint8 or, by the model's `data.range`, in [-1, 1], the input of
                each image, of a model that is conditioned on one: the small images that an
                upsampler enlarges, or the conditions of pairs.
            upsampler_steps: evaluations of the upsampler per image; its recipe's value by default.
            upsampler_noise: level of the noise on the images that the upsampler enlarges, likewise.

        Raises:
            ValueError: as `sample`.
        """
        base = _job(self.generator(classes=classes, **settings), classes, count, inputs)
        return self.enlarged(base, upsampler_steps, upsampler_noise)

    def enlarged(
        self, job: Job, upsampler_steps: int | None = None, upsampler_noise: int | None = None
    ) -> Job:
        """Return the job of the upsampler's images; the job itself without an upsampler.

        Raises:
            ValueError: as `sample`.
        """
        options = {"upsampler_steps": upsampler_steps, "upsampler_noise": upsampler_noise}
        for name, value in options.items():
            if value is not None and self.upsampler is None:
                raise SettingError(name, "{} needs {upsampler}")
        if self.upsampler is None:
            return job
        larger = cascade(
            job.generator, self.upsampler, job.labels, upsampler_steps, upsampler_noise
        )
        return replace(job, generator=larger)

    def sample(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        on_step: OnStep | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> Samples:
        """Sample images.

        Args:
            classes: {"sneaker": 8, "bag": 4}, "sneaker:8,bag:4", "all:8", a name with `count`, or
                one label per image; by default all classes take turns.
            count: number of images, if `classes` has no counts.
            on_step: called after every step with the network evaluations that it took.
            progress: whether progress is displayed, in a terminal or a notebook.
            settings: settings to change, by name; `inputs`, `upsampler_steps`, `upsampler_noise`,
                see `job`; and `gradient`, see `generator`.

        Returns:
            The images, (N, C, H, W), with their labels and settings.

        Raises:
            ValueError: a class or a setting is unknown, or the model cannot be sampled with it.
            FloatingPointError: sampling gave NaN or infinity.
        """
        job = self.job(classes, count, **settings)
        return self._watched(job, f"sampling {count_of(job.count, 'image')}", on_step, progress)

    def _watched(self, job: Job, what: str, on_step: OnStep | None, shown: bool) -> Samples:
        """Sample a job with `on_step`, or by default with its progress reported if it is shown."""
        if on_step or not shown:
            return sample(job, on_step)
        with progress(what, job.evaluations, "network evaluations") as advance:
            return sample(job, advance)

    def restore(
        self,
        y: Images,
        operator: str | Operator | Forward,
        method: str | Method = "mmps",
        *,
        sigma: float = 0.0,
        samples: int = 1,
        classes: Classes | None = None,
        on_step: OnStep | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> Samples:
        """Sample the images that were measured as y = operator(image) + sigma noise.

        Args:
            y: measurements: numbers (N, ...) in units of [-1, 1], as `measure` returns them, in a
                tensor, an array or a .npy file; or images as of `edit`, in the size of the
                measurement.
            operator: a spec, such as "inpaint:box=4-4-10-10", "downsample:factor=4",
                "blur:gaussian=3" or "module:function", which `adm help operator` lists; or a
                differentiable function of (B, C, H, W) images in [-1, 1], of which the manifest has
                the name and the source.
            method: a spec, such as "mmps", "dps:step=0.3" or "ddnm"; `adm help method` lists them.
            sigma: standard deviation of the noise of y, in units of [-1, 1].
            samples: images for each measurement.
            classes: one class for all images, or one each; by default sampling is unconditional.
            on_step, progress: as for `sample`.
            settings: of `Sampling`, by name, to change those of the method.

        Returns:
            N x `samples` images; those of measurement i from i x `samples` on.

        Raises:
            ValueError: the operator does not fit the model, the method or y; or as `sample`.
            FloatingPointError: the method diverges.
        """
        problem = Problem.parsed(operator, method, sigma)
        job = self.restore_job(y, problem, samples, classes, **settings)
        return self._watched(job, f"restoring {count_of(job.count, 'image')}", on_step, progress)

    def restore_job(
        self,
        y: Images,
        problem: Problem,
        samples: int = 1,
        classes: Classes | None = None,
        source: str | None = None,
        **settings: Any,
    ) -> Job:
        """Return the job of a call of `restore` with the same arguments, without running it.

        Args:
            source: description of the origin of y, for the manifest; by default its path, or
                "memory".
        """
        default: dict[str, Any] = {"scale": 0.0} if classes is None else {}
        generator = self.generator(start=problem, classes=classes, **(default | settings))
        return problem.job(generator, y, samples, classes, source)

    def measure(
        self,
        images: Images,
        operator: str | Operator | Forward,
        *,
        sigma: float = 0.0,
        seed: int = 0,
    ) -> Tensor:
        """Measure images -> (N, ...) float32, as `restore` takes them.

        Args:
            images: as of `edit`.
            operator, sigma: as for `restore`.
            seed: of the noise, with the index of an image.
        """
        pixels, _ = read_images("images", images, self.shape, stored=self.model.range)
        return Problem(operator_of(operator), DPS(), sigma).measure(pixels, seed)

    def trajectory(
        self,
        classes: Classes | None = None,
        count: int | None = None,
        *,
        inputs: Tensor | None = None,
        **settings: Any,
    ) -> Iterator[State]:
        """Sample one batch of images step by step; `sample` describes the arguments.

        The images may differ by rounding from those of `sample`, which are computed in blocks.

        Args:
            inputs: (N, C, h, w); see `job`.

        Yields:
            State after every step; `prediction.x_0` is the guided estimate of the images, and `x`
            of the last one is (B, C, H, W), the images in [-1, 1].
        """
        generator = self.generator(classes=classes, **settings)
        job = _job(generator, classes, count, inputs)
        return generator.trajectory(job.label_tensor, range(job.count), inputs)

    def edit(
        self,
        images: Images,
        edit: str | Edit = "noise",
        classes: Classes | None = None,
        samples: int = 1,
        *,
        on_step: OnStep | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> Samples:
        """Sample from images: noised, encoded or between two; `adm help edit` lists the kinds.

        Args:
            images: a path of images, or of any data that `adm train` takes; one or several PIL
                images; a NumPy array (N, H, W, C), of the model's `data.range`; a tensor
                (N, C, H, W), uint8 or, of a model of another range, in [-1, 1]; or Samples.
                Files and PIL images are resized and cropped to the model's size.
            edit: such as "noise:strength=0.5", "invert" or "interpolate:count=7".
            classes: those to which each image is changed, as of `sample`: "bag", "all", "bag:4".
                By default neither the network nor a classifier is conditioned on one.
            samples: number of edits of each image for each of `classes`.
            on_step, progress: as of `sample`.
            settings: settings to change, by name.

        Returns:
            The edits, those of an image in sequence; of `interpolate`, those of two neighbours.

        Raises:
            SettingError: images of another shape, an unknown edit, class or setting, or a model
                that cannot start from images: an upsampler, or a distilled one.
            FloatingPointError: sampling gave NaN or infinity.
        """
        job = self.edit_job(images, edit, classes, samples, **settings)
        return self._watched(job, f"sampling {count_of(job.count, 'edit')}", on_step, progress)

    def edit_job(
        self,
        images: Images,
        edit: str | Edit = "noise",
        classes: Classes | None = None,
        samples: int = 1,
        source: str | None = None,
        **settings: Any,
    ) -> Job:
        """Return the job of a call of `edit` with the same arguments, without running it.

        Args:
            source: description of the origin of the images, for the manifest; by default their
                path, or "memory".
        """
        start = parse(EDITS, edit, "edit")
        if self.upsampler is not None:
            raise SettingError(
                "upsampler", "{} enlarges no edits; leave it out, and give it the edits as inputs"
            )
        if classes is None:  # neither the network nor a guide is conditioned on one
            by_class, default = (ClassifierGuide, FreeGuide), self.sampling.guide
            guides = tuple(guide for guide in default if not isinstance(guide, by_class))
            settings = {"use_labels": False, "guide": guides, **settings}
        generator = self.generator(start=start, classes=classes, **settings)
        return start.job(generator, images, classes, samples, source)

    def pretrained(self, images: int = 16, report: "Scored | None" = None) -> "Pretrained":
        """Return what `save_pretrained` writes with these arguments, which it describes."""
        from adm.generation.pretrained import Pretrained

        if self.upsampler is not None:
            raise SettingError(
                "upsampler", "a model is stored without {}; leave it out, and store it by itself"
            )
        if len(self.guides) > 1:
            raise SettingError("classifier", "a model is stored with one {}, by which it is guided")
        from_noise = not self.model.low_shape
        samples = self.sample(count=images) if images and from_noise else None
        guides = (self.classifier, self.weaker)
        return Pretrained(self.model, self.sampling, *guides, samples, report)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        images: int = 16,
        report: "Scored | None" = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the model as a repository of the Hugging Face hub: a folder that `load` takes.

        It holds model.safetensors, classifier.safetensors and weak.safetensors as they were loaded,
        config.json with the recipe and the classes, and a model card. The default settings are
        those of this pipeline.

        Args:
            images: number of samples in the card; 0 for no picture, as for an upsampler.
            report: scores to show in the card, such as `adm.evaluate` returns.
            overwrite: whether to replace an existing folder.

        Raises:
            SettingError: the pipeline has an upsampler, or several classifiers.
            OSError: the folder cannot be written, or is not empty without `overwrite`.
        """
        return self.pretrained(images, report).save(folder, overwrite)

    def push_to_hub(
        self,
        name: str,
        *,
        images: int = 16,
        report: "Scored | None" = None,
        private: bool = True,
        **options: Any,
    ) -> str:
        """Write the model to a repository of the hub, as `save_pretrained` does to a folder.

        Args:
            name: owner/name, or owner/name@branch.
            private: whether a repository that is created is.
            options: token, and those of `huggingface_hub.HfApi.upload_folder`: commit_message, ...

        Returns:
            The address of the commit.

        Raises:
            SettingError: the name has another form; and as `save_pretrained`.
            ValueError: the hub refuses, or cannot be reached.
        """
        repository = hub.Repository.parsed(name)
        hub.package_for(repository)  # before samples are made
        return self.pretrained(images, report).push(repository, private, **options)

    @staticmethod
    def from_pretrained(
        name: str | Path,
        *,
        revision: str | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> "Pipeline":
        """Load a model with its classifier from the hub, or from a folder of `save_pretrained`.

        Args:
            name: owner/name, or the path of the folder.
            revision: a branch, a tag or a commit of the repository.
            device: as of `load`.
            options: of `huggingface_hub.snapshot_download`: token, cache_dir, local_files_only, ...

        Raises:
            ValueError: as `load`.
        """
        folder = at_home(name)
        if not folder.is_dir():
            repository = hub.Repository.parsed(f"{name}@{revision}" if revision else str(name))
            folder = hub.snapshot(repository, **options)
        elif revision is not None or options:
            raise SettingError("revision", f"{literal(str(name))} is a folder; leave {{}} out")
        return load(folder, device=device)


def load(
    model: str | Path,
    classifier: OneOrSeveral = None,
    upsampler: str | Path | None = None,
    device: str | torch.device | None = None,
    weak: DiffusionModel | str | Path | None = None,
) -> Pipeline:
    """Load a diffusion model for sampling.

    Args:
        model: a shipped name such as "fashion", a model file, a run folder, one of the released
            .pt files, or hf:owner/name of a repository of the Hugging Face hub.
        classifier: the classifier that guides if the scale is not 0: a model, name or path. By
            default the one shipped with a shipped model, the released one beside a released file,
            or the one in the folder of a repository. A noisy classifier guides at x_t, one of clean
            images at the estimate of x_0. Of several, `guide="classifier:scale=2,by=NAME"` names
            one, and the first guides by default.
        upsampler: name or path of an upsampler to apply to the images.
        device: such as "cpu" or "cuda:1"; the best available by default.
        weak: the weak model of autoguidance, for `guide="weak:scale=1.5"`: a model, name or path,
            such as an earlier checkpoint of the same run. By default the one shipped with a shipped
            model, or the one in the folder of a repository.

    Raises:
        ValueError: there is no such model or device, the file is damaged, or it is a classifier.
    """
    place = pick(device)
    # Refuses missing models; `Pipeline` loads these on first use.
    one = isinstance(classifier, ClassifierModel | str | Path)
    given = (classifier,) if one else tuple(classifier or ())
    for each in (*given, weak):
        if isinstance(each, str | Path):
            paths.resolve(each)
    loaded = load_diffusion(model, place)
    larger = None if upsampler is None else load_diffusion(upsampler, place)
    guides = given or tuple(filter(None, [classifier_of(model, loaded.path)]))
    return Pipeline(loaded, guides, larger, weak_of(model, loaded.path) if weak is None else weak)


def _job(
    generator: Generator,
    classes: Classes | None,
    count: int | None,
    inputs: Tensor | None,
) -> Job:
    """Return the job of a generator, by default with one image for each of `inputs`."""
    if inputs is not None and classes is None and count is None:
        count = len(inputs)
    labels, number = labels_of(classes, generator.classes, count)
    return Job(generator, labels, number, inputs)
