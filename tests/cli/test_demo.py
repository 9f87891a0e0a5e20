"""adm demo -> the same images every time, and a report that needs nothing beside it."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.conftest import Adm
from PIL import Image

from adm import load
from adm.app.cli import main
from adm.app.study.demo.sampled import sampled
from adm.generation.diffusion import DiffusionGenerator
from adm.models.paths import SHIPPED
from adm.store.files import work_path

FILES = ("fashion", "fashion-classifier", "fashion-fast", "fashion-judge")
FILES += ("emoji", "emoji-classifier", "emoji-upsampler")
WRITTEN = {"report.html", "samples", "emoji", "grid.png", "denoising.gif", "demo.json"} | {
    "scores.json",
    "SHA256SUMS",
}
STEPS = (4, 2, 1)  # of the student
COMMAND = ("demo", "--per-class", 2, "--scales", 0, 2, "--steps", 3)

pytestmark = [
    pytest.mark.xdist_group("demo"),  # one worker makes what all of them use
    pytest.mark.skipif(
        not all((SHIPPED / f"{name}.safetensors").exists() for name in FILES)
        or not (SHIPPED / "fashion-reference.npz").exists(),
        reason="the shipped models are not in this tree; `python tools/ship.py` puts them there",
    ),
]


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, COMMAND), "--out", str(out)])
    assert not stopped.value.code
    return out


def test_it_leaves_a_report_and_the_samples(demo: Path) -> None:
    assert {path.name for path in demo.iterdir()} == WRITTEN
    assert [path.name for path in demo.parent.iterdir()] == ["out"]
    assert len(list((demo / "samples").glob("*.png"))) == (2 + len(STEPS)) * 2 * 10


def test_file_names_carry_class_scale_seed_and_number(demo: Path) -> None:
    names = {path.name for path in (demo / "samples").glob("*.png")}
    for scale in (0, 2):
        assert {name for name in names if name.startswith(f"sneaker_scale{scale}_")} == {
            f"sneaker_scale{scale}_seed0_0000{14 + i}.png" for i in range(2)
        }


def test_the_archive_has_the_released_layout(demo: Path) -> None:
    with np.load(demo / "samples" / "samples.npz", allow_pickle=False) as archive:
        assert archive["arr_0"].shape == (40 + 60, 28, 28, 1)
        assert archive["arr_0"].dtype == np.uint8
        assert archive["arr_1"].tolist() == [i // 2 for i in range(20)] * 5


def test_a_second_run_gives_the_same_images_bit_for_bit(
    demo: Path, adm: Adm, tmp_path: Path
) -> None:
    answer = adm(*COMMAND, "--out", tmp_path / "again")
    assert answer.status == 0
    assert "fidelity" in answer.out
    assert contents(tmp_path / "again" / "samples") == contents(demo / "samples")


def test_the_scale_changes_images_that_start_from_the_same_noise(demo: Path) -> None:
    with np.load(demo / "samples" / "samples.npz", allow_pickle=False) as archive:
        plain, guided = np.split(archive["arr_0"][:40].astype(int), 2)
    assert all((a != b).any() for a, b in zip(plain, guided, strict=True))


def test_the_student_is_sampled_beside_its_teacher(demo: Path, adm: Adm, tmp_path: Path) -> None:
    rows = json.loads((demo / "scores.json").read_text())["student"]
    assert [(row["scale"], row["steps"]) for row in rows] == [(2.0, steps) for steps in STEPS]
    with np.load(demo / "samples" / "samples.npz", allow_pickle=False) as archive:
        made = np.split(archive["arr_0"][40:], 3)
    for steps, images in zip(STEPS, made, strict=True):
        words = ("sample", "fashion-fast", "--classes", "all:2", "--scale", 2, "--steps", steps)
        assert adm(*words, "--out", tmp_path / str(steps)).status == 0
        with np.load(tmp_path / str(steps) / "samples.npz", allow_pickle=False) as archive:
            assert np.array_equal(archive["arr_0"], images)
    text = (demo / "report.html").read_text("utf-8")
    assert "100 images in" in text
    assert "teacher, guided, 3 steps" in text
    assert "3 calls of the network and 3 of the classifier" in text
    assert "student, 1 step<" in text
    assert "1 call of the network<" in text


def test_emoji_are_those_of_the_same_cascade_by_name(demo: Path, adm: Adm, tmp_path: Path) -> None:
    words = ("sample", "emoji", "--classes", "all:2", "--scale", 2, "--steps", 3)
    more = ("--upsampler", "emoji-upsampler", "--upsampler-steps", 3)
    assert adm(*words, *more, "--out", tmp_path / "out").status == 0
    with (
        np.load(demo / "emoji" / "samples.npz", allow_pickle=False) as archive,
        np.load(tmp_path / "out" / "samples.npz", allow_pickle=False) as again,
    ):
        assert archive["arr_0"].shape == (18, 64, 64, 3)
        assert np.array_equal(archive["arr_0"], again["arr_0"])
    text = (demo / "report.html").read_text("utf-8")
    assert text.count("<figure>") == 9
    assert "took 6 calls of the network and 3 of the classifier" in text


def test_a_scale_that_the_student_did_not_learn_is_the_teacher_s_alone(
    adm: Adm, tmp_path: Path
) -> None:
    words = ("demo", "--per-class", 2, "--scales", 50, "--steps", 2)
    assert adm(*words, "--out", tmp_path / "out").status == 0
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["student"] == []
    assert "student" not in (tmp_path / "out" / "report.html").read_text("utf-8").split("<pre>")[0]


def test_the_report_needs_nothing_beside_it(demo: Path) -> None:
    text = (demo / "report.html").read_text("utf-8")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text) + re.findall(r"url\(", text)
    kinds = [link.partition(";base64,")[0] for link in links]
    # a picture for each class and scale, for each class of teacher and student, the curve, for each
    # group of emoji in two sizes, and the animation
    pictures = 10 * 2 + 10 * (1 + len(STEPS)) + 1 + 9 * 2
    assert Counter(kinds) == {"data:image/png": pictures, "data:image/gif": 1}
    assert "<script" not in text
    assert "@import" not in text


def test_the_columns_are_named_by_scale_and_the_animation_is_that_of_scale_2(demo: Path) -> None:
    text = (demo / "report.html").read_text("utf-8")
    assert "<th>scale 0</th><th>scale 2</th>" in text
    assert "From noise to image, scale 2" in text
    with Image.open(demo / "denoising.gif") as film:
        assert film.n_frames == 3 + 1


def test_a_finished_demo_is_done_and_other_settings_are_refused(
    demo: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(demo)
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionGenerator, "images", never)
        again = adm(*COMMAND, "--out", demo)
        assert (again.status, again.err) == (0, "")
        assert f"{demo} is complete; add --overwrite to sample again" in again.out
        assert again.out.splitlines()[-1].startswith(f"{demo / 'grid.png'}, {demo / 'report.html'}")
        line = adm(*COMMAND, "--seed", 1, "--out", demo).refusal()
    assert "holds another demo: sampling.seed is 0 there and 1 here; add --overwrite, or" in line
    assert contents(demo) == before


def never(*args: Any, **options: Any) -> Any:
    raise AssertionError("sampled again")


def test_a_stopped_demo_resumes_with_the_same_images(
    demo: Path, adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, images = tmp_path / "out", DiffusionGenerator.images
    scales: list[float] = []

    def listening(self: DiffusionGenerator, *rest: Any) -> torch.Tensor:
        if len(scales) == 1:
            scales.append(-1.0)
            raise KeyboardInterrupt
        scales.append(self.sampling.scale)
        return images(self, *rest)

    monkeypatch.setattr(DiffusionGenerator, "images", listening)
    assert adm(*COMMAND, "--out", out).status == 130
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == [".out.parts"]
    resumed = adm(*COMMAND, "--out", out)
    assert resumed.status == 0
    # the first scale is not sampled again; of the cascade, only the base is guided
    assert scales == [0.0, -1.0, 2.0, *(2.0 for _ in STEPS), 2.0, 0.0, 2.0]
    for name in ("samples", "emoji"):
        assert contents(out / name) == contents(demo / name)
    assert (out / "denoising.gif").read_bytes() == (demo / "denoising.gif").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_seconds_are_measured_only_of_images_that_one_call_sampled(tmp_path: Path) -> None:
    job = load("fashion-fast").job("all:1", steps=1)
    work_path(tmp_path / "stopped").mkdir()
    images, seconds = sampled(job, tmp_path / "stopped")
    assert seconds is None
    again, seconds = sampled(job, tmp_path / "whole")
    assert seconds is not None
    read, seconds = sampled(job, tmp_path / "whole")
    assert seconds is None
    assert torch.equal(images, again)
    assert torch.equal(images, read)


def test_a_stopped_demo_of_other_settings_is_not_resumed(
    demo: Path, adm: Adm, tmp_path: Path
) -> None:
    part = tmp_path / ".out.parts"
    (part / "ddim-3-scale0").mkdir(parents=True)
    (part / "samples.json").write_text("{}")
    (part / "ddim-3-scale0" / "samples.json").write_text("{}")
    assert adm(*COMMAND, "--out", tmp_path / "out").status == 0
    assert contents(tmp_path / "out" / "samples") == contents(demo / "samples")


def test_the_report_states_settings_seed_and_numbers(demo: Path) -> None:
    text = (demo / "report.html").read_text("utf-8")
    for said in ("sneaker", "fidelity", "diversity", "seed", "&#34;steps&#34;: 3", "10,000"):
        assert said.casefold() in text.casefold(), said


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_a_folder_that_holds_something_else_is_refused(
    adm: Adm, tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    line = adm(*COMMAND, *options, "--out", tmp_path).refusal()
    assert "already exists and is not empty; choose another --out" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_demo_gives_way_only_where_that_is_asked_for(
    demo: Path, adm: Adm, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "samples").mkdir(parents=True)
    (out / "report.html").write_text("an earlier demo")
    assert "add --overwrite" in adm(*COMMAND, "--out", out).refusal()
    assert (out / "report.html").read_text() == "an earlier demo"
    assert adm(*COMMAND, "--overwrite", "--out", out).status == 0
    assert contents(out / "samples") == contents(demo / "samples")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("--scales", "nan"), "cannot read --scales 'nan'; write --scales 0,1,2"),
        (("--steps", "0"), "steps must be in 2.."),
        (("--sampler", "dim"), "did you mean ddim?"),
        (("--scales", "0", "lots"), "cannot read --scales '0 lots'; write --scales 0,1,2"),
    ],
)
def test_what_cannot_be_sampled_leaves_nothing(
    adm: Adm, tmp_path: Path, words: tuple[str, ...], cure: str
) -> None:
    assert cure in adm("demo", *words, "--out", tmp_path / "out").refusal()
    assert list(tmp_path.iterdir()) == []
