"""adm nearest: its picture and report; bad input in one line, before any feature is extracted."""

import json
import subprocess
import sys
from pathlib import Path

import launch
import pytest
from answers import Adm
from samples import archive
from scoring.stubs import spots

POOL = """
from pathlib import Path

import torch


def pool(images):
    Path("extracted").touch()
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
    return grid.flatten(1)
"""
UNWRITABLE = Path("/proc/n.png")  # which only a write detects
WORDS = ("nearest", "samples.npz", "real.npz", "--features", "pool.py:pool", "--device", "cpu")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with features, real images, and samples of which the first is a copy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.py").write_text(POOL)
    real = spots(40).batch(range(40))[0]
    samples = spots(6, seed=1).batch(range(6))[0]
    samples[0] = real[7]
    for name, images in (("real", real), ("samples", samples), ("small", samples[:, :, :6, :6])):
        archive(f"{name}.npz", images)
    return tmp_path


def test_a_picture_and_a_summary(workdir: Path, adm: Adm) -> None:
    answer = adm.done(*WORDS, "--out", "deep/n.png")
    assert "1 are exact copies" in answer.out
    assert "deep/n.png: the 6 samples most likely to be copies" in answer.out
    assert Path("deep/n.png").read_bytes().startswith(b"\x89PNG")


def test_copies_are_weighed_against_images_that_were_not_trained_on(
    workdir: Path, adm: Adm
) -> None:
    archive("new.npz", spots(20, seed=2).batch(range(20))[0])
    copies = adm.done("nearest", "real.npz", "real.npz", "--test", "new.npz", *WORDS[3:], "--json")
    report = json.loads(copies.out)
    assert report["nearer_than_test_images"]["expected"] == 40 / 60
    assert (report["nearer_than_test_images"]["value"], report["copied"]["value"]) == (1, 1)
    same = adm(*WORDS, "--test", "real.npz")
    assert (same.status, "are in real.npz as well; give images" in same.err) == (2, True)
    answer = adm(*WORDS, "--test", "new.npz")
    assert "66.7% of new images would be: as if " in answer.out
    assert "nearer_than_test_images" not in json.loads(adm(*WORDS, "--json").out)


BAD = {
    "a test of another size": (("--test", "small.npz"), "small.npz has images of 6x6"),
    "quantile": (("--quantile", "1.5"), "quantile must be between 0 and 1, got 1.5"),
    "too many neighbours": (("--neighbours", "41"), "neighbours must be from 1 to 40"),
    "a folder for the picture": (("--out", "folder.png"), "folder.png is a folder; give --out"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_refused_before_features_are_extracted(
    workdir: Path, adm: Adm, case: str
) -> None:
    (workdir / "folder.png").mkdir()
    words, message = BAD[case]
    assert message in adm(*WORDS, *words).refusal()
    assert not (workdir / "extracted").exists()


def test_samples_of_another_size_are_compared_on_request(workdir: Path, adm: Adm) -> None:
    words = ("nearest", "small.npz", "real.npz", *WORDS[3:], "--resize", "to-reference", "--json")
    answer = adm.done(*words)
    assert json.loads(answer.out)["samples"] == 6
    assert Path("nearest.png").exists()


def leftovers(workdir: Path) -> list[str]:
    return [path.name for path in (workdir / "passing").iterdir() if "adm" in path.name]


@pytest.fixture
def passing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files."""
    (workdir / "passing").mkdir()
    monkeypatch.setenv("TMPDIR", str(workdir / "passing"))


@pytest.mark.slow
@pytest.mark.usefixtures("passing")
def test_processes_end_together_and_leave_nothing(workdir: Path) -> None:
    printed = launch.finish(launch.command(workdir, WORDS, processes=2))
    assert printed.count("nearest.png: the 6 samples most") == 1
    assert leftovers(workdir) == []


@pytest.mark.slow
@pytest.mark.usefixtures("passing")
def test_the_failure_of_the_main_process_ends_all_of_torchrun_in_one_line(workdir: Path) -> None:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*start, "-m", "adm", *WORDS, "--out", str(UNWRITABLE)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 1  # torchrun's own
    lines = [line for line in process.stderr.splitlines() if line.startswith("adm: ")]
    assert lines, process.stderr  # of one, or of both, unless torchrun ends the other first
    assert all(str(UNWRITABLE.parent) in line for line in lines)
    assert "/adm/app/cli/" not in process.stderr  # as in a traceback of ours
    assert leftovers(workdir) == []
