"""Ctrl-C -> a message that fits the verb; the features of a stopped command are reused."""

from collections import Counter
from pathlib import Path

import pytest
from answers import Adm
from samples import archive
from scoring.stubs import spots

from adm.scoring.extraction import PART

# Each image whose features are computed is a line of `extracted`; the file `stop` is a Ctrl-C
# after as many images as it says.
COUNTED = """
from pathlib import Path

import torch


def pool(images):
    done, stop = Path("extracted"), Path("stop")
    with done.open("a") as file:
        file.writelines(f"{hash(image.numpy().tobytes())}\\n" for image in images)
    if stop.exists() and len(done.read_text().splitlines()) > int(stop.read_text()):
        stop.unlink()
        raise KeyboardInterrupt
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 4)
    return grid.flatten(1)
"""
OPTIONS = ("--features", "counted.py:pool", "--device", "cpu")
COUNT = 2 * PART + 10


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "counted.py").write_text(COUNTED)
    for seed, name in enumerate(("real", "samples")):
        archive(f"{name}.npz", spots(COUNT, seed=seed).batch(range(COUNT))[0])
    return tmp_path


def extracted() -> Counter[str]:
    counts = Counter(Path("extracted").read_text().splitlines())
    Path("extracted").unlink()
    return counts


def leftovers(workdir: Path) -> set[str]:
    names = {path.name for path in workdir.iterdir()}
    return names - {"counted.py", "__pycache__", "real.npz", "samples.npz", "extracted", "cache"}


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (
            ("evaluate", "samples.npz", "--reference", "real.npz", "--resamples", 20, "-o", "r"),
            {"r"},
        ),
    ],
)
def test_what_was_extracted_before_ctrl_c_is_not_extracted_again(
    workdir: Path, adm: Adm, words: tuple[object, ...], written: set[str]
) -> None:
    Path("stop").write_text(str(PART + 20))
    stopped = adm(*words, *OPTIONS)
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1] == "adm: stopped; run the same command again to resume"
    before = extracted()
    done = adm.done(*words, *OPTIONS)
    again = extracted()
    sets = 1 if words[0] == "reference" else 2
    assert len(again) < sets * COUNT
    repeated = (before & again).total()
    assert repeated < PART  # those of the chunk that was not finished
    assert (before | again).total() >= sets * COUNT
    assert leftovers(workdir) == written
    assert {path.parent.name for path in (workdir / "cache").rglob("*.npz")} <= {"references"}
    bytes_of = {name: (workdir / name).read_bytes() for name in written}
    assert adm(*words, *OPTIONS).out == done.out
    assert {name: (workdir / name).read_bytes() for name in written} == bytes_of
