"""Job -> Layout, the images that its contact sheet shows; Layout, images -> PIL image."""

import math
from itertools import groupby, pairwise
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from adm.generation.job import Job
from adm.pictures import Row, sheet
from adm.shown import count_of

MOST_CLASSES, MOST_OF_CLASS = 24, 16
MOST = MOST_CLASSES * MOST_OF_CLASS
MOST_UNLABELLED = 256
LEAST, LARGEST = 112, 512  # pixels of the longer side of a tile
PIXELS = 1 << 22  # of all tiles


class Layout(NamedTuple):
    """Places of images in a contact sheet.

    Attributes:
        rows: name of each row, and the indices of its images.
        note: what is left out, as a sentence; empty if all images are shown.
    """

    rows: list[tuple[str, list[int]]]
    note: str

    @property
    def indices(self) -> list[int]:
        """The indices of all images, row by row."""
        return [index for _, row in self.rows for index in row]

    @property
    def columns(self) -> int:
        return max(len(row) for _, row in self.rows)


def contact_sheet(job: Job, images: Tensor) -> Image.Image:
    """Draw the images of a job: a row for each class, or a square without classes.

    Images that are made from inputs, as edits are, have a row for each input, beside it.

    Images are enlarged by an integer factor, or reduced if there are many large ones. Of many
    images and classes only some are shown, and a line says which.

    Args:
        images: (N, C, H, W) uint8, all images of the job.
    """
    if job.inputs is not None and job.generator.input_pictures(job.inputs[0]):
        return _beside_inputs(job, job.inputs, images)
    plan = layout(job)
    return draw(plan, images[plan.indices])


def layout(job: Job, most: int = MOST) -> Layout:
    """Choose the images that are shown: the first of each class, or of all without classes.

    Args:
        most: most images; at least `MOST_CLASSES`.
    """
    if job.labels is None:
        return _square(job.count, min(most, MOST_UNLABELLED))
    by_label: dict[int, list[int]] = {}
    for index, label in enumerate(job.labels):
        by_label.setdefault(label, []).append(index)
    used = sorted(by_label)
    if len(used) > MOST_CLASSES:  # spread evenly, from the first to the last
        last = len(used) - 1
        used = [used[round(i * last / (MOST_CLASSES - 1))] for i in range(MOST_CLASSES)]
    columns = min(MOST_OF_CLASS, most // len(used))
    rows = [(job.generator.classes[label], by_label[label][:columns]) for label in used]
    parts = [f"{len(used)} of {len(by_label)} classes"] if len(used) < len(by_label) else []
    if any(len(by_label[label]) > columns for label in used):
        parts.append(f"the first {count_of(columns, 'image')} of each{'' if parts else ' class'}")
    return Layout(rows, f"Shown: {', '.join(parts)}." if parts else "")


def draw(plan: Layout, images: Tensor, pixels: int = PIXELS) -> Image.Image:
    """Draw images in the places of a layout.

    Args:
        images: (len(plan.indices), C, H, W) uint8, in the order of `plan.indices`.
        pixels: most pixels of all tiles together.
    """
    largest = min(LARGEST, math.isqrt(pixels // (len(plan.rows) * plan.columns)))
    rows, start = list[Row](), 0
    for name, indices in plan.rows:
        rows.append(Row(name, list(images[start : start + len(indices)])))
        start += len(indices)
    return sheet(plan.note, [("", plan.columns)], rows, LEAST, largest)


def _beside_inputs(job: Job, inputs: Tensor, images: Tensor) -> Image.Image:
    """Draw images beside their inputs: a row for each input."""
    new = (inputs[1:] != inputs[:-1]).flatten(1).any(dim=1).nonzero()[:, 0] + 1
    runs = list(pairwise([0, *new.tolist(), job.count]))
    shown = [range(start, min(stop, start + MOST_OF_CLASS)) for start, stop in runs[:MOST_CLASSES]]
    widest = max(shown, key=len)
    after = job.generator.input_pictures(inputs[0])[1:]
    columns = [job.labels[i] if job.labels else None for i in widest]
    same = all(job.labels is None or [job.labels[i] for i in row] == columns for row in shown)
    names = job.generator.classes
    headings = [("from", 1)]
    for label, group in groupby(columns if same else [None] * len(widest)):
        headings.append(("" if label is None else names[label], len(list(group))))
    headings += [("to" if len(after) == 1 else "", len(after))] * bool(after)
    rows = list[Row]()
    for row in shown:
        first, *others = job.generator.input_pictures(inputs[row.start])
        rows.append(Row("", [first, *images[row.start : row.stop], *others]))
    note = "" if len(runs) <= len(shown) else f"Shown: the first {len(shown)} of {len(runs)} rows."
    wide = len(widest) + len(after) + 1
    largest = min(LARGEST, math.isqrt(PIXELS // (len(rows) * wide)))
    return sheet(note, headings, rows, LEAST, largest)


def _square(count: int, most: int) -> Layout:
    shown = min(count, most)
    columns = math.ceil(shown**0.5)
    rows = [list(range(i, min(i + columns, shown))) for i in range(0, shown, columns)]
    note = f"Shown: the first {shown} of {count} images." if shown < count else ""
    return Layout([("", row) for row in rows], note)
