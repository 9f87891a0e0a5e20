"""Images that cannot be decoded -> left out, counted and listed by every verb, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from answers import Adm, Answer
from PIL import Image

from adm.spec import to_json

COUNT, BROKEN = 24, (5, 13, 14)
CPU = ("--device", "cpu")
POOL = ("--features", "features.py:pool", *CPU)
FEATURES = """
def pool(images):
    return images.float().flatten(1)[:, :8]
"""
VERBS: dict[str, tuple[object, ...]] = {
    "reference": ("reference", "photos", *POOL, "--out", "made.npz"),
    "evaluate": ("evaluate", "photos", "--reference", "real", *POOL, "--resamples", 10),
    "evaluate some": ("evaluate", "photos", "--count", 16, "--reference", "real", *POOL, "--json"),
    "nearest": ("nearest", "real", "photos", *POOL, "--json", "--out", "near.png"),
    "cluster": ("cluster", "photos", *POOL, "--clusters", 2, "--out", "labels.csv"),
    "compare": ("compare", "photos", "real", *POOL, "--json", "--out", "page.html"),
    "sample": (
        "sample",
        "up",
        "--condition",
        "photos",
        "--shrink",
        "--steps",
        2,
        *CPU,
        "--out",
        "large",
    ),
}
WRITTEN = ("made.npz", "near.png", "labels.csv", "labels.json", "page.html", "large")


def photographs(folder: Path) -> list[Path]:
    """PNG files of noise of two classes, in the order of the data."""
    paths = [folder / f"{'ant' if i < COUNT // 2 else 'bee'}/{i:02}.png" for i in range(COUNT)]
    for index, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(levels).save(path)
    return paths


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of the same photographs, some of them broken in one and missing in the other."""
    home = tmp_path_factory.mktemp("ways")
    for way, change in (("broken", cut), ("gone", Path.unlink)):
        paths = photographs(home / way / "photos")
        for index in BROKEN:
            change(paths[index])
        photographs(home / way / "real")
        (home / way / "features.py").write_text(FEATURES)
    return home


def outputs() -> dict[str, bytes]:
    files = [each for each in Path().rglob("*") if each.is_file() and each.parts[0] in WRITTEN]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("verb", VERBS)
def test_results_are_those_of_a_folder_without_the_broken_files(
    adm: Adm, ways: Path, models: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    words = [models / "up.safetensors" if word == "up" else word for word in VERBS[verb]]
    results: dict[str, tuple[Answer, dict[str, bytes]]] = {}
    for way in ("gone", "broken"):
        monkeypatch.chdir(ways / way)
        results[way] = adm(*words), outputs()
        assert results[way][0].status == 0, results[way][0].err
    assert results["broken"][0].out == results["gone"][0].out
    assert results["broken"][1] == results["gone"][1]
    notice = (
        "photos: 3 images cannot be decoded, and left out: photos/ant/05.png, photos/bee/13.png"
    )
    assert results["broken"][0].err.count(notice) == 1
    refused = adm(*words, "--strict")
    assert "photos/ant/05.png is not a usable image" in refused.err
    assert refused.status == 2


def test_training_replaces_broken_images_and_reports_them_once(
    adm: Adm, ways: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ways / "broken")
    recipe = tmp_path / "recipe.json"
    settings = ("unet.classes=2", "watch.images=0")
    recipe.write_text(json.dumps(to_json(tiny.diffusion("train.batch_size=12", *settings))))
    words = ("train", recipe, "--data", "photos", *CPU)
    answer = adm.done(*words, "--out", tmp_path / "run")
    assert answer.err.count("photos: 3 images cannot be decoded, and left out: photos/ant/05") == 1
    assert (
        "05.png is not a usable image"
        in adm(*words, "--strict", "--out", tmp_path / "other").refusal()
    )


def test_a_part_of_the_shards_is_not_taken_for_the_whole(adm: Adm, tmp_path: Path) -> None:
    broken = photographs(tmp_path / "photos")[-1]
    content = broken.read_bytes()
    cut(broken)
    words = ("data", "pack", tmp_path / "photos", "--out", tmp_path / "o", "--shard-size", 9)
    assert "23.png is not a usable image" in adm(*words, "--strict").refusal()
    assert not (tmp_path / "o").exists()
    broken.write_bytes(content)
    adm.done(*words)
    (tmp_path / "o/train-000002.tar").unlink()  # as if killed before the last
    message = f"{tmp_path / 'o'} has 2 of 3 train shards, as `adm data pack` did not end"
    assert message in adm("data", "inspect", tmp_path / "o").refusal()
    adm.done(*words)
    adm.done("data", "inspect", tmp_path / "o")
