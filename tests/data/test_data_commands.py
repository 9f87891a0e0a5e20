"""adm data inspect, adm data pack: what they print and leave."""

import json
from pathlib import Path

import pytest
from PIL import Image

from adm.app.cli.data import data
from adm.data import open_source


def run(*words: object) -> None:
    data(list(map(str, words)), exit_on_error=False, print_error=False, result_action="return_none")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(6):
        folder = tmp_path / "photos" / ("ant" if index < 4 else "bee")
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((20, 10), 50 + index).save(folder / f"{index}.png")
    broken = tmp_path / "photos" / "ant" / "2.png"
    broken.write_bytes(broken.read_bytes()[:100])
    return tmp_path / "photos"


def test_inspect_says_what_is_there_and_what_is_broken(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("inspect", photos, "--out", tmp_path / "r.html")
    shown = capsys.readouterr()
    assert "reading photos: 6 of 6" in shown.err
    page = (tmp_path / "r.html").read_text()
    facts = ("photos: 6 images of 2 classes", f"{photos / 'ant' / '2.png'} is not a usable image")
    for text in (shown.out, page):
        assert all(fact in text for fact in facts)
    for row in (
        "| ant | 4 |",
        "| broken | 1 |",
        "| 10x20 | 5 |",
        "| duplicates, same files | none |",
    ):
        assert row in shown.out
    assert page.count("data:image/png") == 2  # a row of images for each class
    run("inspect", photos, "--json")
    assert json.loads(capsys.readouterr().out)["classes"] == {"ant": 4, "bee": 2}


def test_pack_writes_what_train_reads(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pack", photos, "--out", tmp_path / "o", "--size", "8,6")
    run(*words, "--channels", 1, "--shard-size", 4)
    shown = capsys.readouterr()
    assert f"cannot be decoded, and left out: {photos / 'ant' / '2.png'}" in shown.err
    assert "2 train shards; 5 images written" in shown.out
    assert open_source(str(tmp_path / "o"), channels=1).shape == (1, 8, 6)
    run(*words, "--channels", 1, "--shard-size", 4)
    assert (
        "2 train shards, 2 of them from an earlier run; 0 images written" in capsys.readouterr().out
    )
