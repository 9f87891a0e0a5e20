"""An image that cannot be decoded -> one line with its name, from every verb that reads images."""

from pathlib import Path

import numpy as np
import pytest
from answers import Adm
from PIL import Image

COUNT = 24
CPU = ("--device", "cpu")
POOL = ("--features", "features.py:pool", *CPU)
FEATURES = """
def pool(images):
    return images.float().flatten(1)[:, :8]
"""
VERBS: dict[str, tuple[object, ...]] = {
    "reference": ("reference", "photos", *POOL, "--out", "made.npz"),
    "evaluate": ("evaluate", "photos", "--reference", "photos", *POOL, "--resamples", 10),
}


def photographs(folder: Path) -> list[Path]:
    """PNG files of noise of two classes, in the order of the data."""
    paths = [folder / f"{'ant' if i < COUNT // 2 else 'bee'}/{i:02}.png" for i in range(COUNT)]
    for index, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(levels).save(path)
    return paths


@pytest.mark.parametrize("verb", VERBS)
def test_a_broken_image_is_named(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = photographs(Path("photos"))[5]
    broken.write_bytes(broken.read_bytes()[:60])
    Path("features.py").write_text(FEATURES)
    assert "photos/ant/05.png is not a usable image" in adm(*VERBS[verb]).refusal()
