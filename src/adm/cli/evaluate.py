"""adm evaluate SAMPLES --reference REF -> Report, printed and written as JSON."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adm.cli import early, lists
from adm.cli.output import OUT, AsJson, say, show
from adm.cli.scoring import joined, suggesting, with_cache, with_progress


def evaluate(
    samples: str,
    /,
    *,
    reference: str,
    features: str | None = None,
    out: Annotated[Path | None, OUT] = None,
    resize: str | None = None,
    split: str = "train",
    size: lists.Size = None,
    channels: int | None = None,
    count: int | None = None,
    work: Path | None = None,
    batch_size: int = 64,
    resamples: int = 1000,
    seed: int = 0,
    float16: Annotated[bool, Parameter(negative="")] = False,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Score the images of any generator against a reference.

    Computes the Fréchet distance (FID, with Inception's features), sFID, Inception Score,
    precision, recall, density, coverage and kernel distance (KID), each with its 95% interval; and
    scores per class if samples and reference have labels. An interrupted command resumes when it is
    run again, and torchrun distributes it over several devices.

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
        A file of `adm reference`, a released file, or data to compute a reference from.
    features
        Features to compare images by: inception, efficientnet-lite0, dinov2, a classifier's file or
        module:function. Those of the reference by default, if they come with adm.
    out
        JSON file to write the whole report to.
    resize
        For images of another size than those of the reference: to-reference resizes them; none
        leaves them to the preprocessing of the features.
    split
        Split of the reference, if it is data: train or test.
    size
        Image size: H,W, HxW or one number. Image files are resized and cropped to it, and smaller
        arrays of real images are padded.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files; arrays keep theirs.
    count
        Score only the first COUNT images.
    work
        Folder that caches the features of every image; it must be on a disk that all machines
        share. By default it is beside --out, or in the user's cache without --out, and removed at
        the end.
    batch_size
        Images per batch. It affects memory use and speed, and results only by rounding.
    resamples
        Bootstrap resamples for each interval.
    seed
        Random seed of the resamples and of the subsets of images.
    float16
        Add precision and recall computed in float16, as the released evaluator does on a GPU.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    as_json
        Print the whole report as one JSON document.
    """
    early.paths([samples, reference], {"--out": (out, "report.json")})
    from rich.console import Console

    from adm.evaluation import Extraction
    from adm.evaluation.front import Comparison
    from adm.evaluation.front import evaluate as compare

    comparison = Comparison(
        split=split,
        size=lists.height_and_width(size),
        channels=channels,
        count=count,
        resize=resize,
        float16=float16,
        resamples=resamples,
        seed=seed,
    )
    devices = joined(device)
    compared = [samples, reference, features, comparison]
    cached = with_cache(Extraction(devices, batch_size, work), out, compared)
    with cached as extraction, suggesting():
        report = compare(samples, reference, features, comparison, extraction, with_progress)
        if out is not None:
            devices.once(lambda: report.save(out))
    if devices.main:
        show(report.to_json, as_json, lambda: report.show(Console()))
        if out is not None:
            say(f"{out}: the whole report", as_json)
