"""features -> the released Fréchet distance, Inception Score, precision and recall."""

import pytest
import torch
from numpy.linalg import matrix_rank
from parity.goldens import Arrays, assert_close, assert_scaled, each_entry

from adm.metrics import (
    frechet_distance,
    inception_score,
    membership,
    neighbour_distances,
    precision_recall,
    statistics,
)


@each_entry("evaluator/fid.json")
def test_frechet_distance(case):
    arrays = Arrays("evaluator/fid.npz", case["name"])
    real, fake = (statistics(arrays[name].numpy()) for name in ("ref", "sample"))
    for side, ours in (("ref", real), ("sample", fake)):
        want = arrays[f"mu_{side}"]
        assert ours.mean.dtype == want.numpy().dtype
        assert_scaled(torch.from_numpy(ours.mean)[None], want[None], 1e-4, f"mu_{side}")
        covariance = torch.from_numpy(ours.covariance)
        assert_scaled(covariance[None], arrays[f"sigma_{side}"][None], 1e-10, f"sigma_{side}")
    deficient = any(matrix_rank(s.covariance) < case["dim"] for s in (real, fake))
    identical = torch.equal(arrays["ref"], arrays["sample"])
    relative, absolute = 1e-4 if deficient else 1e-5, 1e-6 if identical else 0.0
    assert frechet_distance(real, fake) == pytest.approx(case["fid"], rel=relative, abs=absolute)


@each_entry("evaluator/inception_score.json")
def test_inception_score(case):
    arrays = Arrays("evaluator/inception_score.npz", case["name"])
    got = inception_score(arrays["probs"].numpy(), case["split_size"])
    assert got == pytest.approx(case["inception_score"], rel=1e-5)
    if case["split_size"] == 5000:
        assert inception_score(arrays["probs"].numpy()) == got


@each_entry("evaluator/precision_recall.json")
def test_precision_and_recall(case):
    arrays = Arrays("evaluator/precision_recall.npz", case["name"])
    real, fake, k = arrays["ref"].numpy(), arrays["sample"].numpy(), case["k"]
    got = precision_recall(real, fake, k)
    assert got.precision == case["float32"]["precision"]
    assert got.recall == case["float32"]["recall"]
    assert k != 3 or precision_recall(real, fake) == got
    for side, features in (("ref", real), ("sample", fake)):
        want = arrays[f"float32.radii_{side}"].reshape(1, -1)
        radii = torch.from_numpy(neighbour_distances(features, k)[:, -1])
        assert_scaled(radii[None], want, 1e-5, f"radii_{side}")
    members = membership(real, fake, k, k)
    for name, flags in (
        ("sample_in_ref", members.fake_in_real),
        ("ref_in_sample", members.real_in_fake),
    ):
        if f"float32.{name}" in arrays:
            assert_close(torch.from_numpy(flags), arrays[f"float32.{name}"], 0)
