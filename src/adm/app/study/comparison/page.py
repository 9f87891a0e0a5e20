"""Comparison, Sources -> a self-contained HTML page, and a picture, of the images of each class."""

import json
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from adm.app.scoring import Score
from adm.app.study.comparison.compare import Comparison, OfClass
from adm.app.study.curve import parts
from adm.app.study.page import tiles
from adm.app.study.template import rendered
from adm.data import Source
from adm.pictures import Row, sheet

ACROSS = 6  # images of a row, of each source
TITLE = "Images of a class, side by side"
LEAD = (
    "The first images of each class, not selected. Below them: the mean distance between two "
    "images of the class, which is small where they look alike."
)


def page(
    comparison: Comparison, sources: Sequence[Source], shown: Sequence[str], count: int
) -> str:
    """Render the HTML page.

    Args:
        shown: classes whose images are shown; the table has all.
        count: images of each class and source.
    """
    return rendered(
        "adm.app.study.comparison",
        "compare.html",
        title=TITLE,
        lead=LEAD,
        facts=[
            *((f"images {i}", f"{each.name}, {len(each):,}") for i, each in enumerate(sources, 1)),
            ("features", comparison.features),
        ],
        headings=comparison.sources,
        rows=[
            {
                "name": each.name,
                "cells": [
                    {"picture": tiles(_first(source, indices, count), ACROSS), "told": told(score)}
                    for source, indices, score in zip(
                        sources, each.indices, each.distances, strict=True
                    )
                ],
            }
            for each in _chosen(comparison, shown)
        ],
        table=[
            *(
                (each.name, [told(score) for score in each.distances])
                for each in comparison.classes
            ),
            ("mean", [told(score) for score in comparison.mean()]),
        ],
        settings=json.dumps(comparison.to_json(), indent=1),
    )


def picture(
    comparison: Comparison, sources: Sequence[Source], shown: Sequence[str], count: int
) -> Image.Image:
    """Draw the images of some classes, those of each source side by side."""
    rows = [
        Row(
            each.name,
            [
                tiled(_first(source, indices, count))
                for source, indices in zip(sources, each.indices, strict=True)
            ],
            [told(score) for score in each.distances],
        )
        for each in _chosen(comparison, shown)
    ]
    headings = [(name, 1) for name in comparison.sources]
    side = max(max(image.shape[1:]) for row in rows for image in row.images)
    title = f"{TITLE}; mean distance of two by {comparison.features}"
    return sheet(title, headings, rows, least=2 * side, most=2 * side)


def tiled(images: Tensor) -> Tensor:
    """Tile (N, C, H, W) images in rows of `ACROSS` on white, with a border of 1: (C, h, w)."""
    lacking = -len(images) % ACROSS
    white = images.new_full((lacking, *images.shape[1:]), 255)
    framed = F.pad(torch.cat([images, white]), (1, 1, 1, 1), value=255)
    rows = framed.unflatten(0, (-1, ACROSS))  # (rows, across, C, H, W)
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)


def told(score: Score) -> str:
    """Return a distance and its interval as text."""
    value, interval = parts(score)
    return f"{value} ({interval})" if interval else value


def _chosen(comparison: Comparison, shown: Sequence[str]) -> list[OfClass]:
    return [each for each in comparison.classes if each.name in shown]


def _first(source: Source, indices: Sequence[int], count: int) -> Tensor:
    return source.batch(indices[:count])[0]
