"""adm reference DATA --out FILE -> Reference as an .npz file."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import DEFAULT_FEATURES, FEATURES, Labels
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.scoring import USUAL_IMAGES, ImageOptions, with_cache


def reference(
    data: str,
    /,
    *,
    out: Annotated[Path, OUT],
    features: Annotated[str, FEATURES] = DEFAULT_FEATURES,
    labels: Labels = None,
    count: int | None = None,
    images: ImageOptions = USUAL_IMAGES,
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
        docs/howto/data.md lists all forms.
    out
        .npz file to write.
    count
        Use only the first COUNT images.
    """
    places.file(out, "--out", "reference.npz", "reference")
    from adm.features import open_features
    from adm.scoring import make_reference
    from adm.scoring.images import first

    how = images.joined()
    chosen = open_features(features, how.devices.device)
    source = images.source(data, how.devices, labels=labels)
    if count is not None:
        source = first(source, count)
    with with_cache(how, out) as extraction:
        stats = make_reference(source, chosen, extraction.part("reference"))
        how.devices.once(lambda: stats.save(out))
    if how.devices.main:
        stored = 0 if stats.images is None else len(stats.images)
        summary = {"file": str(out), "features": stats.features, "stored": stored, **stats.manifest}
        say(
            f"{out}: {stats.features} of {len(source):,} images, {stored:,} of them stored", as_json
        )
        show(lambda: summary, as_json, lambda: None)
