"""safetensors file -> Header, Metadata: what it says about itself, without torch or its weights.

A safetensors file starts with the length of its header, 8 bytes, and the header, JSON that gives
the position of each tensor in the rest of the file.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from adm.limits import MOST_CHARACTERS, MOST_CLASSES, MOST_STEPS, MOST_TEXT
from adm.store.parsed import as_type, parse_json

FORMAT = "adm"  # the key of our metadata in the header of a model file
LENGTH = 8  # bytes of the header's length
MOST_BYTES = 100_000_000  # of a header; the limit of safetensors itself
# Bytes of a number of each type that weights are stored in.
BYTES = {
    **dict.fromkeys(("F64", "I64"), 8),
    **dict.fromkeys(("F32", "I32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL"), 1),
}
CURE = "copy it again, or give a file that `adm train` wrote"

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Steps = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]


@dataclass(frozen=True)
class Entry:
    """Type, shape and position of a tensor; the position is in bytes from the header's end."""

    dtype: str
    shape: Annotated[tuple[Count, ...], Field(max_length=8)]
    data_offsets: tuple[Count, Count]

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads it)


class Header(NamedTuple):
    """The header of a safetensors file whose tensors are all in the file.

    Attributes:
        described: its texts by key.
        tensors: its tensors by name.
    """

    described: dict[str, str]
    tensors: dict[str, Entry]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A network that a student was distilled from.

    Attributes:
        recipe: the name of its recipe.
        sha256: of its file.
        trained_steps: its number of optimizer steps; None for a released file.
    """

    recipe: Name
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    trained_steps: Steps | None = None


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a model file says about itself.

    Attributes:
        recipe: the recipe as JSON; it is parsed by its own schema.
        classes: names of the classes of the training images, in the order of the labels.
        data: name of the training images.
        step: number of optimizer steps; None for a released file.
        weights: which of the weights of a run it holds: `model`, `raw` or the name of an average.
        width: the width of a power-function average.
        teacher, guide: of a student, the model and the classifier that it was distilled from.
    """

    recipe: dict[str, Any]
    classes: Annotated[tuple[Name, ...], Field(max_length=MOST_CLASSES)]
    data: Annotated[str, Field(max_length=MOST_TEXT)] | None = None
    step: Steps | None = None
    weights: Name | None = None
    width: Annotated[float, Field(gt=0, lt=1)] | None = None
    teacher: Origin | None = None
    guide: Origin | None = None


def metadata_of(path: Path) -> Metadata:
    """Read the metadata that `checkpoint.save_model` stored in a model file.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    entries = entries_of(path)
    try:
        return as_type(Metadata, entries)
    except ValueError as error:
        raise damaged_metadata(path, error) from None


def entries_of(path: Path) -> dict[str, Any]:
    """Return the metadata of a model file as JSON values, those of later versions included.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    try:
        entries = _ours(header_of(path).described)
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None
    if not isinstance(entries, dict) or not {"recipe", "classes"} <= entries.keys():
        raise ValueError(
            f"{path} contains no recipe; give the model.safetensors of a checkpoint, or import the "
            "file if adm did not write it"
        )
    return entries


def header_of(path: Path) -> Header:
    """Read the header of a safetensors file.

    Raises:
        ValueError: it is damaged, or its tensors do not fill the rest of the file. The message is
            only the reason.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        if size < LENGTH or not 0 < length <= min(MOST_BYTES, size - LENGTH):
            raise ValueError("it has no header of safetensors")
        content = file.read(length)
    try:
        header = parse_json(content)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError("its header is not JSON") from None
    described = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(described, dict) or not all(isinstance(v, str) for v in described.values()):
        raise ValueError("its header holds no metadata")
    try:
        tensors = as_type(dict[str, Entry], header)
        end = _end(tensors)
    except ValueError as error:
        raise ValueError(f"its header describes no tensors ({error})") from None
    if end != size - LENGTH - length:
        raise ValueError(f"it has {size} bytes, and its header says {LENGTH + length + end}")
    return Header(described, tensors)


def damaged(path: Path, error: Exception) -> ValueError:
    """Return the error of a model file that cannot be read."""
    return ValueError(f"{path} is not a model file, or it is damaged ({error}); {CURE}")


def damaged_metadata(path: Path, error: Exception) -> ValueError:
    """Return the error of a model file whose metadata contradict their schema or its weights."""
    return ValueError(f"{path} holds a damaged recipe or damaged classes ({error}); {CURE}")


def _ours(described: dict[str, str]) -> Any:
    """Return the metadata that `save_model` stored in a header; empty for files of others."""
    if FORMAT in described:
        return parse_json(described[FORMAT])
    if described.get("format") == FORMAT:  # before 0.1, each key had its own entry
        return {key: parse_json(text) for key, text in described.items() if key != "format"}
    return {}


def _end(tensors: dict[str, Entry]) -> int:
    """Return where the last tensor ends.

    Raises:
        ValueError: a type is unknown, a tensor does not have the size of its shape, or the tensors
            overlap or leave a gap.
    """
    end = 0
    for entry in sorted(tensors.values(), key=lambda each: each.data_offsets):
        if entry.dtype not in BYTES:
            raise ValueError(f"the type of a tensor must be one of {', '.join(BYTES)}")
        start, stop = entry.data_offsets
        if start != end or stop - start != math.prod(entry.shape) * BYTES[entry.dtype]:
            raise ValueError("tensors overlap, or differ in size from their shapes")
        end = stop
    return end
