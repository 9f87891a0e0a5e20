"""Arrays <-> .npz file that holds the SHA-256 of its arrays, by which damage shows."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from adm.data.export import write_npz
from adm.data.npz import members

HASH = "sha256"  # of all other arrays of the file


def write_sealed(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and their hash; the bytes are a function of the arrays."""
    write_npz(path, {**arrays, HASH: np.array([_hash(arrays)])})


def read_sealed(
    path: Path, keys: Collection[str], needed: Collection[str]
) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file; None if it is absent, or not as it was written.

    Args:
        keys: all arrays that the file may hold.
        needed: those of them that it must hold.
    """
    try:
        found = members(path, {*keys, HASH})
    except ValueError:
        return None
    if not {*needed, HASH} <= found.keys():
        return None
    told = found.pop(HASH).tolist()
    return found if told == [_hash(found)] else None


def _hash(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays with their keys, types and shapes."""
    whole = hashlib.sha256()
    for key, array in sorted(arrays.items()):
        whole.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        whole.update(array.tobytes())
    return whole.hexdigest()
