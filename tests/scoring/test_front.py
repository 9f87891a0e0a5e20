"""adm.evaluate -> the report that `adm evaluate` writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from answers import Adm

import adm as package
from adm.generation.job import Job
from adm.scoring import Comparison, Report

COMPARISON = Comparison(resamples=20)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A judge, samples of a model, and other samples to compare them with."""
    folder = tmp_path_factory.mktemp("front")
    judge = tiny.model(folder / "judge.safetensors", tiny.classifier("noised=false"), seed=1)
    model = package.load(tiny.model(folder / "d.safetensors", tiny.diffusion()), device="cpu")
    model.sample("all:8", seed=1).save(folder / "real")
    model.sample("all:8", seed=2).save(folder / "samples")
    return {"judge": judge, "model": folder / "d.safetensors", "folder": folder}


def evaluate(paths: dict[str, Path], samples: Path | package.Samples | Job) -> Report:
    folder = paths["folder"]
    return package.evaluate(samples, folder / "real", str(paths["judge"]), COMPARISON)


@pytest.mark.parametrize("as_job", [True, False], ids=["job", "samples in memory"])
def test_samples_score_as_their_folder_does_and_nothing_is_written(
    paths: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_job: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    model = package.load(paths["model"], device="cpu")
    report = evaluate(paths, (model.job if as_job else model.sample)("all:8", seed=2))
    folder_report = evaluate(paths, paths["folder"] / "samples")
    actual, expected = (each.manifest["generated"] for each in (report, folder_report))
    assert actual["sha256"] == expected["sha256"]  # of all images
    assert actual["made"] == expected["made"]
    assert actual["made"]["sampling"]["seed"] == 2
    assert report.scores.keys() == folder_report.scores.keys()
    for key, score in folder_report.scores.items():
        # Arrays in another order of axes may go through other kernels, which round differently.
        assert report.scores[key].value == pytest.approx(score.value, rel=1e-4, abs=1e-5), key
    assert list(tmp_path.iterdir()) == []


def test_samples_and_a_job_are_references_too(paths: dict[str, Path]) -> None:
    model, folder = package.load(paths["model"], device="cpu"), paths["folder"]
    expected = evaluate(paths, folder / "samples")
    for real in (model.sample("all:8", seed=1), model.job("all:8", seed=1)):
        report = package.evaluate(folder / "samples", real, str(paths["judge"]), COMPARISON)
        images = report.manifest["reference"]
        assert images["sha256"] == expected.manifest["reference"]["sha256"]
        assert images["labels"] == expected.manifest["reference"]["labels"]
        for key, score in expected.scores.items():
            assert report.scores[key].value == pytest.approx(score.value, rel=1e-4, abs=1e-5), key


def test_the_features_of_a_folder_of_images_are_extracted_once(
    paths: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    adm: Adm,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in (paths["folder"] / "real").glob("*_*.png"):
        (photos / file.name).write_bytes(file.read_bytes())

    samples, judge = paths["folder"] / "samples", paths["judge"]
    grey = replace(COMPARISON, channels=1)

    def read() -> tuple[Report, bool]:
        report = package.evaluate(samples, photos, str(judge), grey)
        return report, "features of photos" in capsys.readouterr().err

    first, extracted = read()
    assert extracted
    again, extracted = read()
    assert not extracted
    assert again.to_json() == first.to_json()
    words = ["evaluate", samples, "--reference", photos, "--features", judge, "--channels", 1]
    words += ["--resamples", 20, "--device", "cpu"]
    answer = adm.done(*words, "--out", tmp_path / "report.json")
    assert "features of photos" not in answer.err
    assert json.loads((tmp_path / "report.json").read_text()) == first.to_json()
    (cached,) = (tmp_path / "cache/adm/references").iterdir()
    cached.write_bytes(cached.read_bytes()[:-100])
    again, extracted = read()
    assert extracted
    assert again.to_json() == first.to_json()
    next(iter(photos.iterdir())).unlink()
    assert read()[1]
