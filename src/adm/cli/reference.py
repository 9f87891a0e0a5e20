"""adm reference DATA --out FILE -> the statistics of real images that samples are scored with."""

from pathlib import Path

from adm.cli.scoring import (
    DEFAULT_FEATURES,
    features_named,
    joined,
    parse_size,
    with_cache,
    with_progress,
)


def reference(
    data: str,
    /,
    *,
    out: Path,
    features: str = DEFAULT_FEATURES,
    split: str = "train",
    size: str | None = None,
    channels: int | None = None,
    labels: str | None = None,
    count: int | None = None,
    work: Path | None = None,
    batch_size: int = 64,
    device: str | None = None,
) -> None:
    """Extract features of real images, and save the statistics that samples are compared with.

    The file has the layout of the released references (mu, sigma, mu_s, sigma_s, and 10,000 images
    in arr_0), and states its features. The same data give the same bytes. An interrupted command
    resumes where it stopped, and torchrun spreads it over several devices.

    Examples:

        adm reference imagenet/ --size 64 --out imagenet64.npz

        adm reference fashion-mnist --split test --features efficientnet-lite0 --out fashion.npz

        torchrun --nproc-per-node 8 -m adm reference imagenet/ --size 256 --out imagenet256.npz

    Parameters
    ----------
    data
        A folder, an archive, shards, an .npz file, fashion-mnist, hf:NAME, ...; docs/data.md has
        them all.
    out
        The .npz file to write.
    features
        inception, efficientnet-lite0, dinov2, a classifier's file, or module:function;
        docs/features.md has them all.
    split
        train or test.
    size
        H,W or one number: image files are resized and cropped to it, and smaller arrays are padded.
        By default images keep their size.
    channels
        1, 3 or 4; by default 3 for image files, and those of arrays.
    labels
        Where labels come from, as for `adm train`.
    count
        Use only the first COUNT images.
    work
        A folder that caches the features of every image; several machines need one that all can
        access. By default it is beside --out, and removed at the end.
    batch_size
        Images per call of the network; changes memory, speed, and the last digits at most.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    """
    from adm.evaluation import Extraction, make_reference, open_images
    from adm.evaluation.opening import first

    if out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a file, such as {out / 'reference.npz'}")
    if out.suffix.lower() != ".npz":
        raise ValueError(f"a reference is an .npz file, got --out {out}; call it {out.name}.npz")
    devices = joined(device)
    chosen = features_named(features, devices)
    source = open_images(
        data, split=split, size=parse_size(size), channels=channels, labels=labels
    ).source
    if count is not None:
        source = first(source, count)
    with with_cache(Extraction(devices, batch_size, work), out) as extraction:
        what = f"extracting features of {source.name}"
        with with_progress(extraction, what, len(source)) as shown:
            made = make_reference(source, chosen, shown)
        devices.once(lambda: made.save(out))
    if devices.main:
        kept = 0 if made.images is None else len(made.images)
        print(f"{out}: {made.features} of {len(source):,} images, {kept:,} of them stored")
