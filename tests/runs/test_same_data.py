"""images changed between a stop and its resume -> refused with the name, unless it is accepted."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from adm.data import Source, open_source
from adm.data.source import in_memory
from adm.processes import Devices
from adm.runs import run
from adm.runs.folder import DATA

CPU = Devices(torch.device("cpu"))
SETTINGS = ("train.save_every_steps=1", "watch.images=0")


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
    progress = run.train_steps(tiny.diffusion(*SETTINGS), images, folder, CPU, chosen)
    done = 0
    for done, _ in enumerate(progress, start=1):
        if done == count:
            break
    return done


@pytest.mark.parametrize("check_data", ["names", "pixels"])
def test_changed_data_are_refused_and_can_be_restored_or_accepted(
    tmp_path: Path, photos: Path, check_data: str
) -> None:
    out = tmp_path / "run"
    assert trained(out, source(photos), 2, check_data=check_data) == 2
    one = photos / "bag" / "1.png"
    content = one.read_bytes()
    other = content[:-1] + b"?" if check_data == "pixels" else content + b"?"
    one.write_bytes(other)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError,
        match=r"began with other images: the (size|content) of an image has changed; restore",
    ):
        trained(out, source(photos), 1, check_data=check_data)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    one.write_bytes(content)
    assert trained(out, source(photos), 1, check_data=check_data) == 1
    one.write_bytes(other)
    assert trained(out, source(photos), 1, check_data="none") == 1
    assert trained(out, source(photos)) == 0  # accepted data are the reference from now on


def test_before_the_first_checkpoint_images_may_still_change(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "run"
    images = run.train_steps(tiny.diffusion(*SETTINGS), source(photos), out, CPU)
    images.close()  # type: ignore[attr-defined]
    (photos / "bag" / "1.png").write_bytes((photos / "bag" / "4.png").read_bytes())
    assert trained(out, source(photos), 1) == 1
    with (photos / "bag" / "1.png").open("ab") as file:
        file.write(b"?")
    with pytest.raises(ValueError, match="has changed"):
        trained(out, source(photos))


def test_the_hash_of_all_pixels_is_stored_for_the_next_time(tmp_path: Path) -> None:
    def pixels() -> object:
        return json.loads((tmp_path / DATA).read_text())["pixels"]

    trained(tmp_path, tiny.stripes(), 1)
    assert pixels() is None
    trained(tmp_path, tiny.stripes(), 1, check_data="pixels")
    digest = pixels()
    trained(tmp_path, tiny.stripes(), 1)
    assert pixels() == digest
    images = 255 - tiny.stripes().batch(range(30))[0]
    other = in_memory("stripes", tiny.CLASSES, images, tiny.stripes().labels)
    with pytest.raises(ValueError, match="the content of an image has changed"):
        trained(tmp_path, other, 1, check_data="pixels")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"sizes": "', b'"sizes": "\\u001b[31m'),
        (b"{", b"[" * 100_000 + b"{"),
    ],
)
def test_a_damaged_fingerprint_is_refused_with_the_cure(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    trained(tmp_path, tiny.stripes(), 1)
    content = (tmp_path / DATA).read_bytes()
    assert old in content
    (tmp_path / DATA).write_bytes(content.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"data\.json is damaged \(") as raised:
        trained(tmp_path, tiny.stripes(), 1)
    assert str(raised.value).isprintable()
    assert trained(tmp_path, tiny.stripes(), 1, check_data="none") == 1
