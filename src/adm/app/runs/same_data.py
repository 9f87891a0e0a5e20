"""Run folder, Source -> data.json, or ValueError naming the first image that has changed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeAlias

from adm.data import Source
from adm.data.fingerprint import Fingerprint, changed, fingerprint
from adm.shown import printable
from adm.store.files import write_text
from adm.store.parsed import as_type, read_json

FILE = "data.json"
# Of the images that a run has learned from: compare a sample with what they were, or all of them,
# or none, and record what they are now.
CheckData: TypeAlias = Literal["sample", "all", "none"]
CHECKS = ("sample", "all", "none")


def compared(run: Path, source: Source, check: CheckData, begun: bool) -> Fingerprint | None:
    """Return the fingerprint to record, if it is not there; the images must be those of before.

    Args:
        begun: whether the run has a checkpoint. Before, its images may still be changed.

    Raises:
        ValueError: an image differs from what it was when the run began; names it.
    """
    path = run / FILE
    if begun and check != "none" and path.exists():
        held = _held(path, len(source))
        if (place := changed(source, held, check == "all")) is not None:
            raise ValueError(
                f"{run} holds a run on other data: {printable(place)} has changed since the run "
                "began; restore it, choose another out=..., or accept the change with "
                "check_data='none'"
            )
        if held.whole or check == "sample":
            return None
    return fingerprint(source, check == "all")


def record(run: Path, found: Fingerprint) -> None:
    """Write the fingerprint of a run's images."""
    write_text(run / FILE, json.dumps(asdict(found)) + "\n")


def _held(path: Path, images: int) -> Fingerprint:
    try:
        held = as_type(Fingerprint, read_json(path))
        if held.images != images:
            raise ValueError(f"it is of {held.images} images, and the run of {images}")
        return held
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it, or record the data anew with "
            "check_data='none'"
        ) from None
