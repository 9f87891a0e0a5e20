"""adm demo -> the same images every time, and a self-contained page."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from answers import Adm
from PIL import Image
from samples import contents, never

from adm.app.cli import main
from adm.app.study.demo import STEPS
from adm.generation.diffusion import DiffusionGenerator

COMMAND = ("demo", "--per-class", 2, "--scales", "0,2")
FOLDERS = {"scale-0", "scale-2", "emoji", "emoji-large", *(f"steps-{steps}" for steps in STEPS)}

# One worker runs the demo of all tests.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


def images(folder: Path) -> np.ndarray:
    with np.load(folder / "samples.npz", allow_pickle=False) as archive:
        return archive["arr_0"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, requests = tmp_path_factory.mktemp("demo") / "out", list[object]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *to, **_: requests.append(to))
        patch.setattr(socket.socket, "connect", lambda *to: requests.append(to))
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, COMMAND), "--out", str(out)])
    assert not stopped.value.code
    assert requests == [], "it asked the network"
    return out


def test_it_leaves_the_page_of_a_sweep_with_every_class_and_column(demo: Path) -> None:
    assert {path.name for path in demo.iterdir()} == {
        *("report.html", "report.csv", "report.json", "samples", "points"),
        "sweep-fashion-judge-scale.png",
    }
    assert {path.name for path in (demo / "samples").iterdir()} == FOLDERS
    assert images(demo / "samples/scale-2").shape == (20, 28, 28, 1)
    with Image.open(demo / "samples/scale-2/denoising.gif") as film:
        assert film.n_frames == 20 + 1
    text = (demo / "report.html").read_text("utf-8")
    # Two scales; the guided model and its student; emoji in two sizes; a figure and a film.
    assert text.count("<img") == 10 * 2 + 10 * (1 + len(STEPS)) + 9 * 2 + 2
    assert "<th>scale 0</th><th>scale 2</th>" in text
    assert "From noise to image, scale 2" in text
    report = json.loads((demo / "report.json").read_text())
    assert [point["name"] for point in report["points"]] == ["scale-0", "scale-2"]
    names = {"judge accuracy (fashion-judge)", "recall (fashion-judge)"}
    assert names <= report["points"][0]["scores"].keys()


def test_a_second_run_leaves_the_same_bytes_and_samples_nothing(
    demo: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(demo)
    monkeypatch.setattr(DiffusionGenerator, "images", never)
    adm.done(*COMMAND, "--out", demo)
    assert contents(demo) == before


def test_samples_of_another_seed_are_refused(demo: Path, adm: Adm) -> None:
    before = contents(demo)
    assert "holds other samples" in adm(*COMMAND, "--seed", 1, "--out", demo).refusal()
    assert contents(demo) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scale-2", ("fashion", "--scale", 2)),
        ("steps-2", ("fashion-fast", "--scale", 2, "--steps", 2)),
    ],
)
def test_the_images_are_those_of_adm_sample(
    demo: Path, adm: Adm, tmp_path: Path, name: str, words: tuple[object, ...]
) -> None:
    out = tmp_path / "out"
    adm.done("sample", *words, "--classes", "all:2", "--out", out)
    assert np.array_equal(images(out), images(demo / "samples" / name))
