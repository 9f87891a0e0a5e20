"""Names of images, clusters -> a list of labels, as `adm.data.lists` reads it."""

import csv
import io
from collections.abc import Sequence

from adm.data.files import Files
from adm.data.lists import csv_pairs
from adm.data.source import Source
from adm.shown import LONGEST_PATH, shown

LEAST_DIGITS = 2  # of the number of a cluster


def cluster_names(count: int) -> tuple[str, ...]:
    """Return cluster-00, cluster-01 and so on, all of one length."""
    digits = max(LEAST_DIGITS, len(str(count - 1)))
    return tuple(f"cluster-{number:0{digits}d}" for number in range(count))


def names_of(found: Source | Files) -> list[str]:
    """Return the names by which a list calls the images of data that `registry.find` has opened.

    Raises:
        ValueError: a name cannot be written to a list.
    """
    assert found.listed is not None
    names = list(map(found.listed, range(len(found))))
    if not _survive(names):
        strange = next(name for name in names if not _survive([name]))
        raise ValueError(
            f"{shown(strange, LONGEST_PATH)} cannot be written to a list of labels; rename it, "
            "without control characters and without spaces at its ends"
        )
    return names


def listed(names: Sequence[str], labels: Sequence[str]) -> bytes:
    """Return the content of a list: rows file,label with headings."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "label"))
    rows.writerows(zip(names, labels, strict=True))
    return text.getvalue().encode()


def _survive(names: list[str]) -> bool:
    """Whether a list that is written with these names is read with them."""
    try:
        pairs = csv_pairs(listed(names, ["any"] * len(names)), "the list", ",")
    except ValueError:  # also of a name that is no Unicode
        return False
    return [file for file, _ in pairs] == names
