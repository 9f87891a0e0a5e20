"""examples/pack.py: packed data equal their source."""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import contents

from adm.data import open_source
from adm.data.registry import find

COUNT = 11
EXAMPLE = Path(__file__).parents[2] / "examples/pack.py"
SPEC = spec_from_file_location("pack", EXAMPLE)
assert SPEC is not None
assert SPEC.loader is not None
example = module_from_spec(SPEC)
SPEC.loader.exec_module(example)
Packing, pack = example.Packing, example.pack


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Noise: seven of one class, four of another, in three sizes."""
    place = tmp_path / "photos"
    for index in range(COUNT):
        folder = place / ("ant" if index < 7 else "bee")
        folder.mkdir(parents=True, exist_ok=True)
        shape = (20, (24, 24, 24, 30, 40)[index % 5], 3)
        levels = np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(levels).save(folder / f"{index}.{'png' if index % 2 else 'jpg'}")
    return place


def cut(path: Path) -> str:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return str(path)


@pytest.mark.parametrize("format_", ["png", "webp"])
@pytest.mark.parametrize("size", [(8, 12), None])
def test_packed_images_are_those_of_the_folder(
    photos: Path, tmp_path: Path, format_: str, size: tuple[int, int] | None
) -> None:
    packing = Packing(size, format=format_, shard_size=4)
    done = pack(find(str(photos)), tmp_path / "shards", packing)
    pack(find(str(photos)), tmp_path / "shards", packing, split="test")  # next to the others
    assert done == (3, 0, COUNT, [])
    # Halving on the way to a size is exact only from the original.
    shape = size or (20, 20)
    whole, packed = (open_source(str(p), size=shape) for p in (photos, tmp_path / "shards"))
    assert (packed.classes, packed.labels.tolist()) == (whole.classes, whole.labels.tolist())
    assert torch.equal(packed.batch(range(COUNT))[0], whole.batch(range(COUNT))[0])


def test_arrays_are_packed_without_loss(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.array([1, 0, 2, 1, 1]))
    pack(find(str(tmp_path / "set.npz")), tmp_path / "shards", Packing())
    source = open_source(str(tmp_path / "shards"), channels=1)
    assert torch.equal(source.batch(range(5))[0][:, 0], torch.from_numpy(images))
    assert source.labels.tolist() == [1, 0, 2, 1, 1]


def test_the_same_data_give_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(find(str(photos)), tmp_path / name, Packing((8, 8), format="jpeg", shard_size=4))
        for path in photos.rglob("*.*"):
            os.utime(path, (1, 1))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_interrupted_packing_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = Packing((8, 8), shard_size=4)
    pack(find(str(photos)), tmp_path / "whole", packing)

    def stop(amount: float) -> None:
        nonlocal done
        done += amount
        if done > 6:
            raise KeyboardInterrupt

    done = 0.0
    with pytest.raises(KeyboardInterrupt):
        pack(find(str(photos)), tmp_path / "out", packing, advance=stop)
    written = sorted(contents(tmp_path / "out"))
    assert written == ["classes.json", "train-000000.tar", "train.json"]
    with pytest.raises(ValueError, match=r"out has 1 of 3 train shards, .*run the same command ag"):
        find(str(tmp_path / "out"))
    progress: list[float] = []
    again = pack(find(str(photos)), tmp_path / "out", packing, advance=progress.append)
    assert (again.existing, again.images) == (1, COUNT - 4)
    assert progress[0] == 4  # those that were there, and then each
    assert sum(progress) == COUNT
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_data_or_settings_are_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(find(str(photos)), out, Packing((8, 8)))
    before = contents(out)
    with pytest.raises(ValueError, match=r"train\.json describes other data or settings; give an"):
        pack(find(str(photos)), out, Packing((9, 9)))
    (photos / "bee").rename(photos / "cow")
    with pytest.raises(ValueError, match=r"classes\.json describes other"):
        pack(find(str(photos)), out, Packing((8, 8)))
    assert contents(out) == before


def test_broken_images_are_left_out_and_named(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = [cut(photos / "ant" / name) for name in ("2.jpg", "3.png")]
    words = [EXAMPLE.name, str(photos), "--out", str(tmp_path / "out"), "--size", "8"]
    monkeypatch.setattr(sys, "argv", words)
    example.main()
    printed = capsys.readouterr().out
    assert all(f"left out: {path} is not a usable image" in printed for path in broken)
    assert f"{COUNT - 2} images written" in printed
    assert len(open_source(str(tmp_path / "out"))) == COUNT - 2


def test_foreign_files_next_to_shards_are_ignored(photos: Path, tmp_path: Path) -> None:
    pack(find(str(photos)), tmp_path / "out", Packing((8, 8), shard_size=4))
    for text in ("[]", '{"images": [1]}', '{"images": 99}', "{"):
        (tmp_path / "out" / "train.json").write_text(text)
        assert len(find(str(tmp_path / "out"))) == COUNT


def test_the_webdataset_package_reads_the_shards(photos: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    pack(find(str(photos)), tmp_path / "out", Packing((8, 8), shard_size=4))
    source = open_source(str(tmp_path / "out"))
    shards = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    rows = list(
        webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "cls")
    )
    assert [label for _, label in rows] == source.labels.tolist()
    for index, (picture, _) in enumerate(rows):
        levels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        assert torch.equal(levels, source.read(index))


def test_shards_that_the_webdataset_package_wrote_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    (tmp_path / "set").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    with webdataset.ShardWriter(str(tmp_path / "set" / "s-%04d.tar"), maxcount=2, verbose=0) as out:
        for index, image in enumerate(images):
            out.write(
                {"__key__": f"a/{index:03d}", "png": Image.fromarray(image), "cls": index % 2}
            )
    source = open_source(str(tmp_path / "set"))
    assert source.labels.tolist() == [0, 1, 0, 1, 0]
    assert torch.equal(source.batch(range(5))[0], torch.from_numpy(images).permute(0, 3, 1, 2))
