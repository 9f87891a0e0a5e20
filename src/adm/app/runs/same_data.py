"""Run folder, Source -> data.json, or ValueError saying what has changed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeAlias

from adm.data import Source
from adm.data.fingerprint import Fingerprint, difference, fingerprint
from adm.store.files import write_text
from adm.store.parsed import as_type, read_json

FILE = "data.json"
# Of the images that a run has learned from: compare their names and sizes with what they were, or
# all bytes, too; or nothing, and record what they are now.
CheckData: TypeAlias = Literal["names", "pixels", "none"]
CHECKS = ("names", "pixels", "none")


def compared(run: Path, source: Source, check: CheckData, begun: bool) -> Fingerprint | None:
    """Return the fingerprint to record, if it is not there; the images must be those of before.

    Args:
        begun: whether the run has a checkpoint. Before, its images may still be changed.

    Raises:
        ValueError: the images differ from what they were when the run began.
    """
    path, now = run / FILE, fingerprint(source, check == "pixels")
    if not begun or check == "none" or not path.exists():
        return now
    held = _held(path)
    if (what := difference(held, now)) is not None:
        raise ValueError(
            f"{run} holds a run on other data: {what} has changed since the run began; restore it, "
            "choose another out=..., or accept the change with check_data='none'"
        )
    return now if held.pixels is None and now.pixels is not None else None


def record(run: Path, found: Fingerprint) -> None:
    """Write the fingerprint of a run's images."""
    write_text(run / FILE, json.dumps(asdict(found)) + "\n")


def _held(path: Path) -> Fingerprint:
    try:
        return as_type(Fingerprint, read_json(path))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it, or record the data anew with "
            "check_data='none'"
        ) from None
