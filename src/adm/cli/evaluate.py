"""adm evaluate SAMPLES --reference REF -> FID and other scores with intervals, and a report."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.cli.scoring import (
    extracted,
    features_named,
    joined,
    parse_size,
    part,
    with_cache,
    with_progress,
)

if TYPE_CHECKING:
    from adm.data import Source
    from adm.evaluation import Extraction, Reference
    from adm.features import Features

DEFAULT_FEATURES = "inception"


def evaluate(
    samples: str,
    /,
    *,
    reference: str,
    features: str | None = None,
    out: Path | None = None,
    resize: str | None = None,
    split: str = "train",
    size: str | None = None,
    channels: int | None = None,
    count: int | None = None,
    work: Path | None = None,
    batch_size: int = 64,
    resamples: int = 1000,
    seed: int = 0,
    float16: Annotated[bool, Parameter(negative="")] = False,
    device: str | None = None,
) -> None:
    """Score images of any generator against real ones.

    Fréchet distance (FID, with Inception's features), sFID, Inception Score, precision, recall,
    density, coverage and kernel distance (KID), each with its 95% interval; and the scores of each
    class if samples and reference have labels. An interrupted command resumes where it stopped, and
    torchrun spreads it over several devices.

    Examples:

        adm evaluate out/samples --reference VIRTUAL_imagenet64_labeled.npz --out report.json

        adm evaluate samples.npz --reference fashion.npz

        adm evaluate out/samples --reference photos/ --features efficientnet-lite0 --size 64

        torchrun --nproc-per-node 8 -m adm evaluate samples.npz --reference ref.npz --out r.json

    Parameters
    ----------
    samples
        A sample folder, an .npz file (arr_0), a folder of images, an archive, ...
    reference
        A file of `adm reference`, a released one, or data to make one from.
    features
        inception, efficientnet-lite0, dinov2, a classifier's file, or module:function; those of
        the reference by default.
    out
        A JSON file for the whole report.
    resize
        For images of another size than the reference's: to-reference resizes them, none leaves
        both to the network's own preprocessing.
    split
        Of a reference that is data: train or test.
    size
        H,W or one number: image files are resized and cropped to it, and real images in smaller
        arrays are padded.
    channels
        1, 3 or 4; by default 3 for image files, and those of arrays.
    count
        Score only the first COUNT samples.
    work
        A folder that caches the features of every image; several machines need one that all can
        access. By default it is beside --out, and removed at the end.
    batch_size
        Images per call of the network; changes memory, speed, and the last digits at most.
    resamples
        Bootstrap resamples for each interval.
    seed
        Of the resamples and subsets.
    float16
        Add precision and recall in half precision, as the released evaluator computes them on a
        GPU.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    """
    from rich.console import Console

    from adm.evaluation import Extraction, Reference, open_images, report_on
    from adm.evaluation.evaluate import at_size
    from adm.evaluation.opening import first
    from adm.evaluation.reference import stored_statistics
    from adm.evaluation.scores import FLOAT16, USUAL

    _check_options(out, resamples, seed)
    devices = joined(device)
    shape = parse_size(size), channels
    opened = open_images(samples, size=shape[0], channels=channels, pad=False)
    source = opened.source if count is None else first(opened.source, count)
    against = _opened(reference, split, shape)
    real_size = against.size if isinstance(against, Reference) else against.shape[1:]
    source = at_size(source, real_size, resize)
    with with_cache(Extraction(devices, batch_size, work), out) as extraction:
        chosen, real = _with_features(against, features, part(extraction, "reference"))
        generated = extracted(chosen, source, part(extraction, "samples"))
        unchanged = all(each is None for each in (count, resize, channels))
        stored = stored_statistics(samples, chosen) if unchanged else None
        if stored is not None:
            generated = replace(generated, stored=stored[0], stored_spatial=stored[1])
        report = report_on(
            generated,
            real,
            devices=devices,
            resamples=resamples,
            seed=seed,
            only=(*USUAL, *(FLOAT16 if float16 else ())),
            made=opened.made,
            resize=resize,
        )
        if out is not None:
            devices.once(lambda: report.save(out))
    if devices.main:
        report.show(Console())
        if out is not None:
            print(f"{out}: the whole report")


def _check_options(out: Path | None, resamples: int, seed: int) -> None:
    """Raise ValueError for options out of range, before any feature is extracted."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if out is not None and out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a file, such as {out / 'report.json'}")
    if resamples < 2:
        raise ValueError(f"an interval takes at least 2 resamples, got {resamples}; 1000 is usual")


def _opened(
    spec: str, split: str, shape: tuple[tuple[int, int] | None, int | None]
) -> "Reference | Source":
    """A reference, or the data to make one from."""
    from adm.evaluation import is_reference, load_reference, open_images

    if is_reference(spec):
        return load_reference(spec)
    return open_images(spec, split=split, size=shape[0], channels=shape[1]).source


def _with_features(
    against: "Reference | Source", name: str | None, extraction: "Extraction"
) -> "tuple[Features, Reference]":
    """The features, and a reference of them: completed, or made from data."""
    from adm.evaluation import Reference, complete_reference, make_reference

    if isinstance(against, Reference):
        chosen = features_named(name or against.features, extraction.devices)
        what = f"extracting features of {against.name}"
        with with_progress(extraction, what, against.missing) as shown:
            return chosen, complete_reference(against, chosen, shown)
    chosen = features_named(name or DEFAULT_FEATURES, extraction.devices)
    what = f"extracting features of {against.name}"
    with with_progress(extraction, what, len(against)) as shown:
        return chosen, make_reference(against, chosen, shown)
