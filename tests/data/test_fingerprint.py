"""an image changed, two swapped -> the first that differs is named, in every kind of source."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import Source, fingerprint, held_out, open_source
from adm.data.fingerprint import Fingerprint, changed
from adm.store.parsed import as_type, through_json

COUNT = 9
Pixels = np.ndarray  # (N, 8, 8, 3) uint8


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def folder(place: Path, pixels: Pixels) -> str:
    for index, image in enumerate(pixels):
        file = place / "photos" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    return str(place / "photos")


def zipped(place: Path, pixels: Pixels) -> str:
    with zipfile.ZipFile(place / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for index, image in enumerate(pixels):
            archive.writestr(f"{'ab'[index % 2]}/{index}.png", png(image))
    return str(place / "photos.zip")


def tarred(place: Path, pixels: Pixels) -> str:
    with tarfile.open(place / "photos.tar", "w") as archive:
        for index, image in enumerate(pixels):
            content = png(image)
            info = tarfile.TarInfo(f"{'ab'[index % 2]}/{index}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(place / "photos.tar")


def npz(place: Path, pixels: Pixels) -> str:
    np.savez(place / "photos.npz", arr_0=pixels)
    return str(place / "photos.npz")


def npy(place: Path, pixels: Pixels) -> str:
    np.save(place / "photos.npy", pixels)
    return str(place / "photos.npy")


def opened(place: Path, pixels: Pixels, make: Callable[[Path, Pixels], str]) -> Source:
    place.mkdir(exist_ok=True)
    return open_source(make(place, pixels), size=(12, 12) if make in (npz, npy) else (8, 8))


KINDS = pytest.mark.parametrize("make", [folder, zipped, tarred, npz, npy])


@KINDS
@pytest.mark.parametrize("whole", [False, True])
def test_one_changed_pixel_or_two_swapped_images_are_named(
    tmp_path: Path, pixels: Pixels, make: Callable[[Path, Pixels], str], whole: bool
) -> None:
    source = opened(tmp_path, pixels, make)
    held = fingerprint.fingerprint(source, whole)
    assert as_type(Fingerprint, through_json(vars(held))) == held
    assert changed(source, held) is None
    moved = opened(tmp_path / "elsewhere", pixels, make)
    assert changed(moved, held) is None
    other = pixels.copy()
    other[6, 3, 3, 1] ^= 1
    odd = opened(tmp_path / "other", other, make)
    swapped = opened(tmp_path / "swapped", pixels[[0, 1, 2, 5, 4, 3, 6, 7, 8]], make)
    for source, place in ((odd, "6.png"), (swapped, "3.png")):
        named = changed(source, held)
        assert named is not None
        wanted = f"image {place[0]}" if make in (npz, npy) else place
        assert named.endswith(wanted)
        assert source.path is None or Path(named).name == wanted


def many(monkeypatch: pytest.MonkeyPatch, sampled: int = 3) -> None:
    """As if a set were large, and most of it not hashed."""
    monkeypatch.setattr(fingerprint, "SAMPLED", sampled)
    monkeypatch.setattr(fingerprint, "SMALL", 100)


@KINDS
def test_of_a_large_set_a_sample_is_hashed_and_all_on_request(
    tmp_path: Path,
    pixels: Pixels,
    make: Callable[[Path, Pixels], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many(monkeypatch)
    source = opened(tmp_path / "a", pixels, make)
    sample, all_ = fingerprint.fingerprint(source), fingerprint.fingerprint(source, whole=True)
    assert (sample.whole, all_.whole) == (False, True)
    assert sample.first == (0, 3, 6)
    assert all_.first == tuple(range(COUNT))
    one = source.path(1)[-5:] if source.path else "image 1"  # those of class a come first
    other = pixels.copy()
    other[2 if source.path else 1] += 1
    odd = opened(tmp_path / "b", other, make)
    assert changed(odd, sample) is None
    assert changed(odd, all_) is None
    assert (changed(odd, all_, whole=True) or "").endswith(one)


def test_only_the_sampled_files_are_opened(
    tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, read = opened(tmp_path, pixels, folder), list[int]()
    many(monkeypatch)
    assert source.open is not None
    open_ = source.open
    counted = replace(source, open=lambda index: read.append(index) or open_(index))
    held = fingerprint.fingerprint(counted)
    assert sorted(read) == [0, 3, 6]
    os.rename(source.path(1), source.path(1) + ".gif")  # type: ignore[misc]
    again = open_source(str(tmp_path / "photos"), size=(8, 8))
    assert changed(again, held) == "the name of a file"


def test_the_ends_and_the_size_of_a_sampled_file_are_hashed(
    tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(monkeypatch)
    monkeypatch.setattr(fingerprint, "END", 30)
    source = opened(tmp_path, pixels, folder)
    held, place = fingerprint.fingerprint(source), Path(source.path(3))  # type: ignore[misc]
    before = place.read_bytes()
    assert len(before) > 100
    middle = before[:50] + b"?" + before[51:]
    for content, found in (
        (before[:10] + b"?" + before[11:], True),
        (before[:-10] + b"?" + before[-9:], True),
        (before[:50] + b"?" + before[50:], True),
        (middle, False),
    ):
        place.write_bytes(content)
        assert (changed(source, held) == str(place)) == found


def test_hashes_are_bounded_in_number_and_then_name_a_range(
    tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "MOST_HASHES", 4)
    source = opened(tmp_path, pixels, npz)
    held = fingerprint.fingerprint(source)
    assert (held.each, held.first) == (3, (0, 3, 6))
    pixels[4] += 1
    odd = opened(tmp_path, pixels, npz)
    assert changed(odd, held) == "an image from image 3 to image 5"


def test_a_corrupt_file_has_a_hash_and_an_absent_one_is_an_error(
    tmp_path: Path, pixels: Pixels
) -> None:
    source = open_source(folder(tmp_path, pixels), size=(8, 8), skip_corrupt=True)
    assert source.path is not None
    Path(source.path(2)).write_bytes(b"no image")
    held = fingerprint.fingerprint(source)
    assert changed(source, held) is None
    Path(source.path(2)).unlink()
    with pytest.raises(ValueError, match=r"4\.png cannot be read \(No such file.*restore"):
        changed(source, held)


def test_a_part_of_a_set_has_a_fingerprint_of_its_own(tmp_path: Path, pixels: Pixels) -> None:
    source = opened(tmp_path, pixels, folder)
    training, validation = held_out(source, 3)
    held = fingerprint.fingerprint(training)
    assert held.images == 6
    assert changed(training, held) is None
    assert validation.path is not None
    Path(validation.path(0)).write_bytes(b"other")
    assert changed(training, held) is None


def test_a_source_of_functions_alone_is_read() -> None:
    images = torch.arange(5 * 4).reshape(5, 1, 2, 2).to(torch.uint8)
    source = Source("made", ("a",), torch.zeros(5, dtype=torch.int64), lambda index: images[index])
    held = fingerprint.fingerprint(source)
    images[3] += 1
    assert changed(source, held) == "image 3"
