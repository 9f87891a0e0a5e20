"""real images -> a file of the released layout -> the same reference; others are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scoring.stubs import NAMES, blocks, spots

from adm.scoring import (
    extract,
    load_reference,
    make_reference,
)
from adm.scoring.reference import Reference, read_statistics, subset_rows

COUNT = 40


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference(spots(COUNT), blocks())


def released(path: Path, seed: int = 0, dim: int = 16, **changes: object) -> Path:
    """A file like the released ones, whose statistics are of other images than it holds."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(200, dim))
    arrays = {
        "arr_0": random.integers(0, 255, (12, 8, 8, 3), dtype=np.uint8),
        "mu": features.mean(axis=0).astype(np.float32),
        "sigma": np.cov(features.T),
        "mu_s": features[:, :8].mean(axis=0).astype(np.float32),
        "sigma_s": np.cov(features[:, :8].T),
    }
    present = {key: value for key, value in (arrays | changes).items() if value is not None}
    np.savez(path, **present)
    return path


def test_the_file_holds_the_reference(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    reference.save(path)
    back = load_reference(path, blocks())
    for ours, theirs in (
        (reference.statistics, back.statistics),
        (reference.spatial, back.spatial),
    ):
        assert np.array_equal(ours.mean, theirs.mean)
        assert ours.mean.dtype == theirs.mean.dtype == np.float32
        assert np.array_equal(ours.covariance, theirs.covariance)
    for ours, theirs in (
        (reference.pool, back.pool),
        (reference.images, back.images),
        (reference.labels, back.labels),
    ):
        assert np.array_equal(ours, theirs)
    assert (back.features, back.fingerprint, back.count) == ("blocks", "blocks-1", COUNT)
    assert back.classes == NAMES
    assert back.manifest["labels"] == {"circle": 14, "square": 13, "star": 13}
    assert back.manifest["sha256"] == extract(spots(COUNT), blocks()).digest
    make_reference(spots(COUNT), blocks()).save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_statistics_are_of_all_images_and_some_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    source = spots(COUNT)
    whole = extract(source, blocks())
    monkeypatch.setattr("adm.scoring.reference.IMAGES", 10)
    reference = make_reference(source, blocks())
    assert np.array_equal(reference.statistics.covariance, whole.statistics.covariance)
    rows = subset_rows(COUNT)
    assert len(rows) == 10
    assert np.array_equal(reference.pool, whole.pool[rows])
    images, labels = source.batch(rows.tolist())
    assert np.array_equal(reference.images, images.permute(0, 2, 3, 1))
    assert np.array_equal(reference.labels, labels)


def test_stored_rows_are_spread_over_all_in_any_order_of_classes() -> None:
    assert np.array_equal(subset_rows(10_000), np.arange(10_000))
    rows = subset_rows(60_000)
    assert len(rows) == len(np.unique(rows)) == 10_000
    assert np.array_equal(rows, subset_rows(60_000))
    for labels in (rows % 10, rows // 6000):
        counts = np.bincount(labels, minlength=10)
        assert counts.min() > 850
        assert counts.max() < 1150


def test_a_released_file_is_inception_s_and_its_features_are_extracted(tmp_path: Path) -> None:
    path = released(tmp_path / "released.npz")
    features = blocks("inception")
    reference = load_reference(path, features)
    assert (reference.features, reference.count) == ("inception", None)
    with np.load(path) as file:
        assert np.array_equal(reference.statistics.mean, file["mu"])
        assert np.array_equal(reference.spatial.covariance, file["sigma_s"])
        images = torch.from_numpy(file["arr_0"]).permute(0, 3, 1, 2)
    np.testing.assert_allclose(reference.pool, features.extract(images).pool, rtol=1e-6)
    assert reference.size == (8, 8)


def test_other_features_are_refused(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "ref.npz"
    reference.save(path)
    with pytest.raises(ValueError, match=r"ref.npz was made with the features blocks, got others"):
        load_reference(path, blocks("others"))
    changed = blocks()
    object.__setattr__(changed, "fingerprint", "blocks-2")
    with pytest.raises(
        ValueError, match=r"other weights .* \(fingerprint blocks-1, got blocks-2\)"
    ):
        load_reference(path, changed)
    path = released(tmp_path / "released.npz", dim=20)
    with pytest.raises(ValueError, match="made with the features inception, got blocks"):
        load_reference(path, blocks())
    with pytest.raises(ValueError, match="20 features and inception has 16"):
        load_reference(path, blocks("inception"))


def test_statistics_in_a_file_of_samples_are_read(tmp_path: Path) -> None:
    path = released(tmp_path / "samples.npz")
    pool, spatial = read_statistics(path, blocks("inception"))
    assert np.array_equal(pool.mean, load_reference(path).statistics.mean)
    assert spatial is not None
    assert read_statistics(path, blocks()) is None  # it has none of these features
    ours = tmp_path / "ours.npz"
    make_reference(spots(COUNT), blocks()).save(ours)
    assert read_statistics(ours, blocks()) is not None
    changed = blocks()
    object.__setattr__(changed, "fingerprint", "blocks-2")
    assert read_statistics(ours, changed) is None
    np.savez(tmp_path / "plain.npz", arr_0=np.zeros((3, 8, 8, 3), np.uint8))
    assert read_statistics(tmp_path / "plain.npz", blocks("inception")) is None


BAD = {
    "without mu": ({"mu": None}, "is not a reference: it holds the arrays"),
    "one-sided sigma": ({"sigma": np.eye(16) + np.eye(16, k=1)}, "not symmetric"),
    "sigma below 0": ({"sigma": -np.eye(16)}, "has a negative variance"),
    "not a number": ({"mu": np.full(16, np.nan, np.float32)}, "not finite"),
    "features of others": ({"features": np.zeros((12, 9), np.float32)}, r"floats \(12, 16\)"),
    "words for counts": (
        {"adm": np.array('{"manifest": {"labels": {"a": "b"}}}')},
        "must hold a JSON object",
    ),
    "JSON without end": ({"adm": np.array("[" * 200_000)}, "must hold a JSON object"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_file_is_refused(tmp_path: Path, case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        load_reference(released(tmp_path / "bad.npz", **changes))
