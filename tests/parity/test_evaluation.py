"""the released evaluator's features -> its scores, through the whole of `adm evaluate`."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation.stubs import blocks, spots
from numpy.linalg import matrix_rank
from parity.goldens import Arrays, each_entry

from adm.app.scoring import FeatureSet, Reference, extract, scores
from adm.app.scoring.reference import load_reference
from adm.metrics import statistics


def features_of(pool: np.ndarray, logits: np.ndarray | None = None) -> FeatureSet:
    """A set of images with these features."""
    few = extract(spots(4), blocks("inception"))
    return replace(few, pool=pool, logits=logits)


@each_entry("evaluator/fid.json")
def test_fid(case, tmp_path):
    arrays = Arrays("evaluator/fid.npz", case["name"])
    fake = features_of(arrays["sample"].numpy())
    path = tmp_path / "ref.npz"
    np.savez(path, mu=arrays["mu_ref"].numpy(), sigma=arrays["sigma_ref"].numpy())
    found = scores(fake, load_reference(path), only=["frechet"])["frechet"].value
    real = statistics(arrays["ref"].numpy())
    deficient = any(matrix_rank(s.covariance) < case["dim"] for s in (real, fake.statistics))
    relative, absolute = (1e-4, 0.0) if deficient else (1e-5, 0.0)
    if np.array_equal(arrays["ref"], arrays["sample"]):
        absolute = 1e-6
    assert found == pytest.approx(case["fid"], rel=relative, abs=absolute)


@each_entry("evaluator/inception_score.json")
def test_inception_score(case):
    p = Arrays("evaluator/inception_score.npz", case["name"])["probs"].numpy()
    if case["split_size"] != 5000 or not (p > 0).all():
        pytest.skip("the released evaluator's own split and probabilities that have logarithms")
    fake = features_of(np.random.default_rng(0).normal(size=(len(p), 4)), np.log(p))
    real = Reference("inception", None, statistics(fake.pool))
    found = scores(fake, real, only=["inception_score"])["inception_score"]
    assert found.value == pytest.approx(case["inception_score"], rel=1e-5)


@each_entry("evaluator/precision_recall.json")
def test_precision_and_recall(case):
    if case["k"] != 3:
        pytest.skip("the released evaluator takes 3 neighbours")
    arrays = Arrays("evaluator/precision_recall.npz", case["name"])
    real, fake = arrays["ref"].numpy(), arrays["sample"].numpy()
    reference = Reference("inception", None, statistics(real), pool=real)
    found = scores(features_of(fake), reference, only=["precision", "recall"])
    assert found["precision"].value == case["float32"]["precision"]
    assert found["recall"].value == case["float32"]["recall"]
