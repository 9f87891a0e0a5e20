"""adm average -> model files that can be sampled, and a list of the stored averages."""

from pathlib import Path

import pytest
import tiny
from answers import Adm

WORDS = ("train.ema_widths=0.05,0.1", "train.save_every_steps=2", "train.keep_last=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    tiny.steps(tiny.diffusion("train.steps=12", *WORDS), tiny.stripes(), out)
    return out


def test_stored_averages_are_listed_whichever_checkpoints_remain(adm: Adm, trained: Path) -> None:
    answer = adm.done("average", trained, "--list")
    assert "width 0.05: 6 stored, at steps 2, 4, 6, 8, 10, 12" in answer.out
    assert "width 0.1: 6 stored" in answer.out


def test_an_average_is_a_model_that_can_be_described_and_sampled(
    adm: Adm, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model.safetensors"
    answer = adm.done("average", trained, "--width", 0.07, "--out", out)
    assert "width 0.07 at step 12, from" in answer.out
    assert "digits (diffusion)" in adm("info", out).out
    adm.done("sample", out, "--classes", "bag:1", "--out", tmp_path / "samples")


def test_several_widths_go_into_a_folder(adm: Adm, trained: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plots" / "profiles.png"
    words = ("--width", "0.05,0.1", "--step", 8, "--out", tmp_path / "all", "--plot", plot)
    adm.done("average", trained, *words)
    assert plot.read_bytes().startswith(b"\x89PNG")
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names == ["width-0.05.safetensors", "width-0.1.safetensors"]


def test_a_width_out_of_reach_is_made_with_a_warning(
    adm: Adm, trained: Path, tmp_path: Path
) -> None:
    answer = adm.done("average", trained, "--width", 0.01, "--out", tmp_path / "m.safetensors")
    assert "WARNING: this is not the requested average" in answer.out
    assert (
        "WARNING"
        not in adm("average", trained, "--width", 0.1, "--out", tmp_path / "n.safetensors").out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--width", "0.1"), "--out must be given, unless --list"),
        (("--width", "0.5", "--out", "x"), "must be in (0, 0.289)"),
        (("--width", "0.1", "--step", "7", "--out", "x"), "got 7; give 6 or 8"),
    ],
)
def test_bad_input_is_refused_in_a_line_and_leaves_nothing(
    adm: Adm,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in adm("average", trained, *words).refusal()
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_averages_says_how_to_have_them(adm: Adm, tmp_path: Path) -> None:
    tiny.steps(tiny.diffusion(), tiny.stripes(), tmp_path / "run", count=4)
    assert "train.ema_widths=0.05,0.1" in adm("average", tmp_path / "run", "--list").refusal()
