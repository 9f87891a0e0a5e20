"""Damaged .npz, .npy and IDX files -> a ValueError of one line, or the values that were written."""

import gzip
import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from adm.data.arrays import read_arrays as arrays
from adm.data.idx import read_idx
from adm.data.source import Source
from adm.store import arrays as store

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
LABELS = np.arange(6) % 3
CLASSES = np.array(["ant", "bee", "cat"])
LONGEST = 600  # characters of a message
MOST_MEMORY = 1 << 24  # bytes allocated for a file of less than 2,000


def npz_of(save: Callable[..., None]) -> bytes:
    file = io.BytesIO()
    save(file, arr_0=IMAGES, arr_1=LABELS, classes=CLASSES)
    return file.getvalue()


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def idx_of(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def pixels(source: Source) -> tuple[object, ...]:
    images, labels = source.batch(range(len(source)))
    return images.numpy().tolist(), labels.tolist(), source.classes


def damaged(content: bytes, seed: int) -> Iterator[bytes]:
    """Flipped bits, exchanged bytes, truncations, and parts that are repeated or zeroed."""
    draw = random.Random(seed)
    for _ in range(120):
        place = draw.randrange(len(content))
        yield (
            content[:place]
            + bytes([content[place] ^ 1 << draw.randrange(8)])
            + content[place + 1 :]
        )
        yield content[:place] + draw.choice((b"\0", b"\xff", b"-")) + content[place + 1 :]
    for place in range(0, len(content), max(1, len(content) // 40)):
        yield content[:place]
        yield content[:place] + bytes(len(content) - place)
        yield content[:place] + content[place // 2 :]
    yield content + b"\0"


def outcome(read: Callable[[Path], object], path: Path) -> tuple[object, str | None]:
    """What a reader returns, or the message of its ValueError; other exceptions fail the test."""
    try:
        return read(path), None
    except ValueError as error:
        return None, str(error)


FORMATS = {
    "stored.npz": (npz_of(np.savez), lambda path: pixels(arrays(path, in_memory=False))),
    "memory.npz": (npz_of(np.savez), lambda path: pixels(arrays(path))),
    "packed.npz": (npz_of(np.savez_compressed), lambda path: pixels(arrays(path))),
    "images.npy": (npy_of(IMAGES), lambda path: pixels(arrays(path))),
    "images-idx3-ubyte": (idx_of(IMAGES[..., 0]), lambda path: read_idx(path).tolist()),
    "images-idx3.gz": (gzip.compress(idx_of(IMAGES[..., 0])), lambda path: read_idx(path).tolist()),
}
CHECKED = (".npz", ".gz")  # formats with a checksum, which finds all damage of values


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_in_one_line_or_changes_nothing(tmp_path: Path, name: str) -> None:
    content, read = FORMATS[name]
    path, refused = tmp_path / name, 0
    path.write_bytes(content)
    whole = read(path)
    tracemalloc.start()
    for each in damaged(content, seed=len(name)):
        path.write_bytes(each)
        found, message = outcome(read, path)
        if message is None:
            assert found == whole or path.suffix not in CHECKED
        else:
            refused += 1
            assert message.isprintable()
            assert len(message) < LONGEST
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    tracemalloc.stop()
    assert refused > 40


SHAPES = [
    "(1000000000000000000000000000000,)",
    "(-3, 4)",
    "(18446744073709551616,)",
    "(0, 1" + "0" * 20,
]
HEADERS = [
    *(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}" for shape in SHAPES),
    "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1, " * 70 + "), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': 360, }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 360), }",
    "{'descr': '|u1', 'fortran_order': 1, 'shape': (360,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (45,), }",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (360,), }",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (45,), }",
    "{'descr': '|V1', 'fortran_order': False, 'shape': (360,), }",
    "{'descr': '<U99999999', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (360,), " + "'a': " * 300 + "}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "(" * 400 + "), }",
    "(" * 900,
    "__import__('os').system('true')",
    "\\x00\\u1",
    "",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("version", [b"\1\0", b"\2\0", b"\3\0", b"\7\7"])
def test_a_header_that_is_not_of_plain_numbers_of_that_size_is_refused(
    tmp_path: Path, header: str, version: bytes
) -> None:
    length = len(header).to_bytes(2 if version == b"\1\0" else 4, "little")
    content = b"\x93NUMPY" + version + length + header.encode() + IMAGES.tobytes()
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy is not a readable \.npy"):
        arrays(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", content)
    with pytest.raises(ValueError, match=r"a\.npz is not a readable \.npz \(its array arr_0: "):
        arrays(tmp_path / "a.npz")


def test_two_members_of_one_key_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", npy_of(IMAGES))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("arr_0.npy", npy_of(IMAGES + 1))
    with pytest.raises(ValueError, match="it has two arrays arr_0"):
        arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_than_numpy_s_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
        archive.writestr("arr_0.npy", npy_of(IMAGES))
    with pytest.raises(ValueError, match="expected deflate"):
        arrays(tmp_path / "a.npz")


def bomb(path: Path) -> Path:
    np.savez_compressed(path, arr_0=np.zeros((8, 1200, 1200, 1), np.uint8))
    return path


def test_an_array_that_inflates_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bomb(tmp_path / "a.npz")
    assert len(arrays(path)) == 8  # nothing is refused below 1 GB
    monkeypatch.setattr(store, "FREELY_INFLATED", 1 << 20)
    with pytest.raises(
        ValueError, match=r"would inflate from .* to 11,520,128 bytes, more than 200"
    ):
        arrays(path)
