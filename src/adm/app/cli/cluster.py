"""adm cluster DATA --features F --clusters K --out FILE -> clusters of images, as their labels."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.scoring import USUAL_IMAGES, ImageOptions, with_cache
from adm.app.progress import progress
from adm.store.files import write_text

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.app.scoring.cluster_list import NamedImages, Record
    from adm.app.scoring.clusters import ClusterSearch
    from adm.processes import Devices


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
    labels.json has the settings, hashes and sizes. The same command writes the same bytes, and an
    interrupted one resumes.

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
        none, or a CSV or JSON file.
    seed
        Random seed of K-means.
    """
    places.file(out, "--out", "labels.csv", "list")
    if page is not None:
        places.file(page, "--page", "page.html", "page")
    from adm.app.scoring import extract
    from adm.app.scoring.cluster_list import (
        check_replaceable,
        cluster_page,
        record_path,
        write_list,
    )
    from adm.app.scoring.clusters import Clustering, find_clusters
    from adm.features import open_features

    places.file(record_path(out), "--out", "labels.csv")
    check_replaceable(out)
    how = Clustering(clusters=clusters, seed=seed)
    extracting = images.joined()
    own = _opened(data, labels, images, extracting.devices)
    how.fits(len(own.source))
    other = replace(images, split="train" if images.split == "test" else "test")
    others = _opened(data, labels, other, extracting.devices) if both_splits else None
    network = open_features(features, extracting.devices.device)
    with with_cache(extracting, out) as extraction:
        seen = extract(own.source, network, extraction.part("images"))
        more = None
        if others is not None:
            more = others, extract(others.source, network, extraction.part("others"))

        def act() -> None:
            with progress("clustering", how.fits(len(own.source)), "starts") as advance:
                clustering = find_clusters(seen, how, advance)
            record = write_list(clustering, own, seen, how, out, more)
            show(lambda: asdict(record), as_json, lambda: _print(clustering, record))
            say(f"{out}: {record}", as_json)
            if page is not None:
                write_text(page, cluster_page(clustering, own.source, record))
                say(f"{page}: images of each cluster", as_json)
            say(f"score samples by other features than {record.features}", as_json)

        extraction.devices.once(act)


def _opened(
    data: str, labels: str | None, images: ImageOptions, devices: "Devices"
) -> "NamedImages":
    """Open a split; for the arguments see `cluster`."""
    from adm.app.scoring.cluster_list import NamedImages, names_of
    from adm.data.fitting import at_one_size
    from adm.data.registry import find

    source = find(data, split=images.split, labels=labels)
    size = lists.height_and_width(images.size)
    source = at_one_size(source, size=size, channels=images.channels)
    return NamedImages(source, names_of(source), images.split)


def _print(clustering: "ClusterSearch", record: "Record") -> None:
    """Print the comparisons: of numbers of clusters, and of the clusters with the labels."""
    if record.tried:
        print("clusters  silhouette  images of the smallest")
        for each in record.tried:
            print(f"{each.clusters:8}  {each.silhouette:10.3f}  {each.smallest:22}")
        print(f"chosen: {len(record.sizes)}, the number with the largest silhouette")
    if clustering.agreement is not None:
        print(f"against the labels of the data: {clustering.agreement}")
