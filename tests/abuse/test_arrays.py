"""Files of arrays and references of others -> what NumPy wrote, or one line."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from abuse.damage import NAMES, TEXTS, Canary, damaged, json_bytes, silent, tried
from abuse.refused import refusal
from hypothesis import given
from hypothesis import strategies as st
from scoring.stubs import blocks, spots

from adm.data.arrays import read_arrays
from adm.features import recorded_features
from adm.scoring import load_reference, make_reference
from adm.store import arrays

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
SHAPES = ("(1000000000000000000000000000000,)", "(-3, 4)", "(4294967296, 4294967296)", "360", "(")
HEADERS = (
    *(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}" for shape in SHAPES),
    "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "1, " * 70 + "), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 360), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (45,), }",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (360,), }",
    "{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }",
    *("(" * 900, "__import__('abuse.damage').damage.sing()", "\\x00\\u1", "", "{'a': 1, " * 9000),
)
OTHERS = (
    *(np.array(3), np.array([b"bytes"]), np.zeros((0, 0)), np.zeros((12, 16), complex)),
    *(np.full((12, 16), np.nan), np.full((12, 16), np.inf, np.float16), np.full(12, 2**63, "u8")),
    *(np.zeros((1,) * 20, bool), np.full(IMAGES.shape, -1), np.zeros(3, "M8[s]")),
    *(np.zeros(3, [("a", "u1")]), np.array([Canary()], dtype=object), np.array(["x" * 3000] * 6)),
    np.frombuffer(b"\xff\xff\xff\x7f" * 12, "<U1"),
)


def npy_of(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def headed(header: str, version: bytes = b"\1\0") -> bytes:
    """An .npy file with a header of our own before the pixels of `IMAGES`."""
    length = min(len(header), 65535).to_bytes(2 if version == b"\1\0" else 4, "little")
    return b"\x93NUMPY" + version + length + header.encode() + IMAGES.tobytes()


npy = (
    damaged(npy_of(IMAGES))
    | st.builds(headed, st.sampled_from(HEADERS), st.sampled_from((b"\1\0", b"\2\0", b"\7\7")))
    | st.sampled_from([npy_of(other) for other in OTHERS])
)


@st.composite
def npz(draw: st.DrawFn, members: dict[str, bytes], metadata: object = None) -> bytes:
    """A damaged .npz file: one array, its header, the JSON in it, its name, or bytes."""
    members, name = dict(members), draw(st.sampled_from([*members]))
    how = draw(st.sampled_from(("array", "array", "absent", "named", "json")))
    if how == "json" and metadata is not None:
        text = draw(json_bytes(metadata)).decode("utf-8", "replace").replace("\0", "?")
        members["adm.npy"] = npy_of(np.array([text or " "]))
    elif how == "absent":
        del members[name]
    elif how == "named":
        members[draw(st.sampled_from(NAMES)) + ".npy"] = members[name]
    else:
        members[name] = draw(npy)
    stream = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(stream, "w", draw(st.sampled_from(methods))) as archive:
        for key, content in members.items():
            archive.writestr(key, content)
    return draw(st.just(stream.getvalue()) | damaged(stream.getvalue()))


SET = {
    "arr_0.npy": npy_of(IMAGES),
    "arr_1.npy": npy_of(np.arange(6) % 3),
    "classes.npy": npy_of(np.array(["a", "b", "c"])),
}


@given(content=npy)
@tried
def test_damaged_npy_files_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.npy"
    path.write_bytes(content)
    refusal(lambda: read_arrays(path))
    assert silent()


@given(content=npz(SET))
@tried
def test_damaged_npz_files_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.npz"
    path.write_bytes(content)
    refusal(lambda: read_arrays(path))
    assert silent()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], object]:
    """The members of a whole reference, and the JSON in it."""
    path = tmp_path_factory.mktemp("made") / "ref.npz"
    make_reference(spots(12), blocks()).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return members, json.loads(np.load(path)["adm"].item())


@given(data=st.data())
@tried
def test_damaged_references_are_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory,
    reference: tuple[dict[str, bytes], object],
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "ref.npz"
    path.write_bytes(data.draw(npz(*reference)))
    refusal(lambda: load_reference(path, blocks()))
    assert silent()


@pytest.mark.parametrize("name", TEXTS)
def test_no_name_in_a_file_opens_anything(name: str) -> None:
    with pytest.raises(ValueError, match="which a file may not open"):
        recorded_features(name, "ref.npz")


def test_an_array_that_inflates_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, arr_0=np.zeros((8, 1200, 1200, 1), np.uint8))
    assert len(read_arrays(path)) == 8  # nothing is refused below 1 GB
    monkeypatch.setattr(arrays, "FREELY_INFLATED", 1 << 20)
    assert "more than 200" in (refusal(lambda: read_arrays(path)) or "")


KINDS = {
    "many": np.random.default_rng(0).random((300, 3000)),
    "none": np.zeros((0, 3)),
    "text": np.array(["ä", "long"]),
    "columns": np.asfortranarray(np.random.default_rng(0).random((700, 300))),
    "swapped": np.arange(3).astype(">i4"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_those_that_numpy_wrote(tmp_path: Path, save: object) -> None:
    path = tmp_path / "a.npz"
    save(path, **KINDS)
    loaded = arrays.load_arrays(path, [*KINDS, "absent"])
    assert loaded.keys() == KINDS.keys()
    assert all(np.array_equal(loaded[name], KINDS[name]) for name in KINDS)
    assert all(array.dtype.isnative and array.flags.writeable for array in loaded.values())
    assert isinstance(loaded["many"], np.memmap) == (save is np.savez)
