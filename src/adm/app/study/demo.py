"""Shipped models, guidance scales -> samples, what a judge says of them, and a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure as Drawing

from adm.app.report import Block, Figure, ImageRow, Images, Note, Table, Title
from adm.app.report import page as page_of
from adm.app.report.pictures import tiles
from adm.app.scoring.manifest import versions
from adm.app.study.judge import Reference, Scores, load_reference, score
from adm.app.study.page import MODELS, SAME_NOISE, grid_of, rows_of
from adm.app.study.study import SAMPLES, as_text
from adm.cached import Cached
from adm.data.naming import ANIMATION
from adm.generation.animation import cost
from adm.generation.folder import holds, images_of, sample_into
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline, load
from adm.models.load import load_classifier
from adm.models.paths import SHIPPED
from adm.models.trained import ClassifierModel
from adm.pictures import png
from adm.spec import SettingError
from adm.store.files import write_json, write_text

REPORT, SCORES = "report.html", "scores.json"
STUDENT, STEPS = "fashion-fast", (4, 2, 1)  # distilled from the guided model; its steps
GUIDED = 2.0  # the scale of the animation, of the student and of the emoji
SMALL, LARGE, OF_CLASS = "emoji", "emoji-large", 2  # folders; images of each class
TITLE = "Classifier guidance on Fashion-MNIST"
LEAD = (
    "A class-conditional diffusion model sampled each image, guided by the gradient of a noisy "
    "classifier. The guidance scale multiplies the gradient."
)
INK, ACCENT, PALE = "#1b1f24", "#0b6e8f", "#9aa4ad"


@dataclass(frozen=True, eq=False)
class Shipped:
    """The models that come with the package, and the judge's measurements of real images.

    Attributes:
        guided: a model of garments, and the classifier that guides it.
        student: distilled from the two; takes fewer steps.
        cascade: a model of emoji in colour, and its upsampler.
    """

    guided: Pipeline
    student: Pipeline
    cascade: Pipeline
    judge: ClassifierModel
    reference: Reference


def shipped(device: torch.device | str = "cpu") -> Shipped:
    """Load the shipped models; the judge stays on the CPU."""
    return Shipped(
        guided=load("fashion", device=device),
        student=load(STUDENT, device=device),
        cascade=load("emoji", upsampler="emoji-upsampler", device=device),
        judge=load_classifier("fashion-judge"),
        reference=load_reference(SHIPPED / "fashion-reference.npz"),
    )


def jobs(models: Shipped, scales: Sequence[float], per_class: int, seed: int) -> dict[str, Job]:
    """Return what the demo samples, by the name of its folder.

    Those are the guided model at each scale, the student at each of its numbers of steps if there
    are images of its scale to compare with, and emoji.

    Raises:
        SettingError: `per_class` is less than 2.
    """
    if per_class < 2:
        raise SettingError("per_class", "at least 2, to measure diversity", per_class)
    labels = [label for label in range(len(models.guided.classes)) for _ in range(per_class)]
    every = {scale_name(s): models.guided.job(labels, scale=s, seed=seed) for s in scales}
    if GUIDED in scales:
        for steps in STEPS:
            job = models.student.job(labels, scale=GUIDED, steps=steps, seed=seed)
            every[f"student-{steps}"] = job
    for name, pipeline in (
        (SMALL, replace(models.cascade, upsampler=None)),
        (LARGE, models.cascade),
    ):
        every[name] = pipeline.job(f"all:{OF_CLASS}", scale=GUIDED, seed=seed)
    return every


def scale_name(scale: float) -> str:
    """Return the name of the folder of a scale."""
    return f"scale-{as_text(float(scale))}"


def is_animated(name: str) -> bool:
    """Whether a folder has an animation from noise to image."""
    return name == scale_name(GUIDED)


def evaluations(jobs: dict[str, Job]) -> int:
    """Return the number of network evaluations of all jobs, with the animation."""
    return sum(job.evaluations + (cost(job) if is_animated(n) else 0) for n, job in jobs.items())


def sample(
    jobs: dict[str, Job],
    out: Path,
    overwrite: bool = False,
    on_step: Callable[[int, str], None] | None = None,
) -> None:
    """Sample all jobs into sample folders in `out`; those that are there already are kept.

    Args:
        on_step: called after every step with the number of images in the block, and a note.

    Raises:
        SettingError: a folder holds other samples.
    """
    (out / SAMPLES).mkdir(parents=True, exist_ok=True)
    for name, job in jobs.items():
        place, film = out / SAMPLES / name, is_animated(name)

        def tell(amount: int, name: str = name) -> None:
            if on_step is not None:
                on_step(amount, name)

        if not overwrite and holds(place, job):
            films = film and (place / ANIMATION).is_file()
            tell(Cached(job.evaluations + (cost(job) if films else 0)))
        sample_into(place, job, on_step=tell, overwrite=overwrite, animate=film)


def judge_samples(models: Shipped, job: Job, folder: Path) -> Scores:
    """Return what the judge says of the samples in a folder."""
    assert job.labels is not None
    # The judge's kernels depend on the strides of images in memory.
    images = images_of(folder).clone(memory_format=torch.contiguous_format)
    return score(models.judge, models.reference, images, torch.tensor(job.labels))


def write(models: Shipped, jobs: dict[str, Job], out: Path) -> dict[str, Any]:
    """Write report.html and scores.json of what `sample` has sampled; return the scores."""
    scores = {
        name: judge_samples(models, job, out / SAMPLES / name)
        for name, job in jobs.items()
        if not name.startswith(SMALL)
    }
    values = {name: of.to_json() for name, of in scores.items()}
    values["real"] = {"fidelity": {"value": models.reference.accuracy}, "diversity": 1.0}
    write_text(out / REPORT, page(models, jobs, scores, out))
    write_json(out / SCORES, values)
    return values


def page(models: Shipped, jobs: dict[str, Job], scores: dict[str, Scores], out: Path) -> str:
    """Return the report as self-contained HTML."""
    by_scale = [name for name in scores if name.startswith("scale")]
    students = [name for name in scores if name.startswith("student")]
    count = sum(job.count for job in jobs.values())
    blocks: list[Block] = [
        Title("Samples: class by row, guidance scale by column"),
        Note([SAME_NOISE]),
        _grid(by_scale, jobs, out),
        Title("Fidelity and diversity"),
        Note([_explained(models.reference)]),
        Figure(
            curve(
                {name.removeprefix("scale-"): scores[name] for name in by_scale},
                models.reference.accuracy,
            ),
            "fidelity against diversity over the guidance scale",
            most=640,
        ),
        _table("scale", by_scale, scores, jobs),
        Note([_warned(jobs[by_scale[0]].count)], "quiet"),
    ]
    if students:
        compared = [scale_name(GUIDED), *students]
        blocks += [
            Title(f"From noise to image, scale {GUIDED:g}"),
            Figure(
                (out / SAMPLES / scale_name(GUIDED) / ANIMATION).read_bytes(),
                "samples of each class at every step of sampling",
                drawn=False,
                most=480,
            ),
            Title(f"Teacher and student, scale {GUIDED:g}"),
            Note(
                [
                    "The student was distilled from the guided sampler. It takes fewer steps of "
                    "one network call each, without the classifier: the scale is an input of its "
                    "network. It starts from the teacher's noise."
                ]
            ),
            _table("", compared, scores, jobs),
            _grid(compared, jobs, out),
        ]
    blocks += _emoji(jobs[LARGE], out / SAMPLES)
    facts = [("images", f"{count:,}"), ("seed", str(jobs[SMALL].generator.seed))]
    return page_of(TITLE, blocks, lead=LEAD, facts=facts, settings=_settings(jobs))


def curve(scores: dict[str, Scores], real_accuracy: float) -> bytes:
    """Plot fidelity against diversity, a point for each set of samples by its name: a PNG."""
    figure = Drawing(figsize=(6.4, 3.6), dpi=160, layout="constrained")
    axes = figure.subplots()
    x = [each.diversity for each in scores.values()]
    shares = [each.fidelity for each in scores.values()]
    y = [100 * share.value for share in shares]
    low = [100 * (share.value - share.low) for share in shares]
    high = [100 * (share.high - share.value) for share in shares]
    axes.axhline(100 * real_accuracy, color=PALE, lw=1, ls="--")
    axes.plot(1.0, 100 * real_accuracy, "*", color=INK, ms=12, label="real test images")
    label = "samples, by scale"
    axes.errorbar(
        x, y, yerr=[low, high], fmt="o-", color=ACCENT, ecolor=PALE, capsize=3, label=label
    )
    for i, (name, a, b) in enumerate(zip(scores, x, y, strict=True)):
        place = (6, -14 if i % 2 else 7)
        axes.annotate(name, (a, b), xytext=place, textcoords="offset points", fontsize=8)
    axes.set_xlabel("diversity within a class, relative to real images")
    axes.set_ylabel("fidelity (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    return png(figure)


def _heading(name: str, job: Job) -> str:
    kind, _, number = name.partition("-")
    if kind == "student":
        return f"student, {number} step{'' if number == '1' else 's'}"
    return f"{kind} {number}"


def _grid(names: Sequence[str], jobs: dict[str, Job], out: Path) -> Images:
    first = jobs[names[0]]
    rows = rows_of(first.labels or [], first.generator.classes, first.count)
    return grid_of({_heading(name, jobs[name]): out / SAMPLES / name for name in names}, rows)


def _table(
    what: str, names: Sequence[str], scores: dict[str, Scores], jobs: dict[str, Job]
) -> Table:
    rows = []
    for name in names:
        own = scores[name]
        share = [100 * each for each in (own.fidelity.value, own.fidelity.low, own.fidelity.high)]
        rows.append(
            [
                _heading(name, jobs[name]).removeprefix(f"{what} "),
                f"{jobs[name].cost.network}",
                f"{jobs[name].cost.classifier}",
                f"{share[0]:.1f}%",
                f"{share[1]:.1f} to {share[2]:.1f}",
                f"{own.diversity:.3f}",
                f"{own.frechet:.2f}",
            ]
        )
    headings = [
        what,
        "network calls",
        "classifier calls",
        "fidelity",
        "95% interval",
        "diversity",
        "Fréchet distance",
    ]
    return Table(headings, rows)


def _explained(reference: Reference) -> str:
    return (
        "The judge is a classifier of clean images that shares neither weights nor training noise "
        "with the classifier that guides. Fidelity is the share of samples that the judge assigns "
        f"to the intended class; it classifies {100 * reference.accuracy:.1f}% of "
        f"{reference.count:,} real test images correctly. Diversity is the mean distance between "
        "two samples of one class in the judge's features, relative to real images; samples of a "
        "wrong class increase it too."
    )


def _warned(count: int) -> str:
    return (
        f"{count} images of each. The Fréchet distance is that of the judge's features. With so "
        "few images it is biased upwards: compare it within one report only. It is not FID, which "
        "is defined on Inception features and 50,000 images."
    )


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
        Images(rows, sides, OF_CLASS),
    ]


def _settings(jobs: dict[str, Job]) -> dict[str, Any]:
    kept = (*MODELS, "sampling", "base")
    made = {name: job.manifest() for name, job in jobs.items()}
    own = {name: {key: each[key] for key in kept if key in each} for name, each in made.items()}
    return {**own, "versions": versions()}
