"""the same features -> our numbers and published packages', side by side."""

import numpy as np
import pytest
import torch

from adm.metrics import (
    frechet_distance,
    inception_score,
    kernel_distance_of_all,
    membership,
    precision_recall,
    statistics,
)

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(size=(500, 48)).astype(np.float32)
FAKE = RANDOM.normal(0.2, 0.9, size=(400, 48)).astype(np.float32)
NO_FIDELITY = "torch-fidelity is not installed: pip install torch-fidelity"
NO_PRDC = "prdc is not installed: pip install prdc"


def compare(name: str, ours: float, theirs: float, relative: float) -> None:
    print(f"{name}: ours {ours:.10g}, theirs {theirs:.10g}, apart {ours - theirs:+.1e}")
    assert ours == pytest.approx(theirs, rel=relative)


@pytest.mark.parametrize("images", [400, 30])
def test_frechet_distance_is_torch_fidelity_s(images: int) -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid", reason=NO_FIDELITY)
    fake = FAKE[:images]
    sides = (fid.fid_features_to_statistics(torch.from_numpy(each)) for each in (fake, REAL))
    theirs = fid.fid_statistics_to_metric(*sides, verbose=False)
    ours = frechet_distance(statistics(REAL), statistics(fake))
    compare("Fréchet distance", ours, next(iter(theirs.values())), 1e-5)


def test_inception_score_is_torch_fidelity_s() -> None:
    isc = pytest.importorskip("torch_fidelity.metric_isc", reason=NO_FIDELITY)
    logits = torch.from_numpy(RANDOM.normal(0, 3, size=(400, 20)))
    theirs = isc.isc_features_to_metric(logits, splits=4, shuffle=False)
    ours = inception_score(logits.softmax(dim=1).numpy(), split_size=100)
    compare("Inception Score", ours, next(iter(theirs.values())), 1e-9)


def test_kernel_distance_is_torch_fidelity_s() -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid", reason=NO_FIDELITY)
    # Subsets of all images are the same whatever the order they were drawn in.
    sides = (torch.from_numpy(each[:400]) for each in (FAKE, REAL))
    theirs = kid.kid_features_to_metric(
        *sides, kid_subsets=2, kid_subset_size=400, verbose=False, rng_seed=0
    )
    ours = kernel_distance_of_all(REAL[:400], FAKE[:400])
    compare("KID", ours, theirs["kernel_inception_distance_mean"], 1e-5)


def test_precision_and_recall_are_torch_fidelity_s() -> None:
    prc = pytest.importorskip("torch_fidelity.metric_prc", reason=NO_FIDELITY)
    theirs = prc.prc_features_to_metric(
        torch.from_numpy(FAKE), torch.from_numpy(REAL), prc_neighborhood=3, verbose=False
    )
    ours = precision_recall(REAL, FAKE)
    compare("precision", ours.precision, theirs["precision"], 1e-6)
    compare("recall", ours.recall, theirs["recall"], 1e-6)


@pytest.mark.parametrize("neighbours", [3, 5])
def test_all_four_are_prdc_s(neighbours: int) -> None:
    prdc = pytest.importorskip("prdc", reason=NO_PRDC)
    theirs = prdc.compute_prdc(REAL, FAKE, neighbours)
    members = membership(REAL, FAKE, neighbours, neighbours)
    compare("precision", float(members.fake_in_real.mean()), theirs["precision"], 1e-12)
    compare("recall", float(members.real_in_fake.mean()), theirs["recall"], 1e-12)
    compare("density", float(members.balls.mean()) / neighbours, theirs["density"], 1e-12)
    compare("coverage", float(members.covered.mean()), theirs["coverage"], 1e-12)
