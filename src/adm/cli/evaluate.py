"""adm evaluate SAMPLES --reference REF -> FID and other scores with intervals, and a report."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adm.cli.scoring import joined, parse_size, suggesting, with_cache, with_progress


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

    from adm.evaluation import Extraction
    from adm.evaluation.front import Comparison
    from adm.evaluation.front import evaluate as compare

    if out is not None and out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a file, such as {out / 'report.json'}")
    comparison = Comparison(
        split=split,
        size=parse_size(size),
        channels=channels,
        count=count,
        resize=resize,
        float16=float16,
        resamples=resamples,
        seed=seed,
    )
    devices = joined(device)
    with with_cache(Extraction(devices, batch_size, work), out) as extraction, suggesting():
        report = compare(samples, reference, features, comparison, extraction, with_progress)
        if out is not None:
            devices.once(lambda: report.save(out))
    if devices.main:
        report.show(Console())
        if out is not None:
            print(f"{out}: the whole report")
