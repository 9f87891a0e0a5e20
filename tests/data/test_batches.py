"""The endless stream of images; Source.batch: crops, corrupt images, threads; held-out parts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adm.data import CorruptImage, Source, hold_out, open_source, pixels, shuffle
from adm.data.source import in_memory, map_ahead

COUNT = 12


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """12 JPEG files of two classes, whose grey levels encode their numbers."""
    for index in range(COUNT):
        folder = tmp_path / ("ant" if index < COUNT // 2 else "bee")
        folder.mkdir(exist_ok=True)
        Image.new("L", (24, 20), 20 * index).save(folder / f"{index}.jpg")
    return tmp_path


def break_(path: Path) -> str:
    """Truncate a file after its valid header."""
    Image.effect_noise((24, 20), 99).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    return str(path)


def numbers(images: torch.Tensor) -> list[int]:
    return [round(float(image.float().mean()) / 20) for image in images]


def test_a_broken_image_is_refused_by_its_name(photos: Path) -> None:
    broken = break_(photos / "ant" / "5.jpg")
    source = open_source(str(photos), size=(8, 8))
    assert source.batch([4, 6])[1].tolist() == [0, 1]
    with pytest.raises(CorruptImage, match=broken):
        source.batch(range(COUNT))


def test_threads_change_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(photos), size=(8, 8))
    order = shuffle(0, COUNT, 0, 40)
    uniforms = np.random.default_rng(0).random((40, 3)).tolist()
    one = [source.batch([index], [crop])[0][0] for index, crop in zip(order, uniforms, strict=True)]
    for threads in (1, 2, 5):
        monkeypatch.setattr("adm.data.source.MOST_THREADS", threads)
        actual = source.batch(order, uniforms)[0]
        assert torch.equal(actual, torch.stack(one))


@pytest.mark.parametrize("threads", [1, 5])
def test_values_come_in_order_and_the_first_failure_is_raised(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr("adm.data.source.processors", lambda: threads)

    def run(function: Callable, values: list[int]) -> list:
        return list(map_ahead(function, values))

    assert run(lambda n: n * n, list(range(500))) == [n * n for n in range(500)]
    assert run(lambda n: n, []) == []

    def fail(n: int) -> int:
        if n >= 100:
            raise ValueError(str(n))
        return n

    with pytest.raises(ValueError, match=r"^100$"):
        run(fail, list(range(500)))


def test_images_in_memory_are_read_at_once_as_copies() -> None:
    images = torch.arange(6 * 4, dtype=torch.uint8).reshape(6, 1, 2, 2)
    source = in_memory("m", ("a",), images, torch.zeros(6))
    batch, labels = source.batch([4, 0, 4])
    assert torch.equal(batch, images[[4, 0, 4]])
    assert labels.dtype == torch.int64
    batch.zero_()
    source.read(4).zero_()
    assert int(images[4, 0, 0, 0]) == 16


def ramp(height: int, width: int) -> Image.Image:
    """Red grows downwards, green to the right, one level a pixel."""
    rows, columns = np.indices((height, width), dtype=np.uint8)
    return Image.fromarray(np.stack([rows, columns, np.zeros_like(rows)], axis=2))


def test_the_largest_crop_is_all_of_the_shorter_side() -> None:
    picture = ramp(100, 160)
    for place in (0.0, 0.999):
        crop = pixels.to_tensor(pixels.random_crop(picture, (100, 100), (0.0, place, place)))
        left = 0 if place == 0 else 60
        assert torch.equal(crop[0], pixels.to_tensor(picture)[0, :, :100])
        assert crop[1, 0].tolist() == list(range(left, left + 100))


def test_the_smallest_crop_is_four_fifths_of_the_shorter_side() -> None:
    crop = pixels.to_tensor(pixels.random_crop(ramp(160, 200), (64, 64), (0.999, 0.5, 0.5)))
    extent = int(crop[0].max()) - int(crop[0].min())
    assert extent == pytest.approx(0.8 * 160, abs=4)


def test_sizes_of_crops_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    covered: list[int] = []
    cover = pixels._covering

    def spy(picture: Image.Image, height: int, width: int) -> Image.Image:
        covered.append(height)
        assert height == width
        return cover(picture, height, width)

    monkeypatch.setattr(pixels, "_covering", spy)
    picture = ramp(160, 160)
    for u in (np.arange(170) + 0.5) / 170:  # 64 to 80 are 17 sizes
        pixels.random_crop(picture, (64, 64), (float(u), 0.0, 0.0))
    assert covered == [size for size in range(64, 81) for _ in range(10)]


@pytest.mark.parametrize("across", [0.0, 0.4, 0.999])
@pytest.mark.parametrize("down", [0.0, 0.4, 0.999])
def test_a_crop_moves_down_by_its_second_number_and_across_by_its_third(
    down: float, across: float
) -> None:
    """Without resizing, three places in each direction are equally likely."""
    crop = pixels.to_tensor(pixels.random_crop(ramp(10, 10), (8, 8), (0.999, down, across)))
    assert crop[:2, 0, 0].tolist() == [int(3 * down), int(3 * across)]
    assert crop[:2, -1, -1].tolist() == [int(3 * down) + 7, int(3 * across) + 7]


def numbered(total: int) -> Source:
    images = torch.arange(total)[:, None, None, None].to(torch.uint8)
    return in_memory("m", ("a", "b"), images, torch.arange(total) % 2)


def contents(source: Source) -> list[int]:
    return source.batch(range(len(source)))[0].flatten().tolist()


@pytest.mark.parametrize("part", [0.2, 0.9])
def test_training_and_held_out_images_are_the_whole(part: float) -> None:
    training, validation = hold_out(numbered(200), part, seed=3)
    assert sorted(contents(training) + contents(validation)) == list(range(200))
    assert len(validation) == pytest.approx(200 * part, abs=25)
    for side in (training, validation):
        assert side.labels.tolist() == [n % 2 for n in contents(side)]
        assert int(side.read(0)) == contents(side)[0]
        assert side.classes == ("a", "b")
    assert contents(hold_out(numbered(200), part, seed=3)[1]) == contents(validation)
    assert contents(hold_out(numbered(200), part, seed=4)[1]) != contents(validation)


def test_images_added_at_the_end_leave_a_share_as_it_was() -> None:
    before, after = (contents(hold_out(numbered(n), 0.3)[1]) for n in (100, 200))
    assert before == [n for n in after if n < 100]
    assert len(before) == pytest.approx(30, abs=12)


def test_crops_follow_into_the_parts(photos: Path) -> None:
    source = open_source(str(photos), size=(8, 8), channels=1)
    parts = hold_out(source, 0.4)
    decoded = [number for part in parts for number in numbers(part.batch(range(len(part)))[0])]
    assert set(decoded) == set(range(COUNT))
    for part in parts:
        everything, middle = range(len(part)), [[0.5, 0.5, 0.5]] * len(part)
        cropped, labels = part.batch(everything, middle)
        assert numbers(cropped) == numbers(part.batch(everything)[0])
        assert cropped.shape == (len(part), 1, 8, 8)
        assert torch.equal(labels, part.batch(everything)[1])


@pytest.mark.parametrize("part", [0, -1, 1, 20, 1e-9])
def test_parts_that_leave_a_side_empty_are_refused(part: float) -> None:
    with pytest.raises(ValueError, match=r"hold_out must be|leaves none to train"):
        hold_out(numbered(200), part)


def test_the_order_is_for_ever() -> None:
    # A run resumed by another version must see the same images.
    assert shuffle(0, 10, 0, 12) == [3, 2, 9, 7, 1, 5, 0, 4, 8, 6, 4, 3]
    assert shuffle(7, 10, 3, 5) == [4, 0, 7, 9, 1]


def test_every_pass_shows_every_image_once() -> None:
    stream = shuffle(0, 10, 0, 30)
    passes = [stream[:10], stream[10:20], stream[20:]]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


@pytest.mark.parametrize(("start", "count"), [(0, 3), (7, 6), (9, 1), (25, 40)])
def test_any_place_can_be_reached_directly(start: int, count: int) -> None:
    assert shuffle(3, 10, start, count) == shuffle(3, 10, 0, 100)[start : start + count]
