"""adm nearest SAMPLES DATA --out FILE -> NearestImages, as a PNG picture and JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.scoring import (
    DEFAULT_FEATURES,
    extracted,
    features_named,
    joined,
    part,
    with_cache,
)
from adm.store.files import new_file, write_json

ACROSS = 16  # most characters of a line below an image

if TYPE_CHECKING:
    from PIL import Image

    from adm.app.scoring.nearest import NearestImages
    from adm.data import Source


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
    resize: str | None = None,
    size: lists.Size = None,
    channels: int | None = None,
    out: Annotated[Path, OUT] = Path("nearest.png"),
    report: Path | None = None,
    work: Path | None = None,
    batch_size: int = 64,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show the nearest training images of each sample, and flag likely copies.

    A sample is flagged if its nearest training image is closer than a threshold: the 1% quantile
    (--quantile) of the distances of training images to their nearest neighbours. About 1% of fresh
    images would be flagged. A sample with the same pixels as a training image is always flagged.
    The picture shows the samples most likely to be copies first. An interrupted command resumes
    when it is run again.

    Examples:

        adm nearest out/samples fashion-mnist --features fashion-judge --out nearest.png

        adm nearest samples.npz photos/ --features efficientnet-lite0 --size 64 --report near.json

    Parameters
    ----------
    samples
        A sample folder, an .npz file (arr_0), a folder of images, an archive, ...
    data
        Data that the model was trained on; docs/data.md lists all forms.
    features
        Features to compare images by: inception, efficientnet-lite0, dinov2, a classifier's file or
        module:function; see docs/features.md.
    count
        Number of samples in the picture.
    neighbours
        Number of training images shown for each sample.
    quantile
        Quantile of the nearest-neighbour distances of training images that is the threshold.
    split
        Split of the data: train or test.
    resize
        For samples of another size than the data: to-reference resizes them; none leaves both to
        the preprocessing of the features.
    size
        Image size: H,W, HxW or one number. Image files are resized and cropped to it, and smaller
        arrays of real images are padded.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files; arrays keep theirs.
    out
        PNG file to write the picture to.
    report
        JSON file to write the neighbours and distances of every sample to.
    work
        Folder that caches the features of every image; it must be on a disk that all machines
        share. Other commands with the same folder reuse the features of the data. By default it is
        beside --out and removed at the end.
    batch_size
        Images per batch. It affects memory use and speed, and results only by rounding.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    as_json
        Print the neighbours and distances of every sample as one JSON document.
    """
    places.file(out, "--out", "nearest.png")
    if report is not None:
        places.file(report, "--report", "n.json")
    if out.suffix.lower() != ".png":
        raise ValueError(f"the picture is a PNG file, got --out {out}; give --out {out.name}.png")
    # Imported here, so that --help does not load torch.
    from adm.app.scoring import Extraction, at_size
    from adm.app.scoring.nearest import equal_pixels, nearest_images, summary, to_json

    if count < 1:
        raise ValueError(f"--count must be at least 1, got {count}")
    if not 0 < quantile < 1:
        raise ValueError(f"--quantile must be between 0 and 1, got {quantile}; 0.01 is usual")
    devices = joined(device)
    ours, theirs = _opened(samples, data, split, lists.height_and_width(size), channels)
    if not 1 <= neighbours <= len(theirs):
        raise ValueError(
            f"--neighbours must be from 1 to {len(theirs)}, the number of training images, got "
            f"{neighbours}"
        )
    ours = at_size(ours, theirs.shape[1:], resize)
    network = features_named(features, devices)
    with with_cache(Extraction(devices, batch_size, work), out) as extraction:
        mine = extracted(network, ours, part(extraction, "samples"))
        real = extracted(network, theirs, part(extraction, "data"))

        def act() -> None:
            found = nearest_images(
                mine.pool,
                real.pool,
                equal_pixels(mine.hashes, real.hashes),
                k=neighbours,
                quantile=quantile,
                device="cuda" if devices.device.type == "cuda" else "cpu",
            )
            with new_file(out) as file:
                _picture(found, ours, theirs, count, network.name).save(file, "PNG")
            described = to_json(found, network.name, ours, theirs)
            if report is not None:
                write_json(report, described)
            show(lambda: described, as_json, lambda: print(summary(found)))
            say(f"{out}: the {min(count, len(ours))} samples most likely to be copies", as_json)

        devices.once(act)


def _opened(
    samples: str, data: str, split: str, size: tuple[int, int] | None, channels: int | None
) -> "tuple[Source, Source]":
    """Open samples and training images; raise ValueError unless they have equal channels."""
    from adm.app.scoring import open_images

    ours = open_images(samples, size=size, channels=channels, pad=False).source
    theirs = open_images(data, split=split, size=size, channels=channels).source
    if ours.shape[0] != theirs.shape[0]:
        raise ValueError(
            f"{ours.name} has images of {ours.shape[0]} channels and {theirs.name} of "
            f"{theirs.shape[0]}; give --channels, which applies to both"
        )
    return ours, theirs


def _picture(
    found: "NearestImages", samples: "Source", data: "Source", count: int, features: str
) -> "Image.Image":
    """Draw a row per sample: the sample, then its neighbours with distance, class and file."""
    from adm.app.scoring.nearest import class_of
    from adm.pictures import LONGEST, Row, sheet

    def named(index: int) -> list[str]:
        kind = class_of(data, index)
        return [*([_cut(kind, ACROSS)] if kind else []), _file(data, index, "image", ACROSS)]

    rows = []
    for index in found.order[:count].tolist():
        near = found.indices[index].tolist()
        images, _ = data.batch(near)
        mark = "copy" if found.equal[index] >= 0 else "near" if found.flagged[index] else ""
        own = samples.batch([index])[0][0]
        distances = [f"{distance:.3g}" for distance in found.distances[index]]
        told = zip(distances, map(named, near), strict=True)
        captions = [mark, *("\n".join([distance, *words]) for distance, words in told)]
        name = [_file(samples, index, "sample", LONGEST), class_of(samples, index) or ""]
        rows.append(Row("\n".join(filter(None, name)), [own, *images], captions))
    title = f"Nearest in {data.name} by {features}; near: below {found.threshold:.3g}"
    headings = [("sample", 1), ("nearest, with distances", found.indices.shape[1])]
    return sheet(f"{title}, copy: the same pixels", headings, rows)


def _file(source: "Source", index: int, what: str, most: int) -> str:
    """Return the name of an image's file, or its index, in up to `most` characters."""
    from adm.app.scoring.nearest import file_of

    path = file_of(source, index)
    return _cut(path.rpartition("/")[2], most) if path else f"{what} {index}"


def _cut(name: str, most: int) -> str:
    """Shorten a name in its middle, since files often differ at their ends only."""
    if len(name) <= most:
        return name
    end = most // 2
    return f"{name[: most - end - 1]}…{name[-end:]}"
