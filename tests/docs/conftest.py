"""A stand-in for Fashion-MNIST, of noise."""

import struct
from pathlib import Path

import numpy as np
import pytest

from adm.data import idx

COUNT = 80  # images of each split


@pytest.fixture
def garments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `fashion-mnist` is read from in this test."""
    for stem in idx.STEMS.values():
        pixels, labels = np.random.default_rng(0).bytes(COUNT * 28 * 28), bytes(range(10)) * 8
        shape = struct.pack(">4xIII", COUNT, 28, 28)
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape[4:] + pixels)
        header = b"\0\0\x08\x01" + struct.pack(">I", COUNT)
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels)
    monkeypatch.setattr(idx, "DEBIAN_FASHION_MNIST", tmp_path)
    return tmp_path
