"""Options of the scoring verbs -> Devices, Features, (H, W), Extraction."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adm.cli.progress import progress

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.data import Source
    from adm.evaluation import Extraction, FeatureSet
    from adm.features import Features
    from adm.processes import Devices

DEFAULT_FEATURES = "inception"


def joined(device: str | None) -> "Devices":
    """Join the ranks that were launched together; alone, use the given device."""
    from adm.models.device import pick
    from adm.processes import Devices, join, launched

    if not launched():
        return Devices(pick(device))
    return join(pick(device) if device else None)


@contextmanager
def suggesting() -> Iterator[None]:
    """Add to an error about Inception the features that need no download."""
    try:
        yield
    except ValueError as error:
        if "inception" not in str(error).lower() or "not FID" in str(error):
            raise
        raise ValueError(
            f"{error}; or give --features efficientnet-lite0 or others (docs/features.md), whose "
            "distances are not FID"
        ) from None


def features_named(name: str, devices: "Devices") -> "Features":
    """Open features; an error about Inception suggests others, which need no download."""
    from adm.features import open_features

    with suggesting():
        return open_features(name, devices.device)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Parse H,W or one number for both; raise ValueError for anything else."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"cannot read --size {text!r}; write --size 64 or --size 48,64")
    return int(parts[0]), int(parts[-1])


@contextmanager
def with_progress(extraction: "Extraction", what: str, count: int) -> Iterator["Extraction"]:
    """Show the progress of this rank's share of `count` images, on the main rank only."""
    from adm.evaluation.statistics import own_images

    if not count or not extraction.devices.main:
        yield extraction
        return
    with progress(what, own_images(count, extraction.devices)) as advance:
        yield replace(extraction, on_images=advance)


def extracted(features: "Features", source: "Source", extraction: "Extraction") -> "FeatureSet":
    """Extract the features of every image of a source, and show the progress."""
    from adm.evaluation import extract

    what = f"extracting features of {source.name}"
    with with_progress(extraction, what, len(source)) as shown:
        return extract(source, features, shown)


@contextmanager
def with_cache(extraction: "Extraction", out: Path | None) -> Iterator["Extraction"]:
    """Add a cache folder beside `out` if `extraction` has none; remove it once `out` is written.

    It stays after an error, so that the same command resumes.
    """
    if extraction.work is not None or out is None:
        yield extraction
        return
    work = out.with_name(f".{out.name}.work")
    try:
        yield replace(extraction, work=work)
    except BaseException:
        _remove_empty(work)
        raise
    extraction.devices.once(lambda: shutil.rmtree(work, ignore_errors=True))


def part(extraction: "Extraction", name: str) -> "Extraction":
    """Return the extraction with a sub-folder of its cache, for one of several sets of images."""
    if extraction.work is None:
        return extraction
    return replace(extraction, work=extraction.work / name)


def _remove_empty(folder: Path) -> None:
    """Remove a folder that holds no files, and its empty sub-folders."""
    for each in (*folder.glob("*/"), folder):
        with suppress(OSError):  # not empty, or removed by another rank
            each.rmdir()
