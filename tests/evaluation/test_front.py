"""adm.evaluate -> the report that `adm evaluate` writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from answers import Adm

import adm as package
from adm.app.scoring import Comparison, Report
from adm.generation.job import Job

COMPARISON = Comparison(resamples=20)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A judge, samples of a model, and other samples to compare them with."""
    folder = tmp_path_factory.mktemp("front")
    judge = tiny.model(folder / "judge.safetensors", tiny.classifier("noised=false"), seed=1)
    model = package.load(tiny.model(folder / "d.safetensors", tiny.diffusion()), device="cpu")
    model.sample("all:8", seed=1).save(folder / "real")
    model.sample("all:8", seed=2).save(folder / "samples")
    return {"judge": judge, "model": folder / "d.safetensors", "folder": folder}


def scored(places: dict[str, Path], samples: Path | package.Samples | Job) -> Report:
    folder = places["folder"]
    return package.evaluate(samples, folder / "real", str(places["judge"]), COMPARISON)


@pytest.mark.parametrize("as_job", [True, False], ids=["job", "samples in memory"])
def test_samples_score_as_their_folder_does_and_nothing_is_written(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_job: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    model = package.load(places["model"], device="cpu")
    told = scored(places, (model.job if as_job else model.sample)("all:8", seed=2))
    of_folder = scored(places, places["folder"] / "samples")
    made, wanted = (report.manifest["generated"] for report in (told, of_folder))
    assert made["sha256"] == wanted["sha256"]  # of all images
    assert made["made"] == wanted["made"]
    assert made["made"]["sampling"]["seed"] == 2
    assert told.scores.keys() == of_folder.scores.keys()
    for key, score in of_folder.scores.items():
        # Arrays in another order of axes may go through other kernels, which round differently.
        assert told.scores[key].value == pytest.approx(score.value, rel=1e-4, abs=1e-5), key
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_samples_while_it_scores(
    places: dict[str, Path], tmp_path: Path, adm: Adm
) -> None:
    out = tmp_path / "report.json"
    words = ["evaluate", "--samples-of", places["model"], "--classes", "all:8", "--seed", 2]
    words += ["--reference", places["folder"] / "real", "--features", places["judge"]]
    words += ["--grid", "even:steps=4", "--set", "rounding=nearest"]  # as usual
    answer = adm.done(*words, "--resamples", 20, "--device", "cpu", "--out", out)
    assert "extracting features of samples by " in answer.err
    assert ": 24 of 24 images" in answer.err
    wanted = scored(places, places["folder"] / "samples").manifest["generated"]
    assert json.loads(out.read_text())["manifest"]["generated"]["sha256"] == wanted["sha256"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give SAMPLES or --samples-of, one of them; got neither"),
        (["--samples-of", "fashion"], "--samples-of needs a number of images; add --count"),
        (["{samples}", "--scale", "2"], "--scale is for a model to sample; add --samples-of"),
    ],
)
def test_what_cannot_be_sampled_and_scored_is_refused(
    places: dict[str, Path], adm: Adm, words: list[str], told: str
) -> None:
    samples = str(places["folder"] / "samples")
    given = [word.format(samples=samples) for word in words]
    assert told in adm("evaluate", *given, "--reference", samples).refusal()


def test_samples_and_a_job_are_references_too(places: dict[str, Path]) -> None:
    model, folder = package.load(places["model"], device="cpu"), places["folder"]
    wanted = scored(places, folder / "samples")
    for real in (model.sample("all:8", seed=1), model.job("all:8", seed=1)):
        told = package.evaluate(folder / "samples", real, str(places["judge"]), COMPARISON)
        images = told.manifest["reference"]
        assert images["sha256"] == wanted.manifest["reference"]["sha256"]
        assert images["labels"] == wanted.manifest["reference"]["labels"]
        for key, score in wanted.scores.items():
            assert told.scores[key].value == pytest.approx(score.value, rel=1e-4, abs=1e-5), key


def test_the_features_of_a_folder_of_images_are_extracted_once(
    places: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    adm: Adm,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in (places["folder"] / "real").glob("*_*.png"):
        (photos / file.name).write_bytes(file.read_bytes())

    samples, judge = places["folder"] / "samples", places["judge"]
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
    (kept,) = (tmp_path / "cache/adm/references").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    again, extracted = read()
    assert extracted
    assert again.to_json() == first.to_json()
    next(iter(photos.iterdir())).unlink()
    assert read()[1]
