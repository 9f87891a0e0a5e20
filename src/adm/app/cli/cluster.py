"""adm cluster DATA --features F --clusters K --out FILE -> clusters of images, as their labels."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import places
from adm.app.cli.output import OUT, AsJson, print_lines, say, show
from adm.app.cli.scoring import USUAL_IMAGES, ImageOptions, with_cache
from adm.app.progress import progress
from adm.store.files import write_bytes, write_json, write_text
from adm.store.hashes import sha256_of

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.data import Source
    from adm.scoring.clusters import Clusters

ACROSS, MOST_ROWS = 8, 200  # images of a cluster on the page; clusters


def cluster(
    data: str,
    /,
    *,
    features: str,
    clusters: int | None = None,
    out: Annotated[Path, OUT],
    page: Path | None = None,
    both_splits: Annotated[bool, Parameter(negative="")] = False,
    labels: str | None = None,
    seed: int = 0,
    images: ImageOptions = USUAL_IMAGES,
    as_json: AsJson = False,
) -> None:
    r"""Cluster images, and write the clusters as a list of labels to train with.

    K-means of standardised features. Clusters are called cluster-00, cluster-01 and so on, the
    largest first, and do not depend on labels, names or order of the images. Beside the list,
    labels.json has the settings, hashes and sizes. The same command writes the same bytes; one that
    is interrupted resumes the features.

    Examples:

        adm cluster fashion-mnist --features diffusion:fashion --clusters 20 --out labels.csv

        adm cluster photos/ --size 64 --features efficientnet-lite0 --out labels.csv

        adm cluster photos.zip --labels none --size 64 --features efficientnet-lite0 \
            --clusters 3 --out labels.csv --page clusters.html

    Parameters
    ----------
    data
        Data, in any of the forms of `adm train --data`.
    features
        Features to cluster: diffusion:MODEL[@level=100], efficientnet-lite0, dinov2, inception, a
        classifier's file or module:function; see docs/concepts/features.md. Score samples by
        other ones.
    clusters
        Number of clusters. By default, of 10, 20, 50, 100 and so on, up to a cluster for 20 images,
        the number with the largest silhouette, the mean over up to 5,000 images.
    out
        List of labels to write, a .csv file, for `adm train --labels`.
    page
        HTML file to show images of each cluster in.
    both_splits
        Label the images of the other split as well, each with the cluster of the nearest centre, to
        have labels to validate on.
    labels
        Labels to compare the clusters with: folders (the default), prefix (as in dog_0001.png),
        none, or a CSV file.
    seed
        Random seed of K-means.
    """
    places.file(out, "--out", "labels.csv", "list")
    record = out.with_suffix(".json")
    places.file(record, "--out", "labels.csv")
    if page is not None:
        places.file(page, "--page", "page.html", "page")
    from adm.features import open_features
    from adm.samplers.settings import Seed
    from adm.scoring import extract
    from adm.scoring.clusters import (
        STARTS,
        agreement_with,
        find_clusters,
        names_of,
        numbers_of_clusters,
        to_csv,
    )
    from adm.scoring.manifest import versions
    from adm.spec import convert
    from adm.store.parsed import cached_json

    if record.exists() and "list_sha256" not in (cached_json(record) or {}):
        raise ValueError(
            f"{record} is not the record of {out}; move it away, or choose another path for the "
            "list"
        )
    convert(Seed, seed, "seed")
    extracting = images.joined()
    source = _opened(data, labels, images)
    names = names_of(source)
    starts = STARTS * len(numbers_of_clusters(len(source), clusters))
    other, other_split = None, "train" if images.split == "test" else "test"
    if both_splits:
        other = _opened(data, labels, replace(images, split=other_split))
        names += names_of(other)
    network = open_features(features, extracting.devices.device)
    with with_cache(extracting, out) as extraction:
        # The features stay mapped when the cache is removed.
        seen = extract(source, network, extraction.part("images"))
        more = None if other is None else extract(other, network, extraction.part("others"))

    def act() -> None:
        with progress("clustering", starts, "starts") as advance:
            found = find_clusters(seen, clusters, seed, advance)
        ids, sizes = found.ids, found.sizes
        if more is not None:
            ids = [*ids, *found.nearest(more.pool)]
        agreement = None if seen.labels is None else agreement_with(found.ids, seen.labels)
        content = to_csv(names, [found.names[cluster] for cluster in ids])
        report = {
            "data": source.name,
            "split": images.split,
            "images": len(source),
            "assigned": len(names) - len(source),
            "data_sha256": seen.digest,
            "features": seen.name,
            "fingerprint": seen.fingerprint,
            "seed": seed,
            "sizes": sizes,
            "tried": [{"clusters": k, "silhouette": each} for k, each in found.tried.items()],
            "agreement": None if agreement is None else agreement._asdict(),
            "list_sha256": sha256_of(content),
            "versions": versions() | {"scikit-learn": version("scikit-learn")},
        }
        write_bytes(out, content)
        write_json(record, report)
        said = (
            f"{len(source):,} images in {len(sizes)} clusters of {min(sizes):,} to {max(sizes):,}"
        )
        said += f", and {len(names) - len(source):,} of the {other_split} split" if more else ""
        lines = [f"{k} clusters: silhouette {each:.3f}" for k, each in found.tried.items()]
        lines += [f"against the labels of the data: {agreement}"] if agreement else []
        show(lambda: report, as_json, lambda: print_lines("\n".join(lines)) if lines else None)
        say(f"{out}: {said}", as_json)
        if page is not None:
            lead = f"{said}. " + ". ".join(lines)
            write_text(page, _page(found, source, f"Clusters of {source.name}", lead))
            say(f"{page}: images of each cluster", as_json)
        say(f"score samples by other features than {seen.name}", as_json)

    extracting.devices.once(act)


def _opened(data: str, labels: str | None, images: ImageOptions) -> "Source":
    """Open a split; for the arguments see `cluster`."""
    from adm.data.fitting import at_one_size
    from adm.data.registry import find

    source = find(data, split=images.split, labels=labels)
    return at_one_size(source, size=images.size, channels=images.channels)


def _page(clusters: "Clusters", source: "Source", title: str, lead: str) -> str:
    """Return the HTML page: of each cluster, the images that are nearest to its centre."""
    import numpy as np

    from adm.app.report import ImageRow, Images, Note, Title, page
    from adm.app.report.page import tiles

    rows = list[ImageRow]()
    for number, name in enumerate(clusters.names[:MOST_ROWS]):
        members = np.flatnonzero(clusters.ids == number)
        near = members[np.argsort(clusters.distances[members], kind="stable")[:ACROSS]]
        said = f"{name}\n{len(members):,} images"
        rows.append(ImageRow(said, [tiles(source.batch(near.tolist())[0], ACROSS)]))
    left_out = len(clusters.sizes) - len(rows)
    quiet = [Note([f"{left_out} smaller clusters are not shown."], "quiet")] * bool(left_out)
    pictures = Images(rows, ("nearest to the centre",), ACROSS)
    return page(title, [Title("Clusters, by size"), pictures, *quiet], lead=lead)
