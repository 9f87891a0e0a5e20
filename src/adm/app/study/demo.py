"""Shipped models -> samples, scores, and a page that shows them as they come."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adm.app.report import Block, ImageGrid, ImageRow, Note, Title
from adm.app.report import page as page_of
from adm.app.report.page import tiles
from adm.app.study.page import PAGE, claims, data_files, tables
from adm.app.study.run import Result, run
from adm.app.study.scoring import Scorer, Scoring
from adm.app.study.study import POINTS, SAMPLES, Axis, CacheFile, Study, balanced_labels
from adm.app.study.timing import TimedJob
from adm.features import open_features
from adm.generation.folder import holds, images_of, sample_into
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline, load
from adm.images import to_uint8
from adm.models.load import load_classifier
from adm.models.paths import SHIPPED
from adm.pictures import grid, webp
from adm.processes import Devices
from adm.progress import progress
from adm.scoring import load_reference
from adm.spec import out_of_range
from adm.store import files

UNLABELLED, CLASSIFIER, GUIDED_TO = "fashion-unlabelled", "fashion-classifier", "ankle-boot"
SCALES, STEPS = (0.0, 1.0, 4.0, 10.0), 10
BOOTS = 16  # images at each scale
EMOJI, UPSAMPLER, STUDENT = "emoji", "emoji-upsampler", "emoji-fast"
ODE = "unipc:order=2,eta=0"  # which students learn, from the same noise to the same image
LEFT_OUT = "activities"  # which have little in common; two images of 8 classes fill a block
JUDGE, REFERENCE = "fashion-judge", "fashion-reference.npz"
ACROSS, LINE = 8, 4  # images in a line, and where they are larger
FILM, FRAME, LAST = "film.webp", 300, 3000  # milliseconds of a frame, and of the last
REFRESH = 2  # seconds after which a browser reads the page again
CPU = Devices(torch.device("cpu"))  # where samples are scored

TIME = 15.0  # seconds for the images of classes
LEAST, MOST = 2, 10  # images of each class that are planned
MOST_EMOJI = 4  # of each class
# Seconds of a block of emoji, with guidance and without, and of the scored garments at all scales,
# in those of a block of boots at the highest scale. They decide how many images, and need be rough.
OF_EMOJI, OF_SCALES = 4.5, 3.8

TITLE = "adm: diffusion models, and their guidance"
LEAD = "Sampled on this computer by the models that come with adm; no image was selected."
RUNNING = "The demo is running. This page refreshes itself until all is there."
STOPPED = "The demo was stopped. The same command goes on from here."
ABOUT_GUIDANCE = (
    "This model has never seen a label: by itself (scale 0) it makes any garment. A classifier "
    f"guides it to one class, {GUIDED_TO}, the harder the larger the scale. Images at the same "
    "place start from the same noise."
)
ABOUT_EMOJI = (
    "This model knows classes, all but one shown, a column each: {names}. A classifier and a "
    "contrast with a weaker model guide it to clearer images of them, from the same noise."
)
ABOUT_LARGER = (
    "{about} A second model, the upsampler, makes an image of {sides} of the small one, in {cost}."
)
ABOUT_STUDENT = (
    "A student has learned to go from the same noise to nearly the same images in a few large "
    "steps, of one call each."
)
ABOUT_NUMBERS = (
    "The model without labels, guided to all classes of garments in turn: {count} images at each "
    "scale, {plan}. A judge that took no part in sampling says which class it sees."
)


@dataclass(frozen=True)
class Plan:
    """How many images of each class there are.

    Attributes:
        seconds: that a block of boots took, from which it follows; None if the user chose.
    """

    per_class: int
    seconds: float | None = None

    @classmethod
    def fitting(cls, seconds: float) -> "Plan":
        """Return the plan of the most images that fit in `TIME`."""

        def took(per_class: int) -> float:
            emoji = math.ceil(min(per_class, MOST_EMOJI) * ACROSS / BOOTS)
            return seconds * (OF_EMOJI * emoji + OF_SCALES * math.ceil(per_class * 10 / BOOTS))

        fit = [n for n in range(LEAST, MOST + 1) if took(n) <= TIME]
        return cls(max(fit, default=LEAST), seconds)

    def __str__(self) -> str:
        count = f"{self.per_class} of each class"
        if self.seconds is None:
            return f"{count}, as asked"
        measured = f"{BOOTS} guided images took {self.seconds:.1f} s here"
        return f"{count}, planned for about {TIME:.0f} s: {measured}"


@dataclass(eq=False)
class Demo:
    """A folder of samples and scores, and the page that shows them.

    Attributes:
        out: the folder.
        seed: of all images.
        device: that samples; scores are computed on the CPU.
        per_class: images of each class; None for as many as fit in `TIME`.
        tell: called with a line for the user.
        sections: of the page, by title, as far as they have come.
        sampled: whether this process has sampled anything, so that the page has more to show.

    Raises:
        SettingError: `per_class` is less than 2.
    """

    out: Path
    seed: int = 0
    device: torch.device | str = "cpu"
    per_class: int | None = None
    tell: Callable[[str], object] = lambda line: None
    sections: dict[str, Sequence[Block]] = field(default_factory=dict, init=False)
    sampled: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.per_class is not None and self.per_class < LEAST:
            allowed = f"at least {LEAST}"
            raise out_of_range("per_class", allowed, self.per_class, "scores need two images")

    def run(self) -> Result:
        """Sample and score what is missing; the page has each picture as soon as it exists.

        The same call gives the same images, and resumes after an interruption.

        Returns:
            The scores of the model without labels at each scale.

        Raises:
            SettingError: a folder has other samples.
        """
        (self.out / SAMPLES).mkdir(parents=True, exist_ok=True)
        if not (self.out / PAGE).exists():
            self._write(RUNNING)
        try:
            plan = self._plan(self._guidance())
            self.tell(f"images: {plan}")
            self._emoji(plan.per_class)
            result = self._numbers(plan)
        except BaseException:
            if self.sampled:
                self._write(STOPPED)
            raise
        for name, content in data_files(result).items():
            files.write_bytes(self.out / name, content)
        self._write(settings=result.manifest)
        return result

    def _guidance(self) -> TimedJob:
        """Show a model without labels guided to one class; return the job of the largest scale."""
        jobs, rows = dict[float, TimedJob](), list[ImageRow]()
        for scale in SCALES:
            classes = [GUIDED_TO] * BOOTS if scale else None
            count = None if scale else BOOTS  # of any class
            job = self._unlabelled.job(classes, count, scale=scale, **self._how)
            jobs[scale] = TimedJob.of(job)
            lines = self._sample(f"{GUIDED_TO}-{scale:g}", jobs[scale]).split(ACROSS)
            rows.append(ImageRow(f"scale {scale:g}", [tiles(line, ACROSS) for line in lines]))
            self._show("What guidance does", ABOUT_GUIDANCE, ImageGrid(rows, across=ACROSS))
        return jobs[max(SCALES)]

    def _plan(self, job: TimedJob) -> Plan:
        """Return the plan of an earlier call, or one by what the user says, or by a job's time."""
        kept = CacheFile[Plan](self.out / POINTS / "plan.json", job.manifest(), Plan)
        plan, asked = kept.read(), self.per_class
        if plan is not None and asked in (None, plan.per_class):
            return plan
        new = Plan(asked) if asked else Plan.fitting(job.measure() * BOOTS)
        if plan is None:
            kept.write(asdict(new))
        return new

    def _emoji(self, per_class: int) -> None:
        """Show emoji without guidance and with it, as they come, enlarged, and by a student."""
        model = load(EMOJI, device=self.device)
        chosen = [label for label, name in enumerate(model.classes) if name != LEFT_OUT]
        labels = balanced_labels(chosen, len(chosen) * min(per_class, MOST_EMOJI))
        free = model.job(labels, guide="none", sampler=ODE, **self._how)
        guided = model.job(labels, sampler=ODE, **self._how)
        names = ", ".join(model.classes[label] for label in chosen)
        title, about = "With guidance and without", ABOUT_EMOJI.format(names=names)
        pictures = [("without guidance", tiles(self._sample("emoji-unguided", free), ACROSS))]
        self._show(title, about, _columns(pictures, ACROSS))
        images = self._sample("emoji", guided)
        pictures.append(("with guidance", tiles(images, ACROSS)))
        self._show(title, about, _columns(pictures, ACROSS))

        few = replace(guided, labels=labels[:ACROSS], count=ACROSS)
        pictures = [("from noise", self._film(few, images[:ACROSS]))]
        title, about = "From noise to image", "Each step takes some noise away."
        self._show(title, about, _columns(pictures, LINE))
        upsampler = load(UPSAMPLER, device=self.device)
        inputs = images[:ACROSS].contiguous()
        larger = upsampler.job(few.label_tensor, inputs=inputs, seed=self.seed)
        sides = [" x ".join(map(str, each.shape[1:])) for each in (model, upsampler)]
        pictures.append((sides[0], tiles(inputs, LINE)))
        pictures.append(
            (f"{sides[1]}, by an upsampler", tiles(self._sample("emoji-large", larger), LINE))
        )
        about = ABOUT_LARGER.format(about=about, sides=sides[1], cost=larger.cost)
        self._show(title, about, _columns(pictures, LINE))

        again = labels[: 2 * ACROSS]
        student = load(STUDENT, device=self.device).job(again, seed=self.seed)
        pictures = [
            (f"teacher: {guided.cost}", tiles(images[: len(again)], ACROSS)),
            (f"student: {student.cost}", tiles(self._sample(STUDENT, student), ACROSS)),
        ]
        self._show("In fewer calls", ABOUT_STUDENT, _columns(pictures, ACROSS))

    def _numbers(self, plan: Plan) -> Result:
        """Show the scores of the model without labels, guided to every class at each scale."""
        model = self._unlabelled
        labels = balanced_labels(range(len(model.classes)), len(model.classes) * plan.per_class)
        axis = Axis("scale", SCALES)
        study = Study(UNLABELLED, model, (axis,), labels, len(labels), self._how)
        features = open_features(JUDGE)
        scorer = Scorer(features, load_reference(SHIPPED / REFERENCE, features))
        scoring = Scoring([scorer], load_classifier(JUDGE), labels)
        result = run(study, scoring, self.out, devices=CPU)
        about = ABOUT_NUMBERS.format(count=len(labels), plan=plan)
        scores = [*claims(result, result.networks[0], axis), *tables(result)]
        self._show("In numbers", about, *scores, Note(result.notes, "quiet"))
        return result

    @cached_property
    def _unlabelled(self) -> Pipeline:
        return load(UNLABELLED, classifier=CLASSIFIER, device=self.device)

    @property
    def _how(self) -> dict[str, Any]:
        return {"steps": STEPS, "seed": self.seed}

    def _sample(self, name: str, job: Job) -> Tensor:
        """Return the images of a job, (N, C, H, W) uint8, which are sampled unless they exist."""
        place = self.out / SAMPLES / name
        if not holds(place, job):
            self.sampled = True
            with progress(f"sampling {name}", job.evaluations, "network evaluations") as advance:
                sample_into(place, job, on_step=advance)
        return images_of(place)

    def _film(self, job: Job, images: Tensor) -> bytes:
        """Return an animation of x_t at every step, which ends with the images of a job."""
        path = self.out / FILM
        if not path.exists():
            indices, generator = range(job.count), job.generator
            states = generator.trajectory(job.label_tensor, indices)
            noisy = [generator.x_start(indices), *(state.x for state in states)][:-1]
            frames = [grid(each, LINE, clear=True) for each in [*map(to_uint8, noisy), images]]
            files.write_bytes(path, webp(frames, [FRAME] * len(noisy) + [LAST]))
        return path.read_bytes()

    def _show(self, title: str, about: str, *blocks: Block) -> None:
        """Set a section of the page."""
        self.sections[title] = [Title(title), Note([about]), *blocks]
        if self.sampled:
            self._write(RUNNING)

    def _write(self, state: str = "", settings: object = None) -> None:
        """Write the page as it is; one that runs is read again by the browser."""
        blocks = [Note([state], "result")] if state else []
        blocks += [block for section in self.sections.values() for block in section]
        refresh = REFRESH if state == RUNNING else None
        text = page_of(TITLE, blocks, lead=LEAD, settings=settings, refresh=refresh)
        files.write_text(self.out / PAGE, text)


def _columns(pictures: Sequence[tuple[str, bytes]], across: int) -> ImageGrid:
    """Return pictures side by side, each with its heading."""
    headings, images = zip(*pictures, strict=True)
    return ImageGrid([ImageRow("", images)], headings, across)
