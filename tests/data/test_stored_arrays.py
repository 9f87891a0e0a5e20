"""an .npz file, compressed or not -> its arrays, left on disk."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from adm.data import open_source
from adm.data.npz import members
from adm.data.stored import stored

KEYS = ("arr_0", "by_columns", "arr_1", "one", "none")
LARGE = (700, 40, 40, 1)  # more than the 1 MB that is read at once


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "arr_0": random.integers(0, 256, LARGE, dtype=np.uint8),
        "by_columns": np.asfortranarray(random.normal(size=(500, 300))),
        "arr_1": np.arange(700) % 4,
        "one": np.array("words"),
        "none": np.zeros((0, 4), np.float32),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_is_what_was_saved(tmp_path: Path, arrays: dict, save) -> None:
    path = tmp_path / "a.npz"
    save(path, **arrays)
    found = members(path, KEYS)
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        assert np.array_equal(found[key], array), key
    assert isinstance(found["arr_0"], np.memmap)
    assert isinstance(found["by_columns"], np.memmap)


def test_the_file_stays_as_it_is_whatever_is_written(tmp_path: Path, arrays: dict) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    before = path.read_bytes()
    members(path, KEYS)["arr_0"][:] = 7
    assert path.read_bytes() == before


def test_images_are_those_of_the_source_in_memory(tmp_path: Path, arrays: dict) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, arr_0=arrays["arr_0"], arr_1=arrays["arr_1"])
    ours, theirs = stored(path), open_source(str(path))
    for each, other in zip(ours.batch([5, 0, 699]), theirs.batch([5, 0, 699]), strict=True):
        assert np.array_equal(each, other)
    assert (ours.classes, ours.name) == (theirs.classes, theirs.name)
    assert stored(path, ("a", "b", "c", "d")).classes == ("a", "b", "c", "d")


def test_a_large_array_of_objects_or_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, arr_0=np.full(1 << 18, "word", dtype=object))
    with pytest.raises(ValueError, match=r"not a readable \.npz"):
        members(path, KEYS)
    written = io.BytesIO()
    np.save(written, np.zeros(1 << 21, np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", written.getvalue()[:-5])
    with pytest.raises(ValueError, match="not as long as its header says"):
        members(path, KEYS)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.npy", written.getvalue())
    with pytest.raises(ValueError, match="has no images: its arrays are other"):
        stored(path)
