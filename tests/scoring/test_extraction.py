"""images -> the same features and moments by any batches, ranks and interruptions."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring.stubs import NAMES, blocks, select, spots, together
from torch import Tensor

from adm.data import Source
from adm.features import Extracted
from adm.features.contract import make_features
from adm.scoring import Extraction, FeatureSet, extract, extraction, resumable
from adm.store.arrays import hashes_of
from adm.store.locks import InUse
from adm.store.work import holding

COUNT = 50


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART", 8)


def same(one: FeatureSet, other: FeatureSet) -> bool:
    pairs = [
        (one.pool, other.pool),
        (one.logits, other.logits),
        (one.spatial, other.spatial),
        (one.statistics.covariance, other.statistics.covariance),
        (one.spatial_statistics.covariance, other.spatial_statistics.covariance),
        (one.hashes, other.hashes),
    ]
    return one.digest == other.digest and all(np.array_equal(a, b) for a, b in pairs)


def test_everything_is_in_the_order_of_the_images() -> None:
    source, features = spots(COUNT), blocks()
    extracted = extract(source, features)
    images, labels = source.batch(range(COUNT))
    expected = features.extract(images)
    np.testing.assert_allclose(extracted.pool, expected.pool, rtol=1e-6)
    np.testing.assert_allclose(extracted.logits, expected.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(extracted.spatial, expected.spatial, rtol=1e-6)
    for features, fitted in (
        (extracted.pool, extracted.statistics),
        (extracted.spatial, extracted.spatial_statistics),
    ):
        np.testing.assert_allclose(fitted.mean, features.mean(0, dtype=np.float64), rtol=1e-6)
        np.testing.assert_allclose(fitted.covariance, np.cov(features.T.astype(float)))
    assert np.array_equal(extracted.labels, labels)
    assert (extracted.count, extracted.size, extracted.channels) == (COUNT, (8, 8), 1)
    assert extracted.classes == NAMES


def test_the_batch_size_changes_nothing() -> None:
    source = spots(COUNT)
    default = extract(source, blocks())
    other = extract(source, blocks(), Extraction(batch_size=7))
    np.testing.assert_allclose(default.pool, other.pool, rtol=1e-6)
    np.testing.assert_allclose(
        default.statistics.covariance, other.statistics.covariance, rtol=1e-6
    )
    assert default.digest == other.digest


@pytest.mark.parametrize("world", [3, 9])
@pytest.mark.parametrize("stored", [True, False])
def test_the_number_of_processes_changes_nothing(tmp_path: Path, world: int, stored: bool) -> None:
    source = spots(COUNT)
    alone = extract(source, blocks())
    work = tmp_path if stored else None
    sets = together(world, lambda d: extract(source, blocks(), Extraction(d, work=work)))
    for extracted in sets:
        assert same(alone, extracted)


def test_the_failure_of_one_process_is_everyone_s() -> None:
    def extract_rows(images: Tensor) -> Extracted:
        return Extracted(images.flatten(1).float() / (images.flatten(1).float().mean() - 7))

    source = spots(COUNT)
    broken = replace(
        source,
        images=lambda rows: torch.full((len(rows), 1, 8, 8), 7 if 40 in rows else 9).byte(),
    )
    features = make_features("brittle", 64, extract_rows, "1", "cpu")
    for error in together(2, lambda d: extract(broken, features, Extraction(d))):
        assert isinstance(error, ValueError)
        assert "spots, images 40 to 47: brittle returned values that are not finite" in str(error)


class Stopped(BaseException):
    """Like a Ctrl-C."""


def test_an_interrupted_call_resumes_where_it_stopped(tmp_path: Path) -> None:
    source, whole, counts = spots(COUNT), extract(spots(COUNT), blocks()), []

    def stop_at_30(images: Tensor) -> None:
        if sum(counts) >= 30:
            raise Stopped
        counts.append(len(images))

    with pytest.raises(Stopped):
        extract(source, blocks(on_extract=stop_at_30), Extraction(work=tmp_path))
    again: list[int] = []
    features = blocks(on_extract=lambda images: again.append(len(images)))
    assert same(whole, extract(source, features, Extraction(work=tmp_path)))
    assert sum(again) == COUNT - 32  # finished parts of 8 are not extracted again
    again.clear()
    assert same(whole, extract(source, features, Extraction(work=tmp_path)))
    assert again == []


def test_stored_parts_are_used_for_the_same_images_and_features_only(tmp_path: Path) -> None:
    source, counts = spots(COUNT), []
    features = blocks(on_extract=lambda images: counts.append(len(images)))
    extract(source, features, Extraction(work=tmp_path))
    images = source.batch(range(COUNT))[0]
    images[20, 0, 3, 3] ^= 1
    changed = replace(source, images=lambda rows: images[rows])
    counts.clear()
    assert same(extract(changed, features, Extraction(work=tmp_path)), extract(changed, blocks()))
    assert sum(counts) == 8
    counts.clear()
    other = blocks("others", on_extract=lambda images: counts.append(len(images)))
    extract(changed, other, Extraction(work=tmp_path))
    assert sum(counts) == COUNT
    fewer = select(changed, list(range(30)))
    assert same(extract(fewer, other, Extraction(work=tmp_path)), extract(fewer, blocks("others")))


def test_the_digest_is_of_every_byte_and_of_the_order() -> None:
    source = spots(COUNT)
    images = source.batch(range(COUNT))[0]
    images[-1, 0, -1, -1] ^= 1
    changed = replace(source, images=lambda rows: images[rows])
    swapped = select(source, [1, 0, *range(2, COUNT)])
    digests = {extract(each, blocks()).digest for each in (source, changed, swapped)}
    assert len(digests) == 3
    assert np.array_equal(hashes_of(images), extract(changed, blocks()).hashes)


def test_fewer_than_two_images_are_refused() -> None:
    with pytest.raises(ValueError, match="spots has 1 image, and scores need at least 2"):
        extract(spots(1), blocks())


def test_memory_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART", 64)

    def extract_rows(images: Tensor) -> Extracted:
        wide = images.flatten(1).float().repeat(1, 8)
        return Extracted(wide, wide)

    def peak(count: int) -> int:
        source = Source(
            "made up",
            ("one",),
            torch.zeros(count, dtype=torch.int64),
            lambda rows: (torch.tensor(rows) % 200).byte()[:, None, None, None].repeat(1, 1, 8, 8),
        )
        tracemalloc.start()
        whole = extract(source, make_features("wide", 512, extract_rows, "1", "cpu"))
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert whole.statistics.mean.shape == (512,)
        return memory

    peak(1000)  # a warm-up: imports and caches count once
    few, many = peak(1000), peak(3000)
    # The hash of each image is 32 bytes; its features, twice 512 floats, are 4,096.
    assert many - few < 2000 * 300, (few, many)


def test_a_rival_that_is_refused_leaves_the_folder_of_the_other_alone(tmp_path: Path) -> None:
    work = tmp_path / ".report.json.work"
    (work / "reference").mkdir(parents=True)
    with (
        holding(work, Extraction().devices),
        pytest.raises(InUse),
        resumable(Extraction(), tmp_path / "report.json"),
    ):
        pass
    assert (work / "reference").is_dir()
