"""Found, Source, Record -> a self-contained HTML page: images of every cluster."""

from dataclasses import asdict

import numpy as np

from adm.app.report import Block, Cell, ImageRow, Images, Note, Table, Title, page
from adm.app.report.pictures import tiles
from adm.app.scoring.cluster_list import Record, cluster_names
from adm.app.scoring.clusters import Found
from adm.data import Source
from adm.shown import count_of

ACROSS = 8  # images of each kind in a row
MOST_ROWS = 200  # clusters shown
LEAD = (
    "Images that are near to each other in the features; no label was used. The classes of a model "
    "that is trained on these clusters are called as here."
)


def cluster_page(found: Found, source: Source, record: Record) -> str:
    """Return the HTML page.

    Args:
        source: the images, whose labels are shown beside the clusters if they are of several
            classes.
    """
    count = len(record.sizes)
    blocks: list[Block] = [
        Title("Result"),
        Note(_sentences(found, source, record), "result"),
        Title("Clusters, by size"),
        Images(_rows(found, source), ("nearest to the centre", "at random"), ACROSS),
    ]
    quiet = []
    if count > MOST_ROWS:
        quiet.append(f"{count - MOST_ROWS} smaller clusters are not shown.")
    if found.agreement is not None:
        quiet.append(
            "Beside each cluster: the most common label of the data, and its share of the "
            "cluster's images. Labels were not used to find the clusters."
        )
    blocks += [Note(quiet, "quiet")] * bool(quiet)
    if record.tried:
        better = "higher is better"
        headings = ("clusters", Cell("silhouette", better), Cell("images of the smallest", better))
        tried = [(f"{t.clusters}", f"{t.silhouette:.3f}", f"{t.smallest}") for t in record.tried]
        blocks += [
            Title("Numbers of clusters that were tried"),
            Table(headings, tried),
            Note(
                ["The silhouette is the mean over up to 5,000 images, in -1 to 1."],
                "quiet",
            ),
        ]
    title = f"{record.data}: {count_of(count, 'cluster')}"
    return page(title, blocks, lead=LEAD, facts=_facts(found, record), settings=asdict(record))


def _facts(found: Found, record: Record) -> list[tuple[str, str]]:
    agreed = found.agreement
    facts = [
        ("data", f"{record.data}, {record.split} split"),
        ("images", f"{record.images:,}"),
        ("clusters", f"{len(record.sizes):,}"),
        ("features", record.features),
        ("seed", str(record.seed)),
    ]
    if agreed is not None:
        facts += [("purity", f"{agreed.purity:.3f}")]
        facts += [("normalised mutual information", f"{agreed.information:.3f}")]
    return facts


def _sentences(found: Found, source: Source, record: Record) -> list[str]:
    sentences = [f"{record}."]
    if record.tried:
        sentences.append(
            f"{len(record.sizes)} has the largest silhouette of the {len(record.tried)} numbers of "
            "clusters that were tried."
        )
    if found.agreement is not None:
        sentences.append(
            f"{found.agreement.purity:.1%} of the images have the most common of the "
            f"{len(source.classes)} labels of their cluster."
        )
    sentences.append(
        f"Score samples of these clusters by other features than {record.features}, in which they "
        "were found."
    )
    return sentences


def _rows(found: Found, source: Source) -> list[ImageRow]:
    """Return what is shown of each cluster, from the largest on."""
    order = found.clusters.points.order
    distances = found.clusters.distances()
    names, agreed = cluster_names(len(found.clusters.sizes)), found.agreement
    rows = []
    for cluster, name in enumerate(names[:MOST_ROWS]):
        members = np.flatnonzero(found.clusters.ids == cluster)
        near = members[np.argsort(distances[members], kind="stable")[:ACROSS]]
        # The order of the points is that of hashes, so that some that are evenly spread are random.
        spread = np.linspace(0, len(members) - 1, min(ACROSS, len(members)))
        chosen = [near, members[np.unique(spread.astype(np.int64))]]
        common = None
        if agreed is not None:
            label = source.classes[agreed.common[cluster]]
            common = f"{agreed.shares[cluster]:.0%} {label}"
        size = f"{len(members):,} image{'s' if len(members) > 1 else ''}"
        pictures = [tiles(source.batch(order[each].tolist())[0], ACROSS) for each in chosen]
        rows.append(ImageRow("\n".join(filter(None, (name, size, common))), pictures))
    return rows
