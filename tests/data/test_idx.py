"""Fashion-MNIST: from Debian's files, from a folder; and damaged IDX files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from adm.data.idx import DEBIAN_FASHION_MNIST, FASHION_CLASSES, fashion_mnist, read_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
LABELS = np.array([9, 0, 7], np.uint8)


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write(
    folder: Path,
    images: np.ndarray = IMAGES,
    labels: np.ndarray = LABELS,
    zipped: bool = True,
    prefix: str = "",
    join: str = "-",
) -> Path:
    """All four files of the set."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in ("train", "t10k"):
        for name, array in ((f"images{join}idx3", images), (f"labels{join}idx1", labels)):
            content = idx_bytes(array)
            path = folder / f"{prefix}{stem}-{name}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
@pytest.mark.parametrize(("split", "each"), [("train", 6000), ("test", 1000)])
def test_debians_files_hold_the_whole_set(split: str, each: int) -> None:
    source = fashion_mnist(split=split)
    assert torch.bincount(source.labels).tolist() == [each] * 10
    assert source.read(0).shape == (1, 28, 28)
    assert (source.name, source.classes) == ("fashion-mnist", FASHION_CLASSES)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_of_idx_files_is_read(tmp_path: Path, split: str, zipped: bool) -> None:
    source = fashion_mnist(str(write(tmp_path, zipped=zipped)), split)
    images, labels = source.batch([2, 0])
    assert torch.equal(images[:, 0], torch.from_numpy(IMAGES[[2, 0]]))
    assert labels.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES[0], LABELS[:0]),
        (IMAGES[:0], LABELS[:0]),
        (LABELS, LABELS),
        (IMAGES, IMAGES // 64),
        (IMAGES, LABELS[:2]),
        (IMAGES, LABELS + 1),
    ],
)
def test_files_that_are_not_images_with_labels_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path}: .*; download"):
        fashion_mnist(str(write(tmp_path, images, labels)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged .*download it again"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "not an IDX file of bytes"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x09abc", "is damaged .*download it again"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "is damaged .*download it again"),
        (b"\x00\x00\x08\x03\x00", "is damaged .*download it again"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_idx_files_are_named(
    tmp_path: Path, content: bytes, message: str, zipped: bool
) -> None:
    path = tmp_path / ("a.gz" if zipped else "a")
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        read_idx(path)
