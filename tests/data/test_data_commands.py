"""adm data inspect, adm data pack: what they print and leave."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from adm.app.cli.data import MOST_LISTED, data
from adm.data import open_source

LIGHT = """
import sys
from adm.app.cli.data import data
try:
    data([*sys.argv[1:], "--help"])
except SystemExit as exit_:
    assert not exit_.code, exit_.code
heavy = {"torch", "numpy", "PIL", "datasets"} & set(sys.modules)
assert not heavy, heavy
"""


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


@pytest.mark.parametrize("words", [[], ["inspect"], ["pack"]])
def test_help_answers_without_loading_torch(words: list[str]) -> None:
    command = [sys.executable, "-c", LIGHT, *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert "adm data pack" in found.stdout or "adm data inspect" in found.stdout


def test_inspect_says_what_is_there_and_what_is_broken(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("inspect", photos, "--out", tmp_path / "r.json", "--sheet", tmp_path / "s.png")
    shown = capsys.readouterr()
    assert "photos: 6 images of 2 classes" in shown.out
    assert "  ant         4  ████" in shown.out
    assert "broken: 1\n" in shown.out
    assert f"{photos / 'ant' / '2.png'} is not a usable image" in shown.out
    assert "reading photos: 6 of 6" in shown.err
    assert json.loads((tmp_path / "r.json").read_text())["classes"] == {"ant": 4, "bee": 2}
    assert "sizes (HxW): 10x20: 5\n" in shown.out
    plain = Image.open(tmp_path / "s.png")
    assert plain.width > 12 * 66 + 50  # the names are left of the images
    (photos / "bee").rename(photos / "a much longer name")
    run("inspect", photos, "--sheet", tmp_path / "long.png")
    assert Image.open(tmp_path / "long.png").width > plain.width


def test_of_many_sizes_the_range_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    for width in range(10, 20):
        Image.new("L", (width, 8), width).save(tmp_path / "set" / f"{width}.png")
    run("inspect", tmp_path / "set")
    shown = capsys.readouterr().out
    assert "sizes (HxW): 10 different; by area, the smallest is 8x10, the median 8x14" in shown
    assert "and the largest 8x19\n" in shown
    assert "8x10: 1" not in shown
    (tmp_path / "set" / "10.png").unlink()
    (tmp_path / "set" / "11.png").unlink()
    run("inspect", tmp_path / "set")
    assert "  8x12: 1, 8x13: 1," in capsys.readouterr().out


def test_pack_writes_what_train_reads(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pack", photos, "--out", tmp_path / "o", "--size", "8,6", "--skip-corrupt")
    run(*words, "--channels", 1, "--shard-size", 4)
    shown = capsys.readouterr()
    assert f"skipped, broken: {photos / 'ant' / '2.png'}" in shown.out
    assert "2 train shards; 5 images written" in shown.out
    assert open_source(str(tmp_path / "o"), channels=1).shape == (1, 8, 6)
    run(*words, "--channels", 1, "--shard-size", 4)
    assert (
        "2 train shards, 2 of them from an earlier run; 0 images written" in capsys.readouterr().out
    )


def test_one_is_said_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "one" / "1.png")
    run("inspect", tmp_path / "one", "--sheet", tmp_path / "s.png")
    shown = capsys.readouterr().out
    assert "one: 1 image of 1 class\n" in shown
    assert "1 of 1 class, a row each" in shown
    run("pack", tmp_path / "one", "--out", tmp_path / "o")
    assert "1 train shard; 1 image written" in capsys.readouterr().out


def test_one_more_than_is_listed_is_one_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(MOST_LISTED + 1):
        (tmp_path / "set" / f"{number}").mkdir(parents=True)
        Image.new("L", (4, 4), number).save(tmp_path / "set" / f"{number}" / "1.png")
    run("inspect", tmp_path / "set")
    assert "  ... and 1 more class; --out FILE.json has the whole list" in capsys.readouterr().out
