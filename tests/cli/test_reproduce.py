"""Row of a table, scores -> verdict; the whole path on a stand-in of the same form."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from answers import Adm

from adm.app.study.reproduce import ROWS, Verdict, conclusion, verdicts
from adm.metrics import Score
from adm.models.convert import export_state
from adm.networks import Classifier, HeadWidth, UNet, UNetConfig
from adm.recipes.released import PUBLIC, REFERENCES, RELEASED
from adm.samplers import Even, Sampling

POOL = """
import torch


def pool(images):
    grid = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), 3)
    return grid.flatten(1)
"""
# Samples of ADM-G, ADM-U at 256x256: scored by the released evaluator, and by a public port.
TENSORFLOW = {
    "inception_score": 215.84,
    "frechet": 3.94256,
    "spatial_frechet": 6.14043,
    "precision": 0.8265,
    "recall": 0.5309,
}
PORT = {
    "inception_score": 215.98,
    "frechet": 3.94103,
    "spatial_frechet": 6.14049,
    "precision": 0.8255,
    "recall": 0.5285,
}
ROW = ROWS["imagenet256-guided-upsampled"]


@pytest.mark.parametrize("scores", [TENSORFLOW, PORT])
def test_both_evaluators_of_the_published_pair_reproduce_the_row(scores: dict[str, float]) -> None:
    judgements = verdicts(ROW, {key: Score(value) for key, value in scores.items()})
    assert [each.outcome for each in judgements] == ["agrees"] * 5
    assert conclusion(judgements, []).startswith("Reproduced")


@pytest.mark.parametrize(
    ("key", "value", "outcome"),
    [
        ("frechet", 4.05, "worse"),
        ("frechet", 3.80, "better"),
        ("spatial_frechet", 6.40, "worse"),
        ("inception_score", 220.0, "better"),
        ("precision", 0.81, "worse"),
        ("recall", 0.55, "better"),
    ],
)
def test_a_score_that_is_off_says_in_which_direction(key: str, value: float, outcome: str) -> None:
    scores = {name: Score(each) for name, each in TENSORFLOW.items()} | {key: Score(value)}
    judgements = {each.key: each for each in verdicts(ROW, scores)}
    assert judgements[key].outcome == outcome
    assert sum(each.outcome == "agrees" for each in judgements.values()) == 4
    assert outcome in conclusion([*judgements.values()], [])


def test_an_interval_that_holds_the_published_value_agrees() -> None:
    assert Verdict("frechet", "3.94", Score(4.2, 3.9, 4.5)).outcome == "agrees"
    assert Verdict("frechet", "3.94", Score(4.2, 4.1, 4.5)).outcome == "worse"


def test_scores_of_another_model_are_not_comparable() -> None:
    judgements = verdicts(ROW, {key: Score(value) for key, value in TENSORFLOW.items()})
    assert conclusion(judgements, ["--model mine.pt"]) == (
        "Not comparable with the row: --model mine.pt."
    )


def test_every_row_names_released_files() -> None:
    for row in ROWS.values():
        assert row.model in PUBLIC
        assert row.upsampler is None or row.upsampler in PUBLIC
        assert row.reference in REFERENCES
        known = RELEASED[PUBLIC[row.model]]
        assert row.settings.get("scale", 0) == 0 or known.classifier is not None
        size = RELEASED[PUBLIC[row.upsampler]].size if row.upsampler else known.size
        assert str(size) in row.title or "LSUN" in row.title


def save_random(path: Path, config: object, legacy: bool) -> None:
    torch.manual_seed(0)
    network = UNet(config) if isinstance(config, UNetConfig) else Classifier(config)  # type: ignore[arg-type]
    random = {name: torch.randn_like(each) / 8 for name, each in network.state_dict().items()}
    torch.save(export_state(random, network.config, legacy), path)


@pytest.mark.slow
def test_a_stand_in_goes_the_whole_way_and_resumes(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("pool.py").write_text(POOL)
    for file, legacy in (("64x64_diffusion.pt", False), ("64x64_classifier.pt", True)):
        known = RELEASED[file]
        changes = {"channels": 32, "depth": 1, "heads": HeadWidth(32), "classes": 5}
        size = {} if isinstance(known.config, UNetConfig) else {"size": (16, 16)}
        narrow = replace(known.config, **changes, **size)
        sample = Sampling(grid=Even(steps=5))
        monkeypatch.setitem(RELEASED, file, replace(known, config=narrow, size=16, sample=sample))
        save_random(Path(file), narrow, legacy)
    real = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    np.savez("real.npz", arr_0=real)
    words = ("imagenet64", "--count", 12, "--model", "64x64_diffusion.pt", "--out", "out")
    other = ("--reference", "real.npz", "--features", "pool.py:pool", "--device", "cpu")
    answer = adm("reproduce", *words, *other, "--dry-run")
    assert re.search(r"12 images, 5 network evaluations each: about [\d.]+ hours", answer.out)
    assert not Path("out").exists()
    answer = adm.done("reproduce", *words, *other)
    report = json.loads(Path("out/report.json").read_text())
    assert "12 images in place of 50,000" in report["conclusion"]
    assert "--model 64x64_diffusion.pt" in report["conclusion"]
    fid = report["scores"][0]
    assert (fid["published"], fid["verdict"]) == (2.07, "worse")
    assert fid["difference"] == pytest.approx(fid["ours"]["value"] - 2.07)
    assert "Not comparable" in Path("out/page.html").read_text()
    before = Path("out/report.json").read_bytes()
    adm.done("reproduce", *words, *other)
    assert Path("out/report.json").read_bytes() == before
    assert len(list(Path("out/samples").glob("*.png"))) == 13


def test_a_row_that_does_not_exist_is_answered_with_those_that_do(adm: Adm) -> None:
    assert "imagenet256-guided, " in adm("reproduce", "imagenet-256", "--dry-run").refusal()
    assert "--out must be given" in adm("reproduce", "imagenet64").refusal()
    listed = adm("reproduce").out.splitlines()
    assert len(listed) == len(ROWS)
    assert listed[0].split()[0] == "imagenet64"
