"""Sample folder -> its manifest, or None."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adm.data.naming import MANIFEST
from adm.generation.labels import MOST_IMAGES
from adm.store.parsed import as_type, read_json

CURE = "sample again, or remove it"


@dataclass(frozen=True)
class Known:
    """The entries of a manifest that every generator has; the others are compared as they are."""

    count: Annotated[int, Field(ge=1, le=MOST_IMAGES)] | None = None
    labels: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = self.labels or ()
        if labels and self.count is not None and len(labels) != self.count:
            raise ValueError(f"there are {len(labels)} labels of {self.count} images")
        if labels and self.classes and max(labels) >= len(self.classes):
            raise ValueError(f"label {max(labels)} has no name among {len(self.classes)} classes")


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
        made = read_json(path)
        if not isinstance(made, dict):
            raise ValueError("it holds no JSON object")
        as_type(Known, {key: made[key] for key in asdict(Known()) if key in made})
        return made
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); {CURE}") from None
