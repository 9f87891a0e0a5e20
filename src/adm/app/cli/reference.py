"""adm reference DATA --out FILE -> Reference as an .npz file."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import FEATURES, IMAGES, ImageOptions, Labels
from adm.app.cli.output import OUT, AsJson, say, show


def reference(
    data: str,
    /,
    *,
    out: Annotated[Path, OUT],
    features: Annotated[str | None, FEATURES] = None,
    labels: Labels = None,
    count: int | None = None,
    images: ImageOptions = IMAGES,
    as_json: AsJson = False,
) -> None:
    """Compute the reference statistics that samples are scored against.

    The file has the layout of the released references (mu, sigma, mu_s, sigma_s, and up to 10,000
    images in arr_0), and records its features. The same data give the same bytes. An interrupted
    command resumes when it is run again, and torchrun distributes it over several devices.

    Examples:

        adm reference fashion-mnist --features fashion-judge --out judge.npz

        adm reference fashion-mnist --split test --features efficientnet-lite0 --out fashion.npz

        torchrun --nproc-per-node 8 -m adm reference imagenet/ --size 256 --out imagenet256.npz

    Parameters
    ----------
    data
        A folder or its .zip, shards, an .npz file, fashion-mnist, hf:NAME, ...
        docs/howto/data.md lists all forms.
    out
        .npz file to write.
    count
        Use only the first COUNT images.
    """
    places.file(out, "--out", "reference.npz", "reference")
    from adm.features import open_features
    from adm.models.device import join_ranks
    from adm.scoring import Extraction, make_reference, open_images, resumable
    from adm.scoring.images import first

    devices = join_ranks(images.device)
    chosen = open_features(features, devices.device)
    source = open_images(data, split=images.split, labels=labels, **images.form).source
    if count is not None:
        source = first(source, count)
    with resumable(Extraction(devices, images.batch_size, images.work), out) as extraction:
        stats = make_reference(source, chosen, extraction.part("reference"))
        devices.once(lambda: stats.save(out))
    if devices.main:
        stored = 0 if stats.images is None else len(stats.images)
        summary = {"file": str(out), "features": stats.features, "stored": stored, **stats.manifest}
        show(lambda: summary, as_json, lambda: None)
        say(
            f"{out}: {stats.features} of {len(source):,} images, {stored:,} of them stored", as_json
        )
