"""adm demo -> the same images every time, and a self-contained page that fills itself."""

import json
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from answers import Adm
from samples import contents, never
from torch import Tensor

from adm.app.cli import main
from adm.app.study import demo as library
from adm.generation.diffusion import DiffusionGenerator
from adm.store.samples import read_manifest

COMMAND = ("demo", "--per-class", 2)
FOLDERS = {
    *(f"ankle-boot-{scale}" for scale in (0, 1, 4, 10)),
    *("emoji-unguided", "emoji", "emoji-large", "emoji-fast"),
    *(f"scale-{scale}" for scale in (0, 1, 4, 10)),
}
REFRESHES = '<meta http-equiv="refresh"'

# One worker runs the demo of all tests.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


def images(folder: Path) -> np.ndarray:
    with np.load(folder / "samples.npz", allow_pickle=False) as archive:
        return archive["arr_0"]


def pictures(text: str) -> int:
    return text.count("<img")


@pytest.fixture(scope="module", autouse=True)
def two_steps() -> Iterator[None]:
    """Everything is sampled in two steps: the demo of these tests is a quick one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def pages() -> list[str]:
    """What the page was, each time that images were about to be sampled."""
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, pages: list[str]) -> Path:
    out, requests = tmp_path_factory.mktemp("demo") / "out", list[object]()
    sampled = DiffusionGenerator.images

    def watched(self: DiffusionGenerator, *given: object, **named: object) -> Tensor:
        pages.append((out / "report.html").read_text("utf-8"))
        return sampled(self, *given, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *to, **_: requests.append(to))
        patch.setattr(socket.socket, "connect", lambda *to: requests.append(to))
        patch.setattr(DiffusionGenerator, "images", watched)
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, COMMAND), "--out", str(out)])
    assert not stopped.value.code
    assert requests == [], "it asked the network"
    return out


def test_it_leaves_a_page_with_all_pictures_and_the_scores(demo: Path) -> None:
    assert {path.name for path in demo.iterdir()} == {
        *("report.html", "report.csv", "report.json", "film.webp", "samples", "points")
    }
    assert {path.name for path in (demo / "samples").iterdir()} == FOLDERS
    text = (demo / "report.html").read_text("utf-8")
    # Boots at four scales in two lines; emoji without guidance and with it; a film, its last images
    # and larger ones; teacher and student.
    assert pictures(text) == 4 * 2 + 2 + 3 + 2
    assert "2 of each class, as asked" in text
    report = json.loads((demo / "report.json").read_text())
    assert [point["settings"]["scale"] for point in report["points"]] == [0, 1, 4, 10]
    names = {"judge accuracy (fashion-judge)", "recall (fashion-judge)"}
    assert names <= report["points"][0]["scores"].keys()


def test_the_page_fills_and_refreshes_itself_while_the_demo_runs_only(
    demo: Path, pages: list[str]
) -> None:
    seen = [pictures(text) for text in pages]
    assert seen[:2] == [0, 2], "there is a page at once, and a picture after the first images"
    assert seen == sorted(seen)
    assert all(REFRESHES in text for text in pages)
    text = (demo / "report.html").read_text("utf-8")
    assert REFRESHES not in text
    assert "is running" not in text
    assert not re.search(r"<script|(src|href)=\"(?!data:)", text)


def test_guidance_changes_what_starts_from_the_same_noise(demo: Path) -> None:
    """Scale 0 of boots, and emoji without guidance, are guided by nothing."""
    for name, guides in (
        ("ankle-boot-0", 0),
        ("ankle-boot-4", 1),
        ("emoji-unguided", 0),
        ("emoji", 2),
    ):
        manifest = read_manifest(demo / "samples" / name)
        assert manifest is not None
        assert len(manifest["sampling"]["guide"]) == guides


def test_a_second_run_leaves_the_same_bytes_and_samples_nothing(
    demo: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(demo)
    monkeypatch.setattr(DiffusionGenerator, "images", never)
    adm.done("demo", "--out", demo)
    assert contents(demo) == before


@pytest.mark.parametrize("other", [("--seed", 1), ("--per-class", 3)])
def test_samples_of_other_settings_are_refused(
    demo: Path, adm: Adm, other: Sequence[object]
) -> None:
    before = contents(demo)
    assert "holds other samples" in adm("demo", *other, "--out", demo).refusal()
    assert contents(demo) == before


def test_a_stopped_demo_says_so_and_ends_with_the_same_images(
    demo: Path, adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", list[int]()
    sampled = DiffusionGenerator.images

    def stopped(self: DiffusionGenerator, *given: object, **named: object) -> Tensor:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return sampled(self, *given, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionGenerator, "images", stopped)
        assert adm(*COMMAND, "--out", out).status
    text = (out / "report.html").read_text("utf-8")
    assert pictures(text) == 4 * 2 + 1
    assert REFRESHES not in text
    assert "goes on from here" in text
    adm.done("demo", "--out", out)
    for name in FOLDERS:
        assert np.array_equal(images(out / "samples" / name), images(demo / "samples" / name))


def test_a_faster_computer_makes_more_of_the_same_images() -> None:
    slow, fast = library.Plan.fitting(5.0), library.Plan.fitting(0.1)
    assert library.LEAST == slow.per_class < fast.per_class == library.MOST
    few, many = (library.balanced_labels(range(3), 3 * n) for n in (2, 5))
    assert many[: len(few)] == few


def test_the_images_are_those_of_adm_sample(demo: Path, adm: Adm, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--classifier", "fashion-classifier", "--scale", 4, "--steps", 2)
    adm.done("sample", "fashion-unlabelled", *words, "--classes", "ankle-boot:16", "--out", out)
    assert np.array_equal(images(out), images(demo / "samples/ankle-boot-4"))
