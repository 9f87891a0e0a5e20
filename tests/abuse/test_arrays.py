"""Files of arrays -> what NumPy reads, or a ValueError of one line where headers are false."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from adm.data.arrays import read_arrays as arrays
from adm.store import arrays as store

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


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
@pytest.mark.parametrize("version", [b"\1\0", b"\7\7"])
def test_a_header_that_is_not_of_plain_numbers_of_its_size_is_refused(
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


def test_an_array_that_inflates_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, arr_0=np.zeros((8, 1200, 1200, 1), np.uint8))
    assert len(arrays(path)) == 8  # nothing is refused below 1 GB
    monkeypatch.setattr(store, "FREELY_INFLATED", 1 << 20)
    with pytest.raises(
        ValueError, match=r"would inflate from .* to 11,520,128 bytes, more than 200"
    ):
        arrays(path)


ARRAYS = {
    "few": np.arange(5),
    "many": np.random.default_rng(0).random((300, 3000)),
    "none": np.zeros((0, 3)),
    "text": np.array(["ä", "long"]),
    "columns": np.asfortranarray(np.random.default_rng(0).random((700, 300))),
    "swapped": np.arange(3).astype(">i4"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_wrote(tmp_path: Path, save: object) -> None:
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    assert store.array_names(path) == [*ARRAYS]
    loaded = store.load_arrays(path, [*ARRAYS, "absent"])
    assert loaded.keys() == ARRAYS.keys()
    assert all(np.array_equal(loaded[name], ARRAYS[name]) for name in ARRAYS)
    assert all(array.dtype.isnative and array.flags.writeable for array in loaded.values())
    assert isinstance(loaded["many"], np.memmap) == (save is np.savez)
    assert store.load_arrays(path, ["few"]).keys() == {"few"}
