"""adm reference DATA --out FILE -> Reference as an .npz file."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.scoring import DEFAULT_FEATURES, joined, with_cache, with_progress


def reference(
    data: str,
    /,
    *,
    out: Annotated[Path, OUT],
    features: str = DEFAULT_FEATURES,
    split: str = "train",
    size: lists.Size = None,
    channels: int | None = None,
    labels: str | None = None,
    count: int | None = None,
    work: Path | None = None,
    batch_size: int = 64,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Compute the reference statistics that samples are scored against.

    The file has the layout of the released references (mu, sigma, mu_s, sigma_s, and up to 10,000
    images in arr_0), and records its features. The same data give the same bytes. An interrupted
    command resumes when it is run again, and torchrun distributes it over several devices.

    Examples:

        adm reference imagenet/ --size 64 --out imagenet64.npz

        adm reference fashion-mnist --split test --features efficientnet-lite0 --out fashion.npz

        torchrun --nproc-per-node 8 -m adm reference imagenet/ --size 256 --out imagenet256.npz

    Parameters
    ----------
    data
        A folder, an archive, shards, an .npz file, fashion-mnist, hf:NAME, ...
        docs/data.md lists all forms.
    out
        .npz file to write.
    features
        Features to compare images by: inception, efficientnet-lite0, dinov2, a classifier's file or
        module:function; see docs/features.md.
    split
        Split of the data: train or test.
    size
        Image size: H,W, HxW or one number. Image files are resized and cropped to it, and smaller
        arrays of real images are padded. By default all images keep their size.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files; arrays keep theirs.
    labels
        Where labels come from: folders (the default), prefix (as in dog_0001.png), none, or a CSV
        or JSON file.
    count
        Use only the first COUNT images.
    work
        Folder that caches the features of every image; it must be on a disk that all machines
        share. By default it is beside --out and removed at the end.
    batch_size
        Images per batch. It affects memory use and speed, and results only by rounding.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    as_json
        Print what the file records of the images as one JSON document.
    """
    places.file(out, "--out", "reference.npz")
    if out.suffix.lower() != ".npz":
        raise ValueError(f"a reference is an .npz file, got --out {out}; give --out {out.name}.npz")
    from adm.app.scoring import Extraction, make_reference, open_images
    from adm.app.scoring.images import first
    from adm.features import open_features

    devices = joined(device)
    chosen = open_features(features, devices.device)
    source = open_images(
        data, split=split, size=lists.height_and_width(size), channels=channels, labels=labels
    ).source
    if count is not None:
        source = first(source, count)
    with with_cache(Extraction(devices, batch_size, work), out) as extraction:
        what = f"extracting features of {source.name}"
        with with_progress(extraction, what, len(source)) as shown:
            made = make_reference(source, chosen, shown.part("reference"))
        devices.once(lambda: made.save(out))
    if devices.main:
        kept = 0 if made.images is None else len(made.images)
        told = {"file": str(out), "features": made.features, "stored": kept, **made.manifest}
        say(f"{out}: {made.features} of {len(source):,} images, {kept:,} of them stored", as_json)
        show(lambda: told, as_json, lambda: None)
