"""Names, sizes and pixels of a data set -> what has changed, in every kind of source."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.test_archives import KINDS, Make, make_folder
from PIL import Image

from adm.data import Source, fitting, hold_out, open_source
from adm.data.fingerprint import Fingerprint, difference, fingerprint
from adm.store.parsed import as_type, through_json

COUNT = 9
Pixels = np.ndarray  # (N, 8, 8, 3) uint8


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)


def files(pixels: Pixels) -> dict[str, bytes]:
    contents = {}
    for index, image in enumerate(pixels):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        contents[f"{'ab'[index % 2]}/{index}.png"] = stream.getvalue()
    return contents


def saved(save: Callable, ending: str) -> Callable[[Path, Pixels], Source]:
    def make(place: Path, pixels: Pixels) -> Source:
        place.mkdir(exist_ok=True)
        save(place / f"photos{ending}", pixels)
        return open_source(str(place / f"photos{ending}"), size=(12, 12))

    return make


def opened(make: Make = make_folder) -> Callable[[Path, Pixels], Source]:
    def open_(place: Path, pixels: Pixels) -> Source:
        place.mkdir(exist_ok=True)
        return open_source(make(place / "photos", files(pixels)), size=(8, 8))

    return open_


SOURCES = [*map(opened, KINDS), saved(np.savez, ".npz"), saved(np.save, ".npy")]


@pytest.mark.parametrize("make", SOURCES)
def test_changed_data_have_another_fingerprint(
    tmp_path: Path, pixels: Pixels, make: Callable[[Path, Pixels], Source]
) -> None:
    before = fingerprint(make(tmp_path, pixels), pixels=True)
    assert as_type(Fingerprint, through_json(vars(before))) == before
    moved = make(tmp_path / "elsewhere", pixels)
    assert difference(before, fingerprint(moved, pixels=True)) is None
    odd = pixels.copy()
    odd[6, 3, 3, 1] ^= 1
    for number, other in enumerate((odd, pixels[[0, 1, 2, 5, 4, 3, 6, 7, 8]])):
        source = make(tmp_path / f"{number}", other)
        now = fingerprint(source, pixels=True)
        assert before.pixels != now.pixels
        assert (difference(before, now) or "").startswith(("the content", "the size"))
    fewer = fingerprint(make(tmp_path / "fewer", pixels[1:]))
    assert difference(before, fewer) == "the number of images, 9 and now 8,"


def test_names_and_sizes_are_compared_without_reading_pixels(
    tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHECKED", 3)
    source, reads = opened()(tmp_path, pixels), list[int]()
    stored = source.files
    assert stored is not None
    counted = replace(stored, open=lambda row: reads.append(row) or stored.open(row))
    before = fingerprint(replace(source, images=counted))
    assert sorted(reads) == [0, 3, 6]
    one = Path(source.path(3))
    content = one.read_bytes()
    one.write_bytes(content[:-1] + b"?")
    assert difference(before, fingerprint(source)) is None
    one.write_bytes(content + b"?")
    assert difference(before, fingerprint(source)) == "the size of an image"
    one.rename(f"{one}.gif")
    again = open_source(str(tmp_path / "photos"), size=(8, 8))
    assert difference(before, fingerprint(again)) == "the name of a file"


def test_a_corrupt_file_has_a_hash_and_an_absent_one_is_an_error(
    tmp_path: Path, pixels: Pixels
) -> None:
    source = opened()(tmp_path, pixels)
    Path(source.path(2)).write_bytes(b"no image")
    assert fingerprint(source, pixels=True) == fingerprint(source, pixels=True)
    Path(source.path(2)).unlink()
    with pytest.raises(ValueError, match=r"4\.png cannot be read \(No such file.*restore"):
        fingerprint(source)


def test_a_part_of_a_set_has_a_fingerprint_of_its_own(tmp_path: Path, pixels: Pixels) -> None:
    training, validation = hold_out(opened()(tmp_path, pixels), 0.4)
    before = fingerprint(training, pixels=True)
    assert before.images == len(training) == COUNT - len(validation)
    Path(validation.path(0)).write_bytes(b"other")
    assert difference(before, fingerprint(training, pixels=True)) is None
