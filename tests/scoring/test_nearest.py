"""samples, training images -> copies are flagged, fresh images are not."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from adm.data.source import in_memory
from adm.metrics.accuracy import wilson
from adm.scoring.nearest import (
    NONE,
    equal_pixels,
    nearest_images,
    nearest_to_json,
)

DIM = 8


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def hashes(images: np.ndarray) -> np.ndarray:
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(images), 32)


def test_copies_are_flagged_and_fresh_images_are_not():
    data = drawn(1000, 0)
    copies, close = data[:10], data[10:20] + 1e-3 * drawn(10, 1)
    nearest = nearest_images(np.concatenate([copies, close, drawn(200, 2)]), data)
    assert nearest.flagged[:20].all()
    assert nearest.flagged[20:].mean() < 0.04
    assert nearest.indices[:20, 0].tolist() == list(range(20))


def test_as_many_fresh_images_are_flagged_as_the_quantile_says():
    nearest = nearest_images(drawn(3000, 1), drawn(3000, 0), quantile=0.1)
    assert nearest.flagged.mean() == pytest.approx(0.1, abs=5 * (0.1 / 3000) ** 0.5)


def test_the_nearest_are_those_of_a_plain_search():
    samples, data = drawn(20, 1), drawn(50, 0)
    plain = np.linalg.norm(samples[:, None].astype(float) - data[None], axis=2)
    nearest = nearest_images(samples, data, neighbours=4)
    np.testing.assert_array_equal(nearest.indices, plain.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(nearest.distances, np.sort(plain, axis=1)[:, :4])


def test_equal_pixels_are_flagged_though_doubles_make_the_threshold_zero():
    data = np.repeat(drawn(50, 0), 2, axis=0)
    samples = np.concatenate([drawn(5, 1), data[:1]])
    equal = equal_pixels(hashes(samples), hashes(data))
    assert equal.tolist() == [NONE] * 5 + [0]
    nearest = nearest_images(samples, data, equal)
    assert nearest.threshold == 0
    assert "are duplicates" in str(nearest)
    assert nearest.flagged.tolist() == [False] * 5 + [True]


def test_the_answer_states_its_rule_files_and_classes():
    pixels, labels = torch.zeros(100, 1, 2, 2).byte(), torch.arange(100) % 2
    arrays = in_memory("real", ("ant", "bee"), pixels, labels)
    files = replace(arrays, names=lambda row: f"real/{row}.png", classes=("ant",))
    data = drawn(100, 0)
    equal = np.array([3, NONE, NONE, NONE])
    answer = nearest_to_json(nearest_images(data[:4], data, equal), "pixels", files, arrays)
    assert (answer["flagged"], answer["share_flagged"], answer["exact_copies"]) == (4, 1, 1)
    assert answer["share_expected_of_fresh_images"] == 0.01
    assert [row["same_pixels_as"] for row in answer["nearest"]] == [3, None, None, None]
    one = answer["nearest"][1]
    assert (one["file"], one["class"]) == ("real/1.png", None)
    assert one["files"] == [None] * 5
    assert one["classes"] == [("ant", "bee")[index % 2] for index in one["images"]]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="cannot be chosen from 1 other images; give more"):
        nearest_images(drawn(3, 0), drawn(1, 0), neighbours=1)
    with pytest.raises(ValueError, match="use the same extractor"):
        nearest_images(drawn(3, 0), drawn(9, 0)[:, :4], neighbours=1)


def halves(seed: int, count: int = 2000, dim: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Training images and fewer test images of one distribution, in clusters."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(0, 2, size=(40, dim))
    drawn = centres[random.integers(40, size=count)] + random.normal(size=(count, dim))
    return drawn[: count * 4 // 5], drawn[count * 4 // 5 :]


def test_the_share_of_copies_is_recovered() -> None:
    data, test = halves(0)
    fresh, copies = halves(1)[0], data + 1e-3 * np.random.default_rng(2).normal(size=data.shape)
    estimates = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        count = round(share * len(data))
        samples = np.concatenate([copies[:count], fresh[count:]])
        copying = nearest_images(samples, data, test=test).copying
        assert copying is not None
        assert copying.expected == 0.8
        assert copying.copied.low <= share <= copying.copied.high
        estimates.append(copying.copied.value)
    assert estimates == sorted(estimates)
    assert estimates[-1] == 1
    # Test images in the place of training images are the same from the other side.
    mirrored = nearest_images(test, data, test=test).copying
    assert mirrored is not None
    assert mirrored.share.value == 0


def test_the_interval_knows_that_few_images_are_the_nearest_of_many_samples() -> None:
    # Which images are held out is drawn: over such draws, 95% of the intervals contain 0. Those of
    # as many samples as if each had a nearest image of its own contain it far less often.
    fresh = halves(1, 4000)[0]
    drawn_anew = (halves(seed, 400) for seed in range(2, 62))
    estimates = [nearest_images(fresh, data, test=test).copying for data, test in drawn_anew]
    inside = [one.copied.low <= 0 <= one.copied.high for one in estimates if one is not None]
    assert np.mean(inside) >= 0.85
    assert abs(np.mean([one.copied.value for one in estimates if one is not None])) < 0.05


def test_samples_spread_evenly_over_all_images_count_each() -> None:
    """Then the share is the same, whichever images are held out."""
    data, test = drawn(80, 0), drawn(20, 1)
    samples = np.concatenate([data, test] * 3)
    copying = nearest_images(samples + 1e-3 * drawn(300, 2), data, test=test).copying
    assert copying is not None
    assert copying.share == pytest.approx(wilson(240, 300))


def test_an_image_in_both_sets_says_nothing() -> None:
    data, test = halves(0)
    both = np.concatenate([test, data[:100]])
    copying = nearest_images(data[:100], data, test=both).copying
    assert copying is not None
    assert copying.share.value == pytest.approx(copying.expected)
