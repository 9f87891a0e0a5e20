"""Names of the files in a sample folder; sample folder -> its manifest, or None."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adm.limits import MOST_IMAGES
from adm.shown import shown
from adm.store.parsed import as_type, read_json

ARCHIVE, MANIFEST = "samples.npz", "samples.json"
# Pictures of all samples, and not samples.
SHEET, ANIMATION, RESTORED = "grid.png", "denoising.gif", "restored.png"
PICTURES = (SHEET, ANIMATION, RESTORED)
CURE = "sample again, or remove it"
# Bytes: the label of each of MOST_IMAGES images, with the names of the classes.
SAMPLES = 1 << 26


@dataclass(frozen=True)
class Known:
    """The entries of a manifest that every generator has; the others are compared as they are."""

    count: Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None = None
    classes: tuple[str, ...] = ()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a sample folder; None if there is none.

    Its `count`, `labels` and `classes`, where it has them, fit each other.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = read_json(path, SAMPLES)
        if not isinstance(manifest, dict):
            raise ValueError("it holds no JSON object")
        known = as_type(Known, {key: manifest[key] for key in asdict(Known()) if key in manifest})
        _check_labels(manifest.get("labels"), known)
        return manifest
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {CURE}") from None


def _check_labels(labels: Any, known: Known) -> None:
    """Check labels one by one: a typed copy of ten million would take as much memory again."""
    if labels is None:
        return
    if not isinstance(labels, list):
        raise ValueError(f"labels must be a list, got {shown(labels)}")
    wrong = next((i for i, each in enumerate(labels) if type(each) is not int or each < 0), None)
    if wrong is not None:
        raise ValueError(
            f"labels.{wrong} must be a whole number of at least 0, got {shown(labels[wrong])}"
        )
    if labels and known.count is not None and len(labels) != known.count:
        raise ValueError(f"there are {len(labels)} labels of {known.count} images")
    if labels and known.classes and max(labels) >= len(known.classes):
        raise ValueError(f"label {max(labels)} has no name among {len(known.classes)} classes")
