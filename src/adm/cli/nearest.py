"""adm nearest SAMPLES DATA -> the nearest training images of each sample; copies are flagged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.cli.evaluate import DEFAULT_FEATURES
from adm.cli.scoring import features_named, joined, parse_size, part, seen_by
from adm.files import new_file, write_json

if TYPE_CHECKING:
    from PIL import Image

    from adm.data import Source
    from adm.evaluation.nearest import Found


def nearest(
    samples: str,
    data: str,
    /,
    *,
    features: str = DEFAULT_FEATURES,
    count: int = 16,
    neighbours: int = 5,
    quantile: float = 0.01,
    split: str = "train",
    size: str | None = None,
    channels: int | None = None,
    out: Path = Path("nearest.png"),
    report: Annotated[Path | None, Parameter(name="--json")] = None,
    work: Path | None = None,
    batch_size: int = 64,
    device: str | None = None,
) -> None:
    """Show the nearest training images of each sample, and flag copies.

    A sample is flagged when its nearest training image is nearer than the threshold: the distance
    that 1% of the training images (--quantile) have to their nearest other one. Of fresh images,
    as many are flagged. A sample with the same pixels as a training image is always flagged. The
    picture shows the most suspicious samples, worst first.

    Examples:

        adm nearest out/samples fashion-mnist --features fashion-judge --out nearest.png

        adm nearest samples.npz photos/ --features efficientnet-lite0 --size 64 --json near.json

    Parameters
    ----------
    samples
        A folder that `adm sample` left, an .npz file (arr_0), a folder of images, an archive, ...
    data
        What the model was trained on; see adm data.
    features
        In which distances are measured: inception, efficientnet-lite0, dinov2, a classifier's file,
        or module:function.
    count
        Samples in the picture.
    neighbours
        Training images shown for each.
    quantile
        Of the training images' distances to each other, below which a sample is flagged.
    split
        Of the data: train or test.
    size
        H,W or one number, to which image files on both sides are resized and cropped, and real
        images in smaller arrays padded.
    channels
        1, 3 or 4, on both sides; 3 by default, and those of arrays.
    out
        The picture, a PNG file.
    report
        A file for every sample's neighbours and distances.
    work
        A folder that keeps the features of every image, so that the same command goes on after an
        interruption, and others need not look again.
    batch_size
        Images at a time; besides memory and speed it changes last digits at most.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    """
    # Loaded here and not above, so that --help answers before torch is there.
    from adm.evaluation import Looking
    from adm.evaluation.nearest import as_json, equal_pixels, find, said

    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not 0 < quantile < 1:
        raise ValueError(f"the quantile must be between 0 and 1, got {quantile}; 0.01 is usual")
    _check_files(out, report)
    devices = joined(device)
    ours, theirs = _alike(samples, data, split, parse_size(size), channels)
    if not 1 <= neighbours <= len(theirs):
        raise ValueError(
            f"{neighbours} neighbours were asked for of {len(theirs)} training images; give "
            f"--neighbours from 1 to {len(theirs)}"
        )
    network = features_named(features, devices)
    looking = Looking(devices, batch_size, work)
    mine = seen_by(network, ours, part(looking, "samples"))
    real = seen_by(network, theirs, part(looking, "data"))

    def act() -> None:
        found = find(
            mine.pool,
            real.pool,
            equal_pixels(mine.hashes, real.hashes),
            k=neighbours,
            quantile=quantile,
            device="cuda" if devices.device.type == "cuda" else "cpu",
        )
        with new_file(out) as file:
            _picture(found, ours, theirs, count, network.name).save(file, "PNG")
        if report is not None:
            write_json(report, as_json(found, network.name))
        print(said(found))
        print(f"{out}: the {min(count, len(ours))} most suspicious samples, worst first")

    devices.once(act)


def _check_files(out: Path, report: Path | None) -> None:
    """Raise ValueError for what cannot be written, before anything is looked at."""
    if out.suffix.lower() != ".png":
        raise ValueError(f"the picture is a PNG file, got {out}; call it {out.name}.png")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a file, such as {out / 'nearest.png'}")
    if report is not None and report.is_dir():
        raise ValueError(f"{report} is a folder; give --json a file, such as {report / 'n.json'}")


def _alike(
    samples: str, data: str, split: str, size: tuple[int, int] | None, channels: int | None
) -> "tuple[Source, Source]":
    """Both sides, opened; of one shape."""
    from adm.evaluation import open_images

    ours = open_images(samples, size=size, channels=channels, pad=False).source
    theirs = open_images(data, split=split, size=size, channels=channels).source
    if ours.shape != theirs.shape:
        raise ValueError(
            f"samples are {ours.shape} (C, H, W) and {theirs.name} {theirs.shape}; give --size and "
            "--channels, by which both are opened alike"
        )
    return ours, theirs


def _picture(
    found: "Found", samples: "Source", data: "Source", count: int, features: str
) -> "Image.Image":
    """A row a sample: it, then its neighbours with their distances."""
    from adm.pictures import Row, sheet

    rows = []
    for index in found.order[:count].tolist():
        near = found.indices[index].tolist()
        images, _ = data.batch(near)
        mark = "copy" if found.equal[index] >= 0 else "near" if found.flagged[index] else ""
        own = samples.batch([index])[0][0]
        captions = [mark, *(f"{distance:.3g}" for distance in found.distances[index])]
        rows.append(Row(f"sample {index}", [own, *images], captions))
    title = f"Nearest in {data.name} by {features}; flagged below {found.threshold:.3g}"
    return sheet(title, [("", 1), ("nearest", found.indices.shape[1])], rows)
