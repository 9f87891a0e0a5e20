"""Path, what a value depends on -> the value that an earlier call has stored, typed, or None."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from adm.store.files import write_json
from adm.store.parsed import as_type, cached_json, through_json

T = TypeVar("T")


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A file that holds a value, and what it depends on.

    Attributes:
        of: JSON values; a stored value of others is not taken.
        kind: type of the value.
    """

    path: Path
    of: dict[str, Any]
    kind: type[T]

    def read(self) -> T | None:
        """Return the value; None if there is none, it is damaged, or it depends on others."""
        had = cached_json(self.path)
        if had is None or had.get("of") != through_json(self.of):
            return None
        try:
            return as_type(self.kind, had.get("value"))
        except ValueError:
            return None

    def write(self, value: object) -> None:
        """Store JSON values, atomically."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"of": self.of, "value": value})
