"""Shipped models, guidance scales -> a sweep of the scale, with a student, a film and a cascade."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from adm.app.report import Block, Figure, ImageGrid, ImageRow, Note, Title
from adm.app.report.page import tiles
from adm.app.study.page import grid_of, rows_of, tables, write
from adm.app.study.run import Result, run
from adm.app.study.scoring import Scorer, Scoring
from adm.app.study.study import SAMPLES, Axis, Point, Study
from adm.features import open_features
from adm.generation.folder import add_animation, images_of, sample_into
from adm.generation.job import Job
from adm.generation.pipeline import load
from adm.models.load import load_classifier
from adm.models.paths import SHIPPED
from adm.processes import Devices
from adm.progress import progress
from adm.scoring import load_reference
from adm.spec import out_of_range
from adm.store.samples import ANIMATION

STUDENT, STEPS = "fashion-fast", (4, 2)  # distilled from the guided model; its steps
JUDGE, REFERENCE = "fashion-judge", "fashion-reference.npz"
GUIDED = 2.0  # the scale of the animation, of the student and of the emoji
SMALL, LARGE, OF_CLASS = "emoji", "emoji-large", 2  # folders; images of each class
CPU = Devices(torch.device("cpu"))  # where samples are scored


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo samples.

    Attributes:
        study: the guided model of garments at each scale.
        student: distilled from it, at each of its numbers of steps; None if the guided model is
            not sampled at its scale.
        emoji: a model of emoji in colour, and a cascade of it and its upsampler, by folder.
        scoring: by the features of a judge, against real test images.
    """

    study: Study
    student: Study | None
    emoji: dict[str, Job]
    scoring: Scoring

    @property
    def guided(self) -> Point | None:
        """The point that the animation and the student show."""
        same = [point for point in self.study.points if point.settings["scale"] == GUIDED]
        return same[0] if same else None


def demo(
    scales: Sequence[float], per_class: int, seed: int, device: torch.device | str = "cpu"
) -> Demo:
    """Load the shipped models; the judge stays on the CPU.

    Args:
        scales: of guidance.
        per_class: images of each class and point.

    Raises:
        SettingError: `per_class` is less than 2, or a scale is given twice.
    """
    if per_class < 2:
        raise out_of_range("per_class", "at least 2", per_class, "scores need two images")
    guided, student = load("fashion", device=device), load(STUDENT, device=device)
    labels = [label for label in range(len(guided.classes)) for _ in range(per_class)]
    shared, count = {"seed": seed}, len(labels)
    axis = Axis("scale", tuple(scales)).ordered
    study = Study("fashion", guided, (axis,), labels, count, shared)
    steps = Axis("steps", STEPS)
    fast = Study(STUDENT, student, (steps,), labels, count, shared | {"scale": GUIDED})
    cascade = load("emoji", upsampler="emoji-upsampler", device=device)
    emoji = {
        name: each.job(f"all:{OF_CLASS}", scale=GUIDED, seed=seed)
        for name, each in ((SMALL, replace(cascade, upsampler=None)), (LARGE, cascade))
    }
    features = open_features(JUDGE)
    scorer = Scorer(features, load_reference(SHIPPED / REFERENCE, features))
    scoring = Scoring([scorer], load_classifier(JUDGE), labels)
    return Demo(study, fast if GUIDED in scales else None, emoji, scoring)


def run_demo(demo: Demo, out: Path) -> Result:
    """Sample and score what is missing; write the page of a sweep with more blocks.

    Returns:
        The result of the study of the scale.

    Raises:
        SettingError: a folder has other samples.
    """
    (out / SAMPLES).mkdir(parents=True, exist_ok=True)
    for name, job in demo.emoji.items():
        with progress(f"sampling {name}", job.evaluations, "network evaluations") as advance:
            sample_into(out / SAMPLES / name, job, on_step=advance)
    scored = partial(run, scoring=demo.scoring, out=out, devices=CPU)
    result, more = scored(demo.study), list[Block]()
    if demo.guided is not None and demo.student is not None:
        teacher, fast = out / SAMPLES / demo.guided.name, scored(demo.student)
        more = [*_film(demo.study.job(demo.guided), teacher), *_student(fast, teacher, out)]
    write(result, out, [*more, *_emoji(demo.emoji[LARGE], out / SAMPLES)])
    return result


def _film(job: Job, place: Path) -> list[Block]:
    """Return the animation of samples, which is made if missing."""
    add_animation(place, job)
    about = "samples of each class at every step of sampling"
    return [
        Title(f"From noise to image, scale {GUIDED:g}"),
        Figure((place / ANIMATION).read_bytes(), about, drawn=False, most=480),
    ]


def _student(result: Result, teacher: Path, out: Path) -> list[Block]:
    """Return the scores and the samples of the student, beside those of its teacher."""
    study = result.study
    columns = {f"student, {point}": out / SAMPLES / point.name for point in study.points}
    rows = rows_of(study.labels or [], study.model.classes, study.count)
    return [
        Title(f"Teacher and student, scale {GUIDED:g}"),
        Note(
            [
                "The student was distilled from the guided sampler. It takes fewer steps of one "
                "network call each, without the classifier: the scale is an input of its network. "
                "It starts from the teacher's noise."
            ]
        ),
        *tables(result),
        Title("Samples from the same noise, a class by row", 3),
        grid_of({"teacher": teacher, **columns}, rows),
    ]


def _emoji(job: Job, folder: Path) -> list[Block]:
    small, large = (images_of(folder / name) for name in (SMALL, LARGE))
    labels = torch.tensor(job.labels)
    rows = []
    for label, name in enumerate(job.generator.classes):
        pictures = [tiles(images[labels == label], OF_CLASS) for images in (small, large)]
        rows.append(ImageRow(name, pictures))
    sides = [" x ".join(map(str, images.shape[2:])) for images in (small, large)]
    return [
        Title(f"Emoji, scale {GUIDED:g}: {sides[0]} samples, and the same enlarged to {sides[1]}"),
        Note(
            [
                "A cascade: a second diffusion model, the upsampler, samples the larger image from "
                "noise, given the smaller one and its class. Each enlarged image took "
                f"{job.cost}."
            ]
        ),
        ImageGrid(rows, sides, OF_CLASS),
    ]
