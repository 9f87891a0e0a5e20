"""Demo -> HTML string; Demo -> report.html, its pictures, samples/ and emoji/ in a folder."""

import json
import math
import platform
import shutil
from collections.abc import Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import torch
from jinja2 import Environment, select_autoescape
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from adm.app.study.demo import CASCADE, MANIFEST, REPORT, SAMPLES, SCORES
from adm.app.study.demo.cascade import PER_CLASS, SCALE, Cascade
from adm.app.study.demo.run import SHOWN, Column, Demo, manifest
from adm.data.export import file_names, write_images
from adm.data.naming import ANIMATION, SHEET
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.pictures import Row, data_uri, grid, png, sheet
from adm.samplers.words import to_json
from adm.store.files import write_bytes, write_json, write_text
from adm.store.hashes import seal

LEAST, PIXELS = 84, 1 << 22  # of the side of a tile; of all tiles
INK, ACCENT, PALE = "#1b1f24", "#0b6e8f", "#9aa4ad"


def page(demo: Demo) -> str:
    """Return the report as self-contained HTML."""
    models, columns = demo.models, demo.columns
    teacher = next(c for c in columns if c.scale == demo.animated)
    beside = [teacher, *demo.distilled]
    text = resources.files("adm.app.study.demo").joinpath("report.html").read_text("utf-8")
    environment = Environment(autoescape=select_autoescape(default=True, default_for_string=True))
    return environment.from_string(text).render(
        columns=columns,
        images=demo.images,
        classes=models.model.classes,
        rows=strips(columns, models.model.classes),
        beside=beside,
        beside_rows=strips(beside, models.model.classes),
        curve=data_uri(curve(columns, models.reference.accuracy)),
        reference=models.reference,
        film=data_uri(demo.film, "gif"),
        animated=demo.animated,
        cascade=demo.cascade,
        cascade_scale=SCALE,
        cascade_rows=enlargements(demo.cascade),
        seconds=demo.seconds,
        settings=json.dumps(_described(demo), indent=1),
    )


def write(folder: Path, demo: Demo) -> None:
    """Write the report, its pictures, and all images.

    Those of the columns are written to samples/, with scales in their names, and those of the
    cascade to emoji/, a sample folder.
    """
    columns, classes = demo.columns, demo.sweep.classes
    everything = [*columns, *demo.distilled]
    images = torch.cat([c.images for c in everything])
    labels = torch.cat([c.labels for c in everything])
    indices = [i for c in everything for i in range(len(c.labels))]
    notes = [f"scale{c.scale:g}" for c in columns for _ in c.labels]
    notes += [f"scale{c.scale:g}-student{c.steps}" for c in demo.distilled for _ in c.labels]
    names = file_names(len(labels), labels, classes, demo.sweep.base.seed, indices, notes)
    write_images(folder / SAMPLES, images, labels, names)
    shutil.copytree(demo.cascade.folder, folder / CASCADE)
    write_bytes(folder / SHEET, png(contact_sheet(columns, classes)))
    write_bytes(folder / ANIMATION, demo.film)
    write_text(folder / REPORT, page(demo))
    write_json(folder / SCORES, scores(demo))
    write_json(folder / MANIFEST, manifest(demo.models, demo.sweep))
    seal(folder)


def scores(demo: Demo) -> dict[str, Any]:
    """Return the scores of every scale, of the student and of real images, as JSON values."""
    real = {"fidelity": demo.models.reference.accuracy, "diversity": 1.0}
    return {
        "scales": [_scored(column) for column in demo.columns],
        "student": [_scored(column) for column in demo.distilled],
        "real": real,
    }


def _scored(column: Column) -> dict[str, Any]:
    found = column.scores
    return {
        "scale": column.scale,
        "steps": column.steps,
        "fidelity": found.fidelity._asdict(),
        "diversity": found.diversity,
        "frechet": found.frechet,
        "count": found.count,
    }


def contact_sheet(columns: Sequence[Column], classes: Sequence[str]) -> Image.Image:
    """Draw the first samples of each class: classes by row, scales by column."""
    rows = [
        Row(name, [image for column in columns for image in _first(column, label)])
        for label, name in enumerate(classes)
    ]
    each = min(SHOWN, len(columns[0].labels) // len(classes))
    largest = math.isqrt(PIXELS // (len(rows) * each * len(columns)))
    headings = [(f"scale {column.scale:g}", each) for column in columns]
    return sheet("", headings, rows, LEAST, largest)


def _first(column: Column, label: int) -> Tensor:
    return column.images[column.labels == label][:SHOWN]


def strips(columns: Sequence[Column], classes: Sequence[str]) -> list[list[str]]:
    """Draw the first samples of each class, classes by row and columns by column; see `strip`."""
    return [[strip(column, label) for column in columns] for label in range(len(classes))]


def strip(column: Column, label: int) -> str:
    """Draw the first samples of one class side by side; return a data URI of the PNG."""
    return _beside(_first(column, label))


def enlargements(cascade: Cascade) -> list[list[str]]:
    """Draw the images of each class, classes by row: small ones, then the same enlarged."""
    drawn = (cascade.small, cascade.large)
    return [
        [_beside(images[cascade.labels == label]) for images in drawn]
        for label in range(len(cascade.classes))
    ]


def _beside(images: Tensor) -> str:
    return data_uri(png(grid(images, len(images))))


def curve(columns: Sequence[Column], real_accuracy: float) -> bytes:
    """Plot fidelity against diversity for every scale; return a PNG."""
    figure = Figure(figsize=(5.4, 3.6), dpi=192, layout="constrained")
    axes = figure.subplots()
    x = [c.scores.diversity for c in columns]
    y = [100 * c.scores.fidelity.value for c in columns]
    low = [100 * (c.scores.fidelity.value - c.scores.fidelity.low) for c in columns]
    high = [100 * (c.scores.fidelity.high - c.scores.fidelity.value) for c in columns]
    axes.axhline(100 * real_accuracy, color=PALE, lw=1, ls="--")
    axes.plot(1.0, 100 * real_accuracy, "*", color=INK, ms=12, label="real test images")
    axes.errorbar(
        x,
        y,
        yerr=[low, high],
        fmt="o-",
        color=ACCENT,
        ecolor=PALE,
        capsize=3,
        label="samples, by scale",
    )
    for i, (column, a, b) in enumerate(zip(columns, x, y, strict=True)):
        axes.annotate(
            f"{column.scale:g}",
            (a, b),
            xytext=(6, -14 if i % 2 else 7),
            textcoords="offset points",
            fontsize=9,
            color=INK,
        )
    axes.set_xlabel("diversity: distance within a class, real images = 1")
    axes.set_ylabel("fidelity: classified correctly by the judge, %")
    axes.invert_xaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return png(figure)


def _described(demo: Demo) -> dict[str, object]:
    models, columns = demo.models, demo.columns
    return {
        "sampling": to_json(demo.sweep.base) | {"scale": [c.scale for c in columns]},
        "images": {
            "per class and scale": demo.sweep.count // len(demo.sweep.classes),
            "in all": demo.images,
            "noise": "image i of every scale: Philox, key (seed, i), counter (level)",
        },
        "model": _trained(models.model),
        "classifier": _trained(models.classifier),
        "student": _trained(models.student) | {"sampling": to_json(models.student.recipe.sample)},
        "judge": _trained(models.judge),
        "emoji": {
            "model": _trained(models.cascade.base),
            "classifier": _trained(models.cascade.classifier),
            "upsampler": _trained(models.cascade.upsampler),
            "per class": PER_CLASS,
            "scale": SCALE,
        },
        "versions": {
            "adm": version("ablated-diffusion"),
            "torch": version("torch"),
            "numpy": version("numpy"),
            "matplotlib": matplotlib.__version__,
            "python": platform.python_version(),
        },
    }


def _trained(model: DiffusionModel | ClassifierModel) -> dict[str, object]:
    return {"recipe": model.recipe.name, "steps": model.trained_steps}
