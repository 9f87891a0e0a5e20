"""Arrays of a span of items <-> .npz file: a job that several processes do part by part.

The items of a job, such as the images of a sampling, are numbered from 0. A part is a range of
them, in the file START-STOP.npz of a folder that several processes may write to at a time. It
names its job, and the checksums of the zip format tell whether it is as it was written.
"""

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adm.store.files import new_file

NAME = re.compile(r"(\d{8,12})-(\d{8,12})\.npz")
JOB = "job"  # the entry with the job, and the names of the other entries
# What zipfile and numpy raise for a file that is absent or not as it was written.
DAMAGE = (OSError, ValueError, EOFError, KeyError, MemoryError, RuntimeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Parts:
    """The parts of a job in a folder, which is created when the first is written.

    Attributes:
        folder: several processes may write to it, and parts may be copied into it.
        job: what the parts are of, such as a hash of all settings. Parts of another are not read.
    """

    folder: Path
    job: str

    def spans(self) -> list[range]:
        """Return the spans of the parts that there are, by their names: they are not read."""
        named = (NAME.fullmatch(path.name) for path in self.folder.glob("*.npz"))
        found = (range(int(match[1]), int(match[2])) for match in named if match)
        return sorted(filter(len, found), key=lambda span: (span.start, -span.stop))

    def missing(self, whole: range) -> list[range]:
        """Return the items of a span that no part holds, by the names of the parts."""
        return without([whole], self.spans())

    def path(self, span: range) -> Path:
        """Return the path of a part."""
        return self.folder / f"{span.start:08d}-{span.stop:08d}.npz"

    def write(self, span: range, **arrays: np.ndarray) -> None:
        """Write a part, whole or not at all.

        Args:
            arrays: any, by name; the first dimension need not be that of the items.
        """
        with new_file(self.path(span)) as part, part.open("wb") as file:
            np.savez(file, **{JOB: np.array([self.job, *sorted(arrays)])}, **arrays)

    def read(self, span: range) -> dict[str, np.ndarray] | None:
        """Return the arrays of a part; None if it is absent, damaged, or of another job."""
        path = self.path(span)
        try:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    return None  # an entry could be larger than memory
            with np.load(path, allow_pickle=False) as archive:
                found = dict(archive)
        except DAMAGE:
            return None
        held = found.pop(JOB, None)
        return found if held is not None and held.tolist() == [self.job, *sorted(found)] else None

    def drop_damaged(self) -> list[Path]:
        """Remove the parts that cannot be read, or are of another job; return their paths."""
        gone = [self.path(span) for span in self.spans() if self.read(span) is None]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone


def union(spans: Iterable[range]) -> list[range]:
    """Return the same numbers in the fewest spans, in order."""
    found: list[range] = []
    for span in sorted(filter(len, spans), key=lambda span: span.start):
        if found and span.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(span.stop, found[-1].stop))
        else:
            found.append(span)
    return found


def without(spans: Iterable[range], others: Iterable[range]) -> list[range]:
    """Return the numbers of spans that are in none of the others."""
    left, removed = list[range](), union(others)
    for span in union(spans):
        start = span.start
        for other in removed:
            if other.stop <= start or other.start >= span.stop:
                continue
            left.append(range(start, max(start, other.start)))
            start = other.stop
        left.append(range(start, span.stop))
    return union(left)
