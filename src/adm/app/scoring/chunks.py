"""Features of a chunk <-> .npz file; all chunks -> arrays of all images and their Moments."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from adm.metrics import Moments
from adm.store.arrays import load_arrays, read_sealed, write_npz, write_sealed
from adm.store.files import new_file
from adm.training.disk import unwritten

KINDS = ("pool", "spatial", "logits")  # the fields of `Extracted`, in order
NOTED = ("fingerprint", "hashes")  # what a chunk says of its extractor and images
COUNTED = ("pool", "spatial")  # kinds whose moments are computed
WHOLE = "whole"  # folder of the arrays of all images
MOMENTS = "moments.npz"
ROWS = 2048  # images per update of the moments


def hashes_of(images: Tensor) -> np.ndarray:
    """(B, C, H, W) uint8 -> (B, 32) uint8, SHA-256 of each image's bytes."""
    found = (hashlib.sha256(image.tobytes()).digest() for image in images.contiguous().numpy())
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(images), 32)


def holds(folder: Path, span: range, fingerprint: str, hashes: np.ndarray) -> bool:
    """Return whether the folder has the chunk of these images and this extractor."""
    kept = _kept(folder, span)
    return (
        kept is not None
        and kept["fingerprint"].tolist() == [fingerprint]
        and np.array_equal(kept["hashes"], hashes)
    )


def damaged(folder: Path, span: range) -> bool:
    """Return whether the folder has a chunk of these numbers that differs from what was written."""
    return _path(folder, span).exists() and _kept(folder, span) is None


def save(
    folder: Path,
    span: range,
    fingerprint: str,
    hashes: np.ndarray,
    extracted: Sequence[Tensor | None],
) -> None:
    """Write a chunk atomically, with a hash of its arrays.

    Args:
        extracted: for each of `KINDS` a (B, ...) array, or None.
    """
    arrays = {"fingerprint": np.array([fingerprint]), "hashes": hashes}
    arrays |= {k: v.numpy() for k, v in zip(KINDS, extracted, strict=True) if v is not None}
    with _written(_path(folder, span)) as part:
        write_sealed(part, arrays)


def join(
    folder: Path, spans: Sequence[range], fingerprint: str, hashes: Mapping[int, np.ndarray]
) -> None:
    """Concatenate all chunks on disk and compute their moments, in constant memory.

    Args:
        hashes: index of a chunk's first image -> (B, 32) hashes of its images.

    Raises:
        ValueError: a chunk is missing, or was extracted from other images or by other features.
    """
    kinds = _kinds(folder, spans, fingerprint, hashes)
    whole = folder / WHOLE
    whole.mkdir(exist_ok=True)
    for left in (*whole.glob("*.np[yz]"), *whole.glob("*.part"), *folder.glob("*.part")):
        left.unlink()
    moments = {}
    for kind in kinds:
        counted = _joined(folder, spans, kind)
        if counted is not None:
            moments |= {f"{kind}.{k}": np.array(v) for k, v in vars(counted).items()}
    with _written(whole / MOMENTS) as part:
        write_npz(part, moments)


def load(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Moments]]:
    """Open the files of `join`: kind -> array, memory-mapped, and kind -> moments."""
    whole = folder / WHOLE
    arrays = {
        path.stem: np.load(path, mmap_mode="c", allow_pickle=False) for path in whole.glob("*.npy")
    }
    with np.load(whole / MOMENTS, allow_pickle=False) as kept:
        moments = {
            kind: Moments(
                kept[f"{kind}.count"].item(), kept[f"{kind}.mean"], kept[f"{kind}.scatter"]
            )
            for kind in COUNTED
            if f"{kind}.count" in kept.files
        }
    return arrays, moments


def _path(folder: Path, span: range) -> Path:
    return folder / f"chunk-{span.start:09d}.npz"


def _kept(folder: Path, span: range) -> dict[str, np.ndarray] | None:
    """Return the arrays of a chunk but its hash; None if it is absent, or not as written."""
    return read_sealed(_path(folder, span), (*NOTED, *KINDS), (*NOTED, "pool"))


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Write a file through `new_file`; it is not synced, because its hash tells damage."""
    try:
        with new_file(path, sync=False) as part:
            yield part
    except OSError as error:
        raise unwritten(str(path), error) from error


def _kinds(
    folder: Path, spans: Sequence[range], fingerprint: str, hashes: Mapping[int, np.ndarray]
) -> list[str]:
    """Return the kinds of arrays in the chunks; raise ValueError unless all chunks are present.

    A folder that the ranks do not share may hold chunks of an earlier call instead.
    """
    shapes: list[dict[str, tuple[int, ...]]] = []
    for span in spans:
        if not holds(folder, span, fingerprint, hashes[span.start]):
            raise ValueError(
                f"{folder} lacks the features of images {span.start} to {span.stop - 1}, which "
                "another rank extracted; give work=... a folder that all ranks share"
            )
        kept = load_arrays(_path(folder, span), ("hashes", *KINDS))
        shapes.append({key: array.shape[1:] for key, array in kept.items()})
        if shapes[-1] != shapes[0]:
            raise ValueError(
                f"{folder} has features of images {span.start} to {span.stop - 1} of another shape "
                "than those before; remove it, and make the features of all images equally many"
            )
    return [*shapes[0]]


def _joined(folder: Path, spans: Sequence[range], kind: str) -> Moments | None:
    """Write the whole array of one kind; returns its moments if it is one of `COUNTED`."""
    total, waiting, rows = None, [], 0
    path = folder / WHOLE / f"{kind}.npy"
    with _written(path) as part, part.open("wb") as file:
        for span in spans:
            values = load_arrays(_path(folder, span), (kind,))[kind]
            if span.start == 0:
                _header(file, values, spans[-1].stop)
            file.write(values.tobytes())
            if kind not in COUNTED:
                continue
            total = Moments.empty(values.shape[1]) if total is None else total
            waiting.append(values)
            rows += len(values)
            if rows >= ROWS or span is spans[-1]:
                total += Moments.of(np.concatenate(waiting))
                waiting, rows = [], 0
    return total


def _header(file: IO[bytes], like: np.ndarray, count: int) -> None:
    descr = np.lib.format.dtype_to_descr(like.dtype)
    shape = (count, *like.shape[1:])
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
