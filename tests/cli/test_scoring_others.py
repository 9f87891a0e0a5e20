"""samples.npz, a reference in the released layout -> every score, by `adm evaluate` alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from answers import Adm
from features.random_weights import inception_state, noise
from samples import archive

from adm.features import inception
from adm.features.inception import inception_of

REAL, FAKE = 6, 5
SUITE = ("Inception Score", "FID", "sFID", "precision (inception)", "recall (inception)")


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of another generator's user, and Inception in torch's cache.

    Random weights have another hash than the published ones, which cannot be downloaded here.
    """
    pytest.importorskip("torch_fidelity")
    state, weights = inception_state(), tmp_path / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    torch.save(state, weights / inception.FILES[0])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(inception, "SHA256_BEGINS", "")
    real, fake = noise(REAL, 3, 16, 16, seed=1), noise(FAKE, 3, 16, 16, seed=2)
    activations = inception_of(state).extract(real)
    assert activations.spatial is not None
    pool, spatial = activations.pool.double().numpy(), activations.spatial.double().numpy()
    np.savez(  # without the package's own entries, as the released script writes it
        tmp_path / "VIRTUAL_imagenet16_labeled.npz",
        arr_0=real.permute(0, 2, 3, 1).numpy(),
        mu=pool.mean(axis=0).astype(np.float32),
        sigma=np.cov(pool, rowvar=False),
        mu_s=spatial.mean(axis=0).astype(np.float32),
        sigma_s=np.cov(spatial, rowvar=False),
    )
    archive(tmp_path / "samples.npz", fake, np.arange(FAKE) % 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_one_command_computes_all_scores(places: Path, adm: Adm) -> None:
    words = ("--reference", "VIRTUAL_imagenet16_labeled.npz", "--out", "report.json")
    answer = adm.done("evaluate", "samples.npz", *words, "--resamples", 2, "--device", "cpu")
    report = json.loads(Path("report.json").read_text())
    titles = {score["title"]: score["value"] for score in report["scores"].values()}
    assert set(SUITE) <= titles.keys()
    assert all(np.isfinite(value) for value in titles.values())
    assert all(title in answer.out for title in SUITE)
    generated = report["manifest"]["generated"]
    assert generated["balance"] == {"classes": 3, "fewest": 1, "most": 2}
    assert (generated["rounding"], generated["statistics"]) == (None, "of the images")
    assert report["manifest"]["features"]["name"] == "inception"
    assert report["manifest"]["reference"]["file"] == "VIRTUAL_imagenet16_labeled.npz"
