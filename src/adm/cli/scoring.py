"""words on features, processes and folders -> what `adm reference` and `adm evaluate` work with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adm.cli.progress import Advance, progress

if TYPE_CHECKING:  # so that --help answers before torch is there
    from adm.data import Source
    from adm.evaluation.statistics import FeatureSet
    from adm.features import Features
    from adm.training.devices import Devices


def joined(device: str | None) -> "Devices":
    """The processes that were launched together, or this one alone on the device named."""
    from adm.cli.device import pick
    from adm.training.devices import Devices, join, launched

    if not launched():
        return Devices(pick(device))
    return join(pick(device) if device else None)


def features_named(name: str, devices: "Devices") -> "Features":
    """Open features; those that are not installed are said to have others in their place."""
    from adm.features import open_features

    try:
        return open_features(name, devices.device)
    except ValueError as error:
        if name.partition(":")[0] != "inception":
            raise
        raise ValueError(
            f"{error}; or take --features efficientnet-lite0 or others (docs/features.md), whose "
            "numbers are no FID"
        ) from None


def parse_size(text: str | None) -> tuple[int, int] | None:
    """H,W or one number for both."""
    if text is None:
        return None
    parts = text.split(",")
    if not 1 <= len(parts) <= 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"cannot read --size {text!r}; write H,W as in 64,64, or one number")
    numbers = [int(part) for part in parts]
    return numbers[0], numbers[-1]


@contextmanager
def looking(what: str, count: int, devices: "Devices") -> Iterator[Advance]:
    """Progress of this process's share, shown by the main one."""
    from adm.evaluation.statistics import own_images

    own = own_images(count, devices)
    if not devices.main:
        yield _silent
        return
    with progress(what, own) as advance:
        yield advance


def seen_by(
    features: "Features", source: "Source", devices: "Devices", batch_size: int, work: Path | None
) -> "FeatureSet":
    """What the network sees in every image of a source, with progress; `work` keeps it."""
    from adm.evaluation import extract

    with looking(f"looking at {source.name}", len(source), devices) as advance:
        options = {"devices": devices, "batch_size": batch_size, "on_images": advance}
        return extract(source, features, work=work, **options)


@contextmanager
def working(out: Path | None, work: Path | None, devices: "Devices") -> Iterator[Path | None]:
    """The folder that keeps features: the one named, or one beside `out` until that is written."""
    if work is not None or out is None:
        yield work
        return
    own = out.with_name(f".{out.name}.work")
    yield own
    devices.once(lambda: shutil.rmtree(own, ignore_errors=True))


def _silent(amount: float, note: str = "") -> None:
    return None
