""".npz files -> the arrays that NumPy reads, or one line; a header allocates nothing."""

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from adm.store.arrays import array_names, load_arrays

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
    assert array_names(path) == [*ARRAYS]
    found = load_arrays(path, [*ARRAYS, "absent"])
    assert found.keys() == ARRAYS.keys()
    assert all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)
    assert all(array.dtype.isnative and array.flags.writeable for array in found.values())
    assert isinstance(found["many"], np.memmap) == (save is np.savez)
    assert load_arrays(path, ["few"]).keys() == {"few"}


def member(header: str, content: bytes = b"") -> bytes:
    text = f"{header}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content


BAD = {
    "no header": (b"\x93NUMPY and no more", "a.npz is not a readable"),
    "a terabyte": (
        member("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }"),
        "not as long as its header says",
    ),
    "objects": (  # whose pickle would end the process
        member("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nabort\n(tR."),
        "it is of 'object', expected plain numbers or text",
    ),
    "no Unicode": (
        member("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", b"\xff\xff\xff\x7f"),
        "its text is damaged",
    ),
    "inflated": (bytes(2**30 + 1), "it would inflate from"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_array_that_cannot_be_read_is_refused(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match=message):
        load_arrays(tmp_path / "a.npz", ["x"])


def test_damaged_bytes_are_refused_or_change_no_value(tmp_path: Path) -> None:
    path, draw = tmp_path / "a.npz", random.Random(0)
    np.savez(path, x=np.arange(40.0), y=np.arange(6))
    whole, refused = path.read_bytes(), 0
    for _ in range(500):
        place = draw.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([draw.randrange(256)]) + whole[place + 1 :])
        try:
            found = load_arrays(path, "xy")
        except ValueError as error:
            refused += str(error).isprintable()
            continue
        assert all(np.array_equal(found[key], np.load(path)[key]) for key in found)
    assert refused > 400
