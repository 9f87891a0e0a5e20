"""Options of the scoring verbs -> Devices, Source, Extraction."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from adm.app.cli.options import Device, Size, Split
from adm.app.progress import progress
from adm.data.naming import at_home
from adm.store.files import user_cache
from adm.store.hashes import sha256_of
from adm.store.locks import InUse

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.data import Source
    from adm.processes import Devices
    from adm.scoring import Extraction

LONGEST_WAIT = timedelta(days=7)  # of a rank that is done, or that has nothing to do meanwhile


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How images are opened, and how their features are extracted.

    Parameters
    ----------
    size
        Image size: H,W, HxW or one number. Image files are resized and cropped to it, and smaller
        arrays of real images are padded. By default sizes are unchanged.
    channels
        Number of channels: 1, 3 or 4. By default 3 for image files, and unchanged for arrays.
    work
        Folder that caches the features of every image; it must be on a disk that all machines
        share. Other commands with the same folder reuse the features of the same images. By
        default it is beside --out, or in the user's cache without --out, and removed at the end.
    batch_size
        Images per batch. It affects memory use and speed, and results only by rounding.
    """

    split: Split = "train"
    size: Size = None
    channels: int | None = None
    work: Path | None = None
    batch_size: int = 64
    device: Device = None

    def source(self, spec: str, devices: "Devices", **others: Any) -> "Source":
        """Open images; `others` are arguments of `open_images` that replace these options."""
        from adm.scoring import open_images

        own = {"split": self.split, "size": self.size, "channels": self.channels}
        return open_images(spec, **own | others).source

    def joined(self) -> "Extraction":
        """Join the ranks that were launched together, which share the images."""
        return extraction_of(joined(self.device), self.batch_size, self.work)


USUAL_IMAGES = ImageOptions()


def joined(device: str | None) -> "Devices":
    """Join the ranks that were launched together; alone, use the given device."""
    from adm.models.device import pick
    from adm.processes import Devices, join, launched

    if not launched():
        return Devices(pick(device))
    return join(pick(device) if device else None, stall=LONGEST_WAIT)


def extraction_of(devices: "Devices", batch_size: int, work: Path | None = None) -> "Extraction":
    """Return an extraction whose progress is shown, or printed without a terminal."""
    from adm.scoring import Extraction

    return Extraction(devices, batch_size, work, partial(progress, unit="images"))


@contextmanager
def with_cache(
    extraction: "Extraction", out: Path | None, compared: Sequence[object] = ()
) -> Iterator["Extraction"]:
    """Add a cache folder if `extraction` has none; remove it once the block succeeds.

    It stays after an error or an interruption, so that the same command resumes. No other process
    may use the folder in the meantime.

    Args:
        out: the file to write, beside which the folder is. If None, the folder is in the user's
            cache, or there is none if that cannot be written.
        compared: what the command compares, which names the folder in the user's cache.
    """
    from adm.store.work import holding

    devices = extraction.devices
    if extraction.work is not None:
        with holding(extraction.work, devices):
            yield extraction
        return
    work = _of_user(compared) if out is None else out.with_name(f".{out.name}.work")
    if not all(devices.gather(out or _writable(work))):
        yield extraction
        return
    try:
        with holding(work, devices):
            yield replace(extraction, work=work)
            devices.once(lambda: shutil.rmtree(work, ignore_errors=True))
    except InUse:  # the folder is another process's
        raise
    except BaseException:
        _remove_empty(work)
        raise


def _of_user(compared: Sequence[object]) -> Path:
    """Return a folder of the user's cache, named by a hash of what is compared."""
    paths = [at_home(each) if isinstance(each, str) else each for each in compared]
    whole = [each.resolve() if isinstance(each, Path) and each.exists() else each for each in paths]
    return user_cache("features") / sha256_of(repr(whole).encode())[:16]


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


def _remove_empty(folder: Path) -> None:
    """Remove a folder that holds no files, and its empty sub-folders."""
    for each in (*folder.glob("*/"), folder):
        with suppress(OSError):  # not empty, or removed by another rank
            each.rmdir()
