"""adm sweep MODEL --vary NAME=VALUES --reference REF --out DIR -> samples, scores, report.html."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adm.app.cli import places
from adm.app.cli.options import SEPARATED, SEVERAL, THEIR_FEATURES, Model, Resize, Split
from adm.app.cli.output import OUT, AsJson, say, show, table
from adm.app.cli.sampling import MODELS, Models

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.study.run import Result

SCALES = "scale=0,0.5,1,2,4,8"


def sweep(
    model: Model,
    /,
    *,
    vary: Annotated[tuple[str, ...], SEVERAL] = (SCALES,),
    reference: Annotated[tuple[str, ...], SEPARATED],
    out: Annotated[Path, OUT],
    models: Models = MODELS,
    count: int = 1000,
    classes: str | None = None,
    proportions: str | None = None,
    features: Annotated[tuple[str, ...] | None, SEPARATED, THEIR_FEATURES] = None,
    resize: Resize = None,
    split: Split = "train",
    judge: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    as_json: AsJson = False,
) -> None:
    r"""Score samples at several values of any settings, and plot what changes.

    Samples the model at every combination of the values, from the same noise, and scores each set
    of samples; notes the network calls and the seconds of an image, and marks the points that no
    other one beats in both time and the first score. Writes report.html, a single file of figures,
    sample grids and tables; report.csv, report.json, and the figures as PNG; and the samples of
    every point in samples/. An interrupted command resumes when it is run again, and torchrun
    distributes it over several devices.

    Examples:

        adm sweep fashion --reference fashion-mnist --split test --features fashion-judge --out out

        adm sweep fashion --vary scale=0,1,2,4 --vary sampler=ddim,unipc --vary steps=10,25 \
            --reference fashion.npz --out out/samplers

    Parameters
    ----------
    vary
        A setting of sampling and its values, by default scale=0,0.5,1,2,4,8; may be given several
        times, and with one value for a setting of all points. What follows a colon belongs to one
        value, as in grid=karras:end=3,levels:3,40,980. scale=0 is no guidance by the classifier,
        and guide=none no guidance at all.
    reference
        References to score samples against: files of `adm reference`, one for each of the features;
        or data, from which references are computed once and stored in the folder. Several are
        separated by commas; the first of the features decides what is best.
    out
        Folder to write or to resume.
    count
        Images per point. Distances of few images are biased, and comparable within one folder only.
    classes
        Classes to sample, in turn: names, separated by commas. By default all.
    proportions
        List of labels, a .csv file, whose proportions of classes to sample.
    judge
        Classifier of clean images whose accuracy on the samples is reported as well.
    seed
        Random seed. Each image depends on the seed and its index only.
    batch_size
        Images per batch of the features, which affects scores only by rounding.
    """
    places.resumable(out, "a study needs")
    from adm.app.study.page import PAGE
    from adm.app.study.study import axis
    from adm.app.study.sweep import sweep as library
    from adm.generation.pipeline import load
    from adm.models.device import join_ranks

    devices = join_ranks(models.device)
    result = library(
        load(model, models.classifier, device=devices.device, weak=models.weak),
        vary=[axis(text) for text in vary],
        reference=reference,
        out=out,
        features=features,
        count=count,
        classes=classes,
        proportions=proportions,
        judge=judge,
        split=split,
        resize=resize,
        seed=seed,
        batch_size=batch_size,
        devices=devices,
    )
    if devices.main:
        show(result.to_json, as_json, lambda: _print(result))
        say(f"{out / PAGE}: open it in a browser; report.csv has the numbers", as_json)


def _print(result: "Result") -> None:
    """Print the cost and the first score of every point; a star marks what nothing beats."""
    from adm.app.study.page import seconds_text

    points = result.points
    first = next(iter(points[0].scores))
    column = [each.scores[first] for each in points]
    rows = [
        (
            f"{'*' if each.unbeaten else ' '} {str(point) or result.study.name}",
            f"{each.calls.network:,} + {each.calls.classifier:,}",
            seconds_text(each.seconds),
            each.scores[first].text(column),
        )
        for point, each in zip(result.study.points, points, strict=True)
    ]
    title = f"{first} by point; no other beats those with a *"
    table(rows, ("point", ">calls", ">seconds", ">score"), title)
