""".npz files: both layouts are read, and whatever does not fit is refused with its cure."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from adm.data.arrays import read_arrays as arrays

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 2, 0])


def saved(folder: Path, **entries: np.ndarray) -> Path:
    path = folder / "set.npz"
    np.savez(path, **entries)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("keys", [("arr_0", "arr_1"), ("images", "labels")])
def test_both_layouts_give_images_and_labels(tmp_path: Path, keys: tuple[str, str]) -> None:
    source = arrays(saved(tmp_path, **dict(zip(keys, (IMAGES, LABELS), strict=True))))
    images, labels = source.batch([4, 0])
    assert torch.equal(images, torch.from_numpy(IMAGES[[4, 0]]).permute(0, 3, 1, 2))
    assert (labels.tolist(), labels.dtype) == ([0, 2], torch.int64)
    assert (source.name, source.classes) == ("set.npz", ("0", "1", "2"))


def test_without_labels_there_is_one_class_named_after_the_file(tmp_path: Path) -> None:
    source = arrays(saved(tmp_path, arr_0=IMAGES))
    assert (source.classes, source.labels.tolist()) == (("set",), [0] * 5)


def test_grey_images_need_no_channel_axis(tmp_path: Path) -> None:
    source = arrays(saved(tmp_path, arr_0=IMAGES[..., 0]))
    assert torch.equal(source.read(3), torch.from_numpy(IMAGES[3, ..., 0])[None])


def test_class_names_may_come_along_and_outnumber_the_labels(tmp_path: Path) -> None:
    names = np.array(["ant", "bee", "cat", "dog"])
    source = arrays(saved(tmp_path, arr_0=IMAGES, arr_1=LABELS.astype(np.uint8), classes=names))
    assert source.classes == ("ant", "bee", "cat", "dog")


def test_what_is_read_can_be_written_to(tmp_path: Path) -> None:
    source = arrays(saved(tmp_path, arr_0=IMAGES))
    source.read(0).zero_()
    assert torch.equal(source.read(0), torch.from_numpy(IMAGES[0]).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"arr_0": IMAGES / 255}, r"images are float64, expected uint8.*\(255 \* images\)"),
        ({"arr_0": IMAGES.astype(np.int32)}, "images are int32, expected uint8"),
        ({"arr_0": IMAGES[0, 0]}, r"shape \(6, 3\), expected \(N, H, W, C\)"),
        ({"arr_0": IMAGES.transpose(0, 3, 1, 2)}, r"\(5, 3, 4, 6\).*save images.transpose"),
        ({"arr_0": IMAGES[:0]}, r"shape \(0, 4, 6, 3\).*N > 0"),
        ({"arr_0": IMAGES, "arr_1": LABELS[:4]}, r"int64 \(4,\), expected integers \(5,\)"),
        ({"arr_0": IMAGES, "arr_1": LABELS / 1}, r"float64 \(5,\).*save class numbers"),
        ({"arr_0": IMAGES, "arr_1": np.eye(5, dtype=int)}, r"\(5, 5\).*one-hot"),
        ({"arr_0": IMAGES, "arr_1": LABELS - 1}, "number the classes from 0, or omit"),
        ({"arr_0": IMAGES, "arr_1": LABELS + 2**40}, "number the classes from 0, or omit"),
        (
            {"arr_0": IMAGES, "arr_1": LABELS, "classes": np.array(["a", "b"])},
            r"classes are <U1 \(2,\), expected strings \(3,\)",
        ),
        (
            {"arr_0": IMAGES, "arr_1": LABELS, "classes": np.array(["a", "b", "a"])},
            "2 of its classes are called 'a'; make the names unique",
        ),
        (
            {"arr_0": IMAGES, "arr_1": LABELS, "classes": np.arange(3)},
            r"classes are int64 \(3,\), expected strings",
        ),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "its arrays are mu, sigma; save it with"),
    ],
)
def test_what_does_not_fit_names_file_finding_and_cure(
    tmp_path: Path, entries: dict[str, np.ndarray], message: str
) -> None:
    path = saved(tmp_path, **entries)
    with pytest.raises(ValueError, match=message) as caught:
        arrays(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Mine:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("key", ["arr_0", "arr_1", "classes"])
def test_objects_are_refused_and_never_unpickled(tmp_path: Path, key: str) -> None:
    trap = np.array([Mine(tmp_path / "sprung")], dtype=object)
    path = saved(tmp_path, **{"arr_0": IMAGES, key: trap})
    with pytest.raises(ValueError, match=r"not a readable \.npz.*of 'object'.*save it with"):
        arrays(path)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_by_the_name_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(pickle.dumps(Mine(tmp_path / "sprung")))
    with pytest.raises(ValueError, match=r"not a readable \.npz.*save it with"):
        arrays(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 but nothing more", b"<html>"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is not a readable .npz"):
        arrays(path)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with path.open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(ValueError, match="not a zip file"):
        arrays(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_is_found(tmp_path: Path, save: object) -> None:
    path = tmp_path / "set.npz"
    save(path, arr_0=IMAGES)  # type: ignore[operator]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is not a readable .npz"):
        arrays(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, arr_0=IMAGES)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=f"{path} is not a readable .npz"):
        arrays(path)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("arr_0.npy", b"plain bytes")
    with pytest.raises(ValueError, match="its array arr_0: the magic string"):
        arrays(path)


def test_an_absurd_claim_of_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    claim = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 100000, 1000, 3), }\n"
    with zipfile.ZipFile(path, "w") as file:
        header = b"\x93NUMPY\x01\x00" + len(claim).to_bytes(2, "little") + claim
        file.writestr("arr_0.npy", header + b"few bytes")
    with pytest.raises(ValueError, match=f"{path} is not a readable .npz"):
        arrays(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set\.npz does not exist; give"):
        arrays(tmp_path / "set.npz")
