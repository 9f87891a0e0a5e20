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


def test_packing_leaves_broken_images_out(adm: Adm, tmp_path: Path) -> None:
    broken = photographs(tmp_path / "photos")[5]
    broken.write_bytes(broken.read_bytes()[:60])
    answer = adm.done("data", "pack", tmp_path / "photos", "--out", tmp_path / "packed")
    assert f"left out: {broken} is not a usable image" in answer.err
    assert f"1 train shard; {COUNT - 1} images written" in answer.out


def test_a_part_of_the_shards_is_not_taken_for_the_whole(adm: Adm, tmp_path: Path) -> None:
    photographs(tmp_path / "photos")
    (tmp_path / "features.py").write_text(FEATURES)
    pool = ("--features", f"{tmp_path / 'features.py'}:pool", *CPU)
    words = ("data", "pack", tmp_path / "photos", "--out", tmp_path / "o", "--shard-size", 9)
    adm.done(*words)
    (tmp_path / "o/train-000002.tar").unlink()  # as if killed before the last
    message = f"{tmp_path / 'o'} has 2 of 3 train shards, as `adm data pack` did not end"
    assert message in adm("reference", tmp_path / "o", *pool, "--out", tmp_path / "x.npz").refusal()
