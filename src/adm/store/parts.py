"""Arrays of a span of items <-> .npz file: a job that several processes do part by part.

The items of a job, such as the images of a sampling, are numbered from 0. A part is a range of
them, in the file START-STOP.npz of a folder that several processes may write to at a time. It names
its job, and the checksums of the zip format verify it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adm.store.arrays import array_names, load_arrays, write_npz
from adm.store.files import new_file
from adm.store.spans import without

NAME = re.compile(r"(\d{8,12})-(\d{8,12})\.npz")
JOB = "job"  # the entry with the job, and the names of the other entries


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
        """Return the spans of the existing parts, by their names; they are not read."""
        named = (NAME.fullmatch(path.name) for path in self.folder.glob("*.npz"))
        spans = (range(int(match[1]), int(match[2])) for match in named if match)
        return sorted(filter(len, spans), key=lambda span: (span.start, -span.stop))

    def missing(self, whole: range) -> list[range]:
        """Return the items of a span that no part covers, by the names of the parts."""
        return without([whole], self.spans())

    def path(self, span: range) -> Path:
        """Return the path of a part."""
        return self.folder / f"{span.start:08d}-{span.stop:08d}.npz"

    def write(self, span: range, **arrays: np.ndarray) -> None:
        """Write a part, whole or not at all.

        Args:
            arrays: any, by name; the first dimension need not be that of the items.
        """
        with new_file(self.path(span)) as part:
            write_npz(part, {JOB: np.array([self.job, *sorted(arrays)]), **arrays})

    def read(self, span: range, **same: np.ndarray) -> dict[str, np.ndarray] | None:
        """Return the arrays of a part; None if it is absent, damaged, or of another job.

        Args:
            same: arrays that it must contain unchanged.
        """
        path = self.path(span)
        try:
            arrays = load_arrays(path, array_names(path))
        except ValueError:
            return None
        job = arrays.pop(JOB, None)
        if job is None or job.tolist() != [self.job, *sorted(arrays)]:
            return None
        alike = (np.array_equal(arrays.get(name, ()), array) for name, array in same.items())
        return arrays if all(alike) else None
