"""adm evaluate SAMPLES --reference REF -> Report, printed and written as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adm.app.cli import places
from adm.app.cli.options import IMAGES, THEIR_FEATURES, ImageOptions, Resize
from adm.app.cli.output import OUT, AsJson, say, show, table

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.scoring import Report

CLASSES_SHOWN = 20  # rows printed; the file has all


def evaluate(
    samples: str,
    /,
    *,
    reference: str,
    features: Annotated[str | None, THEIR_FEATURES] = None,
    out: Annotated[Path | None, OUT] = None,
    resize: Resize = None,
    count: int | None = None,
    images: ImageOptions = IMAGES,
    resamples: int = 1000,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Score the images of any generator against a reference.

    Computes the Fréchet distance (FID, with Inception's features), sFID, Inception Score (the class
    score of another network: from 1 to the number of its classes, if each sample is surely of one
    and all are as frequent), precision, recall, density, coverage, kernel distance (KID) and
    Gaussian kernel distance, each with its 95% interval; and scores per class if samples and
    reference have labels. With --out or --work, an interrupted command resumes when it is run
    again; torchrun distributes it over several devices.

    Examples:

        adm evaluate out/pairs --reference fashion-mnist --features fashion-judge --out report.json

        adm evaluate samples.npz --reference fashion.npz

        adm evaluate out/samples --reference photos/ --features efficientnet-lite0 --size 64

        torchrun --nproc-per-node 8 -m adm evaluate samples.npz --reference ref.npz --out r.json

    Parameters
    ----------
    samples
        A sample folder, an .npz file (arr_0), a folder of images or its .zip, ...
    reference
        A file of `adm reference`, a released file, or data to compute a reference from.
    out
        JSON file to write the whole report to.
    count
        Score only the first COUNT images.
    resamples
        Bootstrap resamples for each interval.
    seed
        Random seed of the resamples and of the subsets of images.
    """
    if out is not None:
        places.file(out, "--out", "report.json")
    from adm.models.device import join_ranks
    from adm.scoring import Comparison, Extraction, resumable
    from adm.scoring import evaluate as compare

    comparison = Comparison(
        split=images.split,
        **images.form,
        count=count,
        resize=resize,
        resamples=resamples,
        seed=seed,
    )
    devices = join_ranks(images.device)
    with resumable(Extraction(devices, images.batch_size, images.work), out) as extraction:
        report = compare(samples, reference, features, comparison, extraction)
        if out is not None:
            devices.once(lambda: report.save(out))
    if devices.main:
        show(report.to_json, as_json, lambda: print_report(report))
        if out is not None:
            say(f"{out}: the whole report", as_json)


def print_report(report: "Report") -> None:
    """Print the scores, those of the classes, and the warnings unless notices are off."""
    from adm.metrics import Score, title

    names, named = list[str](), report.features
    for side in (report.manifest.get(side, {}) for side in ("generated", "reference")):
        count = side.get("count")
        of = "number of images unknown" if count is None else f"{count:,} images"
        names.append(f"{side.get('source', '?')} ({of})")
    rows = list[tuple[str, ...]]()
    for key, score in report.scores.items():
        rows.append((title(key, named), *score.parts()))
    table(rows, ("score", ">value", ">95% interval"), " against ".join(names))
    if any(value is not None for each in report.classes for value in each[3:]):
        shown, count = report.classes[:CLASSES_SHOWN], len(report.classes)
        more = f", the first {CLASSES_SHOWN} of {count}" if count > CLASSES_SHOWN else ""
        counts = ("class", ">samples", ">real", ">Fréchet distance", ">precision", ">recall")
        of_class = [
            (
                *(each.name, f"{each.generated:,}", f"{each.real:,}"),
                *("" if value is None else Score(value).text() for value in each[3:]),
            )
            for each in shown
        ]
        table(of_class, counts, f"by class ({named}){more}")
    for warning in report.warnings:
        say(f"note: {warning}")
