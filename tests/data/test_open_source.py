"""SPEC -> source: every form opens, sizes and channels are converted, and errors give a cure."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import open_source

COLOURS = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    np.savez(tmp_path / "set.npz", arr_0=COLOURS)
    return str(tmp_path / "set.npz")


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (9, 6), (4, 13)])
def test_padding_is_black_and_centred(archive: str, size: tuple[int, int]) -> None:
    image = open_source(archive, size=size).read(0)
    assert image.shape == (3, *size)
    top, left = (size[0] - 4) // 2, (size[1] - 6) // 2
    inner = image[:, top : top + 4, left : left + 6]
    assert torch.equal(inner, torch.from_numpy(COLOURS[0]).permute(2, 0, 1))
    assert int(image.sum()) == int(inner.sum())


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_of_arrays_are_converted_as_those_of_files(
    tmp_path: Path, mode: str, channels: int
) -> None:
    random = np.random.default_rng(2).integers(0, 256, (2, 4, 6, 4), dtype=np.uint8)
    pictures = [Image.fromarray(each, "RGBA").convert(mode) for each in random]
    (tmp_path / "set").mkdir()
    for name, each in zip("ab", pictures, strict=True):
        each.save(tmp_path / "set" / f"{name}.png")
    np.savez(tmp_path / "set.npz", images=np.stack([np.asarray(each) for each in pictures]))
    files, arrays = (
        open_source(str(tmp_path / name), channels=channels) for name in ("set", "set.npz")
    )
    assert torch.equal(files.batch([1, 0])[0], arrays.batch([1, 0])[0])
    padded = open_source(str(tmp_path / "set.npz"), channels=channels, size=(5, 7))
    assert torch.equal(padded.batch([1, 0])[0], torch.stack([padded.read(1), padded.read(0)]))


@pytest.mark.parametrize("size", [(3, 6), (4, 5), (2, 64)])
def test_arrays_are_not_shrunk(archive: str, size: tuple[int, int]) -> None:
    nearest = rf"{max(size[0], 4)}x{max(size[1], 6)}"
    with pytest.raises(ValueError, match=rf"set\.npz has 4x6 images.*request {nearest} \(padded"):
        open_source(archive, size=size)


@pytest.mark.parametrize(
    ("spec", "near"),
    [("fashion-mnis", "fashion-mnist"), ("Digits", "digits"), ("fashon-mnist:/x", "fashion-mnist")],
)
def test_unknown_names_give_near_matches_and_the_forms(spec: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"no data '{spec}'; did you mean .*{near}.*; ?|give"):
        open_source(spec)
    with pytest.raises(ValueError, match=rf"did you mean [^?]*\b{near}\b.*\? give fashion-mnist, "):
        open_source(spec)


def test_an_empty_name_is_not_the_current_folder() -> None:
    with pytest.raises(ValueError, match="the data spec is empty; give "):
        open_source("")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "val"}, "split must be train or test, got 'val'"),
        ({"split": "test"}, r"set\.npz has no test split; give the file of those"),
        ({"size": (0, 4)}, r"size must be \(H, W\), .* got \(0, 4\)"),
        ({"channels": 2}, "channels must be 1 .grey., 3 .RGB. or 4 .RGBA., got 2"),
        ({"channels": 0}, "channels must be 1 .grey., 3 .RGB. or 4 .RGBA., got 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    archive: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_source(archive, **settings)  # type: ignore[arg-type]
