"""words on features, processes and folders -> what `adm reference` and `adm evaluate` work with."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adm.cli.progress import progress

if TYPE_CHECKING:  # so that --help answers before torch is there
    from adm.data import Source
    from adm.evaluation import FeatureSet, Looking
    from adm.features import Features
    from adm.processes import Devices


def joined(device: str | None) -> "Devices":
    """The processes that were launched together, or this one alone on the device named."""
    from adm.models.device import pick
    from adm.processes import Devices, join, launched

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
def watched(looking: "Looking", what: str, count: int) -> Iterator["Looking"]:
    """The same with progress of this process's share of `count`, shown by the main one."""
    from adm.evaluation.statistics import own_images

    if not count or not looking.devices.main:
        yield looking
        return
    with progress(what, own_images(count, looking.devices)) as advance:
        yield replace(looking, on_images=advance)


def seen_by(features: "Features", source: "Source", looking: "Looking") -> "FeatureSet":
    """What the network sees in every image of a source, with progress."""
    from adm.evaluation import extract

    with watched(looking, f"looking at {source.name}", len(source)) as each:
        return extract(source, features, each)


@contextmanager
def working(looking: "Looking", out: Path | None) -> Iterator["Looking"]:
    """The same with a folder that keeps features: its own, or one beside `out` till that is there.

    What an error interrupts is kept, so that the same command goes on when that is mended.
    """
    if looking.work is not None or out is None:
        yield looking
        return
    work = out.with_name(f".{out.name}.work")
    try:
        yield replace(looking, work=work)
    except BaseException:
        _remove_empty(work)
        raise
    looking.devices.once(lambda: shutil.rmtree(work, ignore_errors=True))


def part(looking: "Looking", name: str) -> "Looking":
    """The same with its folder divided, for one of several sets of images."""
    return looking if looking.work is None else replace(looking, work=looking.work / name)


def _remove_empty(folder: Path) -> None:
    """A folder that keeps nothing, nor do those in it."""
    for each in (*folder.glob("*/"), folder):
        with suppress(OSError):  # it keeps something, or another process was here first
            each.rmdir()
