"""images changed between a stop and its resume -> refused with the name, unless it is accepted."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from adm.app.runs import run
from adm.app.runs.same_data import FILE
from adm.data import Source, open_source
from adm.data.source import in_memory
from adm.processes import Devices

CPU = Devices(torch.device("cpu"))
KEPT = ("train.save_every_steps=1", "watch.images=0")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for index in range(12):
        file = tmp_path / "photos" / tiny.CLASSES[index % 3] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        levels = np.random.default_rng(index).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(levels).save(file)
    return tmp_path / "photos"


def source(photos: Path) -> Source:
    return open_source(str(photos), size=(8, 8), channels=1)


def trained(folder: Path, images: Source, count: int | None = None, **options: object) -> int:
    """The steps that were taken."""
    chosen = run.TrainOptions(**options)  # type: ignore[arg-type]
    progress = run.train(tiny.diffusion(*KEPT), images, folder, CPU, chosen)
    done = 0
    for done, _ in enumerate(progress, start=1):
        if done == count:
            break
    return done


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("check_data", ["sample", "all"])
def test_a_changed_or_a_swapped_file_is_named_and_can_be_restored_or_accepted(
    tmp_path: Path, photos: Path, swapped: bool, check_data: str
) -> None:
    out = tmp_path / "run"
    assert trained(out, source(photos), 2) == 2
    one, other = photos / "bag" / "1.png", photos / "bag" / "4.png"
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    if swapped:
        other.write_bytes(contents[0])
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError,
        match=rf"run holds a run on other data: {one} has changed since the run began; restore it, "
        r"choose another out=\.\.\., or accept the change with check_data='none'",
    ):
        trained(out, source(photos), 1, check_data=check_data)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    one.write_bytes(contents[0])
    other.write_bytes(contents[1])
    assert trained(out, source(photos), 1, check_data=check_data) == 1
    one.write_bytes(contents[1])
    assert trained(out, source(photos), 1, check_data="none") == 1
    assert trained(out, source(photos)) == 0  # what was accepted is what is there from now on


def test_before_the_first_checkpoint_images_may_still_change(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "run"
    images = run.train(tiny.diffusion(*KEPT), source(photos), out, CPU)
    images.close()  # type: ignore[attr-defined]
    (photos / "bag" / "1.png").write_bytes((photos / "bag" / "4.png").read_bytes())
    assert trained(out, source(photos), 1) == 1
    (photos / "bag" / "1.png").write_bytes((photos / "bag" / "7.png").read_bytes())
    with pytest.raises(ValueError, match="has changed since"):
        trained(out, source(photos))


def test_a_run_of_an_earlier_version_resumes_and_gets_a_fingerprint(tmp_path: Path) -> None:
    trained(tmp_path, tiny.stripes(), 2)
    (tmp_path / FILE).unlink()
    images = tiny.stripes().batch(range(30))[0]
    other = in_memory("stripes", tiny.CLASSES, 255 - images, tiny.stripes().labels)
    assert trained(tmp_path, other, 1) == 1  # it is not known what the images were
    with pytest.raises(ValueError, match="image 0 has changed"):
        trained(tmp_path, tiny.stripes(), 1)


def test_the_check_of_all_images_is_kept_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adm.data.fingerprint.SAMPLED", 3)
    monkeypatch.setattr("adm.data.fingerprint.SMALL", 3)
    trained(tmp_path, tiny.stripes(), 1)
    assert len(json.loads((tmp_path / FILE).read_text())["first"]) == 3
    trained(tmp_path, tiny.stripes(), 1, check_data="all")
    assert len(json.loads((tmp_path / FILE).read_text())["first"]) == 30
    trained(tmp_path, tiny.stripes(), 1)
    assert len(json.loads((tmp_path / FILE).read_text())["first"]) == 30


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"images": 30', b'"images": "30"'),
        (b'"images": 30', b'"images": 31'),
        (b'"each": 1', b'"each": 0'),
        (b'"first": [0, ', b'"first": [99, '),
        (b'"first": [0, ', b'"first": ['),
        (b'"hashes": ["', b'"hashes": ["\\u001b[31m'),
        (b"{", b"[" * 100_000 + b"{"),
        (b"{", b"\xff{"),
    ],
)
def test_a_damaged_fingerprint_is_refused_with_the_cure(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    trained(tmp_path, tiny.stripes(), 1)
    held = (tmp_path / FILE).read_bytes()
    assert old in held
    (tmp_path / FILE).write_bytes(held.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"data\.json is damaged \(") as raised:
        trained(tmp_path, tiny.stripes(), 1)
    assert str(raised.value).isprintable()
    assert "check_data='none'" in str(raised.value)
    assert trained(tmp_path, tiny.stripes(), 1, check_data="none") == 1


def test_another_word_for_the_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="check_data must be sample, all, none, got 'some'"):
        trained(tmp_path, tiny.stripes(), check_data="some")
