"""samples, training images -> copies are flagged, fresh images are not."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from adm.app.scoring.nearest import (
    NONE,
    equal_pixels,
    nearest_images,
    nearest_to_json,
)
from adm.data.source import in_memory

DIM = 8


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def hashes(images: np.ndarray) -> np.ndarray:
    found = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.frombuffer(b"".join(found), np.uint8).reshape(len(images), 32)


def test_copies_are_flagged_and_fresh_images_are_not():
    data = drawn(1000, 0)
    copies, close = data[:10], data[10:20] + 1e-3 * drawn(10, 1)
    found = nearest_images(np.concatenate([copies, close, drawn(200, 2)]), data)
    assert found.flagged[:20].all()
    assert found.flagged[20:].mean() < 0.04
    assert found.indices[:20, 0].tolist() == list(range(20))


def test_as_many_fresh_images_are_flagged_as_the_quantile_says():
    found = nearest_images(drawn(3000, 1), drawn(3000, 0), quantile=0.1)
    assert found.flagged.mean() == pytest.approx(0.1, abs=5 * (0.1 / 3000) ** 0.5)


def test_the_nearest_are_those_of_a_plain_search():
    samples, data = drawn(20, 1), drawn(50, 0)
    plain = np.linalg.norm(samples[:, None].astype(float) - data[None], axis=2)
    found = nearest_images(samples, data, neighbours=4)
    np.testing.assert_array_equal(found.indices, plain.argsort(axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(plain, axis=1)[:, :4])


def test_equal_pixels_are_flagged_though_doubles_make_the_threshold_zero():
    data = np.repeat(drawn(50, 0), 2, axis=0)
    samples = np.concatenate([drawn(5, 1), data[:1]])
    equal = equal_pixels(hashes(samples), hashes(data))
    assert equal.tolist() == [NONE] * 5 + [0]
    found = nearest_images(samples, data, equal)
    assert found.threshold == 0
    assert "are duplicates" in str(found)
    assert found.flagged.tolist() == [False] * 5 + [True]


def test_the_answer_states_its_rule_files_and_classes():
    pixels, labels = torch.zeros(100, 1, 2, 2).byte(), torch.arange(100) % 2
    arrays = in_memory("real", ("ant", "bee"), pixels, labels)
    files = replace(arrays, paths=lambda row: f"real/{row}.png", classes=("ant",))
    data = drawn(100, 0)
    equal = np.array([3, NONE, NONE, NONE])
    told = nearest_to_json(nearest_images(data[:4], data, equal), "pixels", files, arrays)
    assert (told["flagged"], told["share_flagged"], told["exact_copies"]) == (4, 1, 1)
    assert told["share_expected_of_fresh_images"] == 0.01
    assert [row["same_pixels_as"] for row in told["nearest"]] == [3, None, None, None]
    one = told["nearest"][1]
    assert (one["file"], one["class"]) == ("real/1.png", None)
    assert one["files"] == [None] * 5
    assert one["classes"] == [("ant", "bee")[index % 2] for index in one["images"]]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="cannot be chosen from 1 images; give more"):
        nearest_images(drawn(3, 0), drawn(1, 0), neighbours=1)
    with pytest.raises(ValueError, match="use the same extractor"):
        nearest_images(drawn(3, 0), drawn(9, 0)[:, :4], neighbours=1)
