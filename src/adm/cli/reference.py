"""adm reference DATA --out FILE -> the statistics of real images that samples are scored by."""

from pathlib import Path

from adm.cli.scoring import features_named, joined, parse_size, watched, working

DEFAULT_FEATURES = "inception"


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
    """Look at real images, and keep what samples are compared with.

    The file has the layout of the released references (mu, sigma, mu_s, sigma_s, and 10,000 images
    in arr_0), and says with which features it was made. The same data give the same bytes. An
    interrupted command goes on where it was, and torchrun spreads it over processes.

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
        H,W or one number, to which image files are resized and cropped, and smaller arrays padded;
        their own by default.
    channels
        1, 3 or 4; 3 by default, and those of arrays.
    labels
        Where labels come from, as for `adm train`.
    count
        Only the first so many images.
    work
        A folder that keeps the features of every image; one beside --out, until that is written,
        by default. Processes on several machines need one that all of them see.
    batch_size
        Images at a time; besides memory and speed it changes last digits at most.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    """
    from adm.evaluation import Looking, make_reference, open_images
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
    with working(Looking(devices, batch_size, work), out) as looking:
        with watched(looking, f"looking at {source.name}", len(source)) as each:
            made = make_reference(source, chosen, each)
        devices.once(lambda: made.save(out))
    if devices.main:
        kept = 0 if made.images is None else len(made.images)
        print(f"{out}: {made.features} of {len(source):,} images, {kept:,} of them kept")
