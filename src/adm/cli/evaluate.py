"""adm evaluate SAMPLES --reference REF -> FID and its kin with intervals, and their manifest."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.cli.scoring import features_named, joined, parse_size, part, seen_by, watched, working

if TYPE_CHECKING:
    from adm.data import Source
    from adm.evaluation import Looking, Reference
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
    density, coverage and kernel distance (KID), each with its 95% interval; class by class where
    both sides have labels. An interrupted command goes on where it was, and torchrun spreads it
    over processes.

    Examples:

        adm evaluate out/samples --reference VIRTUAL_imagenet64_labeled.npz --out report.json

        adm evaluate samples.npz --reference fashion.npz

        adm evaluate out/samples --reference photos/ --features efficientnet-lite0 --size 64

        torchrun --nproc-per-node 8 -m adm evaluate samples.npz --reference ref.npz --out r.json

    Parameters
    ----------
    samples
        A folder that `adm sample` left, an .npz file (arr_0), a folder of images, an archive, ...
    reference
        A file of `adm reference`, a released one, or data that one is made of on the way.
    features
        inception, efficientnet-lite0, dinov2, a classifier's file, or module:function; those of
        the reference by default.
    out
        A JSON file for the whole report.
    resize
        For images of another size than the reference's: to-reference, or none, to let the features
        see each as it is.
    split
        Of a reference that is data: train or test.
    size
        H,W or one number, to which image files on both sides are resized and cropped, and real
        images in smaller arrays padded.
    channels
        1, 3 or 4, on both sides; 3 by default, and those of arrays.
    count
        Only the first so many samples.
    work
        A folder that keeps the features of every image; one beside --out, until that is written,
        by default. Processes on several machines need one that all of them see.
    batch_size
        Images at a time; besides memory and speed it changes last digits at most.
    resamples
        Of the images, for each interval.
    seed
        Of resampling and of subsets.
    float16
        Add precision and recall as the released evaluator has them on a GPU, in half precision.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    """
    from rich.console import Console

    from adm.evaluation import Looking, Reference, open_images, report_on
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
    theirs = against.size if isinstance(against, Reference) else against.shape[1:]
    source = at_size(source, theirs, resize)
    with working(Looking(devices, batch_size, work), out) as looking:
        chosen, real = _looked_at(against, features, part(looking, "reference"))
        seen = seen_by(chosen, source, part(looking, "samples"))
        as_they_lie = all(each is None for each in (count, resize, channels))
        given = stored_statistics(samples, chosen) if as_they_lie else None
        if given is not None:
            seen = replace(seen, given=given[0], given_spatial=given[1])
        report = report_on(
            seen,
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
    """Raise ValueError for what cannot be done, before anything is looked at."""
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    if out is not None and out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a file, such as {out / 'report.json'}")
    if resamples < 2:
        raise ValueError(f"an interval takes at least 2 resamples, got {resamples}; 1000 is usual")


def _opened(
    spec: str, split: str, shape: tuple[tuple[int, int] | None, int | None]
) -> "Reference | Source":
    """A reference, or data that one is to be made of."""
    from adm.evaluation import is_reference, load_reference, open_images

    if is_reference(spec):
        return load_reference(spec)
    return open_images(spec, split=split, size=shape[0], channels=shape[1]).source


def _looked_at(
    against: "Reference | Source", name: str | None, looking: "Looking"
) -> "tuple[Features, Reference]":
    """The features, and a reference of them: completed, or made of data."""
    from adm.evaluation import Reference, completed, make_reference

    if isinstance(against, Reference):
        chosen = features_named(name or against.features, looking.devices)
        unseen = () if against.pool is not None or against.images is None else against.images
        with watched(looking, "looking at the reference", len(unseen)) as each:
            return chosen, completed(against, chosen, each)
    chosen = features_named(name or DEFAULT_FEATURES, looking.devices)
    with watched(looking, f"looking at {against.name}", len(against)) as each:
        return chosen, make_reference(against, chosen, each)
