"""Model file -> its metadata, read from the header without loading torch or the weights.

A safetensors file starts with the length of its header, 8 bytes, and the header, JSON that gives
the position of each tensor in the rest of the file.
"""

import json
from pathlib import Path
from typing import Any

from adm.parsed import parse_json

FORMAT = "adm"  # the key of our metadata in the header of a model file
LENGTH = 8  # bytes of the header's length
MOST_BYTES = 100_000_000  # of a header; the limit of safetensors itself


def metadata_of(path: Path) -> dict[str, Any]:
    """Read the metadata that `checkpoint.save_model` stored in a model file.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    try:
        metadata = described_by(_header(path))
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None
    if not isinstance(metadata, dict) or not {"recipe", "classes"} <= metadata.keys():
        raise ValueError(
            f"{path} contains no recipe; give the model.safetensors of a checkpoint, or import the "
            "file if adm did not write it"
        )
    return metadata


def damaged(path: Path, error: Exception) -> ValueError:
    """Return the error of a model file that cannot be read."""
    return ValueError(
        f"{path} is not a model file, or it is damaged ({error}); copy it again, or give a "
        "file that `adm train` wrote"
    )


def described_by(described: dict[str, str]) -> dict[str, Any]:
    """Return the metadata that `save_model` stored in a header; empty for files of others."""
    if FORMAT in described:
        return parse_json(described[FORMAT])
    if described.pop("format", None) == FORMAT:  # before 0.1, each key had its own entry
        return {k: parse_json(v) for k, v in described.items()}
    return {}


def _header(path: Path) -> dict[str, str]:
    """Return the `__metadata__` of a safetensors header, all of whose tensors are in the file."""
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
    if (end := max(map(_end, header.values()), default=0)) != size - LENGTH - length:
        raise ValueError(f"it has {size} bytes, and its header says {LENGTH + length + end}")
    return described


def _end(tensor: Any) -> int:
    """Return where a tensor ends, in bytes from the end of the header."""
    match tensor:
        case {"data_offsets": [int(), int(end)]}:
            return end
    raise ValueError("its header describes no tensors")
