"""adm cluster DATA --features F --clusters K --out FILE -> clusters of images, as their labels."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from adm.app.cli import places
from adm.app.cli.options import IMAGES, ImageOptions
from adm.app.cli.output import OUT, AsJson, print_lines, say, show
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
    seed: int = 0,
    images: ImageOptions = IMAGES,
    as_json: AsJson = False,
) -> None:
    r"""Cluster images, and write the clusters as a list of labels to train with.

    K-means of standardised features. Clusters are called cluster-00, cluster-01 and so on, the
    largest first, and do not depend on labels, names or order of the images. Beside the list,
    labels.csv.json has the settings, hashes and sizes. The same command writes the same bytes; one
    that is interrupted resumes the features.

    Examples:

        adm cluster fashion-mnist --features diffusion:fashion --clusters 20 --out labels.csv

        adm cluster photos/ --size 64 --features efficientnet-lite0 --out labels.csv

        adm cluster photos.zip --size 64 --features efficientnet-lite0 --clusters 3 \
            --out labels.csv --page clusters.html

    Parameters
    ----------
    data
        Data, in any of the forms of `adm train --data`.
    features
        Features to cluster; `adm help features` lists them. Score samples by other ones.
    clusters
        Number of clusters. By default, of 10, 20, 50, 100 and so on, up to a cluster for 20 images,
        the number with the largest silhouette, the mean over up to 5,000 images.
    out
        List of labels to write, a .csv file, for `adm train --labels`.
    page
        HTML file to show images of each cluster in.
    seed
        Random seed of K-means.
    """
    places.file(out, "--out", "labels.csv", "list")
    record = out.with_suffix(".csv.json")
    places.file(record, "--out", "labels.csv")
    if page is not None:
        places.file(page, "--page", "page.html", "page")
    from adm.data.fitting import at_one_size
    from adm.data.registry import find
    from adm.features import open_features
    from adm.models.device import join_ranks
    from adm.samplers.settings import Seed
    from adm.scoring import Extraction, extract, resumable
    from adm.scoring.clusters import find_clusters, names_of, numbers_of_clusters, to_csv
    from adm.scoring.manifest import versions
    from adm.spec import convert

    convert(Seed, seed, "seed")
    devices = join_ranks(images.device)
    found = find(data, split=images.split, labels="none")
    source = at_one_size(found, **images.form)
    names = names_of(source)
    numbers_of_clusters(len(source), clusters)
    network = open_features(features, devices.device)
    with resumable(Extraction(devices, images.batch_size, images.work), out) as extraction:
        # The features stay mapped when the cache is removed.
        seen = extract(source, network, extraction.part("images"))

    def act() -> None:
        found = find_clusters(seen, clusters, seed)
        content = to_csv(names, [found.names[cluster] for cluster in found.ids])
        report = {
            "data": source.name,
            "split": images.split,
            "images": len(source),
            "data_sha256": seen.digest,
            "features": seen.name,
            "fingerprint": seen.fingerprint,
            "seed": seed,
            "sizes": found.sizes,
            "tried": [{"clusters": k, "silhouette": each} for k, each in found.tried.items()],
            "list_sha256": sha256_of(content),
            "versions": versions() | {"scikit-learn": version("scikit-learn")},
        }
        write_bytes(out, content)
        write_json(record, report)
        fewest, most = min(found.sizes), max(found.sizes)
        said = f"{len(names):,} images in {len(found.sizes)} clusters of {fewest:,} to {most:,}"
        lines = [f"{k} clusters: silhouette {each:.3f}" for k, each in found.tried.items()]
        show(lambda: report, as_json, lambda: print_lines("\n".join(lines)) if lines else None)
        say(f"{out}: {said}", as_json)
        if page is not None:
            lead = f"{said}. {'. '.join(lines)}"
            write_text(page, _page(found, source, f"Clusters of {source.name}", lead))
            say(f"{page}: images of each cluster", as_json)
        say(f"score samples by other features than {seen.name}", as_json)

    devices.once(act)


def _page(clusters: "Clusters", source: "Source", title: str, lead: str) -> str:
    """Return the HTML page: of each cluster, the images that are nearest to its centre."""
    import numpy as np

    from adm.app.report import ImageGrid, ImageRow, Note, Title, page
    from adm.app.report.page import tiles

    rows = list[ImageRow]()
    for number, name in enumerate(clusters.names[:MOST_ROWS]):
        members = np.flatnonzero(clusters.ids == number)
        near = members[np.argsort(clusters.distances[members], kind="stable")[:ACROSS]]
        said = f"{name}\n{len(members):,} images"
        rows.append(ImageRow(said, [tiles(source.batch(near.tolist())[0], ACROSS)]))
    left_out = len(clusters.sizes) - len(rows)
    quiet = [Note([f"{left_out} smaller clusters are not shown."], "quiet")] * bool(left_out)
    pictures = ImageGrid(rows, ("nearest to the centre",), ACROSS)
    return page(title, [Title("Clusters, by size"), pictures, *quiet], lead=lead)
