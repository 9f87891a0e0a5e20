""".npz files: both layouts are read, and arrays that do not fit are refused with the cure."""

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


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"arr_0": IMAGES > 9}, r"images are bool; save them as uint8"),
        ({"arr_0": IMAGES[0, 0]}, r"shape \(6, 3\), expected \(N, H, W, C\)"),
        ({"arr_0": IMAGES.transpose(0, 3, 1, 2)}, r"\(5, 3, 4, 6\).*save images.transpose"),
        ({"arr_0": IMAGES, "arr_1": LABELS[:4]}, r"int64 \(4,\), expected integers \(5,\)"),
        ({"arr_0": IMAGES, "arr_1": np.eye(5, dtype=int)}, r"\(5, 5\).*one-hot"),
        ({"arr_0": IMAGES, "arr_1": LABELS - 1}, "number the classes from 0, or omit"),
        (
            {"arr_0": IMAGES, "arr_1": LABELS, "classes": np.array(["a", "b"])},
            r"classes are <U1 \(2,\), expected strings \(3,\)",
        ),
        (
            {"arr_0": IMAGES, "arr_1": LABELS, "classes": np.array(["a", "b", "a"])},
            "2 of its classes are called 'a'; make the names unique",
        ),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "its arrays are mu, sigma; save it with"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_file_and_cure(
    tmp_path: Path, entries: dict[str, np.ndarray], message: str
) -> None:
    path = saved(tmp_path, **entries)
    with pytest.raises(ValueError, match=message) as caught:
        arrays(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
