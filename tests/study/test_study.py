"""A model, axes of settings -> points from the same noise, scored once, by one process or many."""

import csv
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from samples import contents, never
from scoring.stubs import blocks, spots, together

from adm.app.study import run as run_module
from adm.app.study import scoring as scoring_module
from adm.app.study import timing
from adm.app.study.page import title_of, write
from adm.app.study.run import Result, run, sample_point, unbeaten
from adm.app.study.scoring import Scorer, Scoring, locked_study, reference_of_study
from adm.app.study.study import Axis, Point, Study, Value, axis, balanced_labels
from adm.features import Extracted
from adm.features.contract import make_features
from adm.generation import blocks as blocks_module
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import images_of
from adm.generation.pipeline import Pipeline, load
from adm.images import to_float
from adm.models.load import load_classifier
from adm.processes import Devices
from adm.progress import displayed, silent
from adm.scoring import make_reference
from adm.store.locks import InUse

COUNT = 12
ALONE = Devices(torch.device("cpu"))


@pytest.fixture(scope="module")
def pipeline(files: Path) -> Pipeline:
    return load(files / "model.safetensors", files / "guide.safetensors", device="cpu")


@pytest.fixture(scope="module")
def study(pipeline: Pipeline) -> Callable[..., Study]:
    def make(*axes: str, model: Pipeline = pipeline, **base: Any) -> Study:
        chosen = tuple(map(axis, axes or ("scale=0,1,4",)))
        shared = {"sampler": "ddim", "steps": 3} | base
        return Study("tiny", model, chosen, balanced_labels(range(3), COUNT), COUNT, shared)

    return make


@pytest.fixture(scope="module")
def scoring(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Scoring:
    real = tmp_path_factory.mktemp("reference")
    scorers = [
        Scorer(each, reference_of_study(spots(40), each, real))
        for each in (blocks(), blocks("others"))
    ]
    judge = load_classifier(files / "judge.safetensors")
    return Scoring(scorers, judge, balanced_labels(range(3), COUNT))


def run_alone(study: Study, scoring: Scoring, out: Path) -> Result:
    return run(study, scoring, out, devices=ALONE, batch_size=5)


@pytest.fixture(scope="module")
def done(
    study: Callable[..., Study], scoring: Scoring, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Result, Path]:
    out = tmp_path_factory.mktemp("sweep")
    result = run_alone(study(), scoring, out)
    write(result, out)
    return result, out


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("scale=4,1,2", "scale", (1, 2, 4)),
        ("sampler=unipc:order=3,ddim", "sampler", ("unipc:order=3", "ddim")),
        ("grid=levels:3,5,9", "grid", ("levels:3,5,9",)),
        ("grid=levels:3,40,even:steps=2", "grid", ("levels:3,40", "even:steps=2")),
        ("guide=none,free:scale=2,interval=3-9", "guide", ("none", "free:scale=2,interval=3-9")),
        ("clip_again=none,1", "clip_again", ("none", 1)),
    ],
)
def test_an_axis_is_a_name_and_values(text: str, name: str, values: tuple[Value, ...]) -> None:
    assert axis(text) == Axis(name, values)


@pytest.mark.parametrize("text", ["scale", "scale=1,,2", "scale=1,1.0"])
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be of the form|give one or more different"):
        axis(text)


def test_every_combination_is_a_point_with_a_folder_of_its_own(
    study: Callable[..., Study],
) -> None:
    full = study("sampler=ddim,unipc:order=3", "steps=3,5", "scale=0,0.12345671,0.12345672")
    assert len({point.name for point in full.points}) == 2 * 2 * 3
    assert [point.settings["steps"] for point in full.points[:4]] == [3, 3, 3, 5]
    assert all(name.isascii() and "/" not in name for name in (p.name for p in full.points))
    long = [Point((("grid", "levels:" + "1," * 100 + end),)) for end in "23"]
    assert len({point.name for point in long}) == 2
    assert all(len(point.name) <= 100 for point in long)


def test_labels_take_turns() -> None:
    labels = balanced_labels([4, 7, 9], 11)
    assert labels[:4] == [4, 7, 9, 4]
    assert sorted(Counter(labels).values()) == [3, 4, 4]
    with pytest.raises(ValueError, match="count must be a whole number from 1 to 10,000,000"):
        balanced_labels([0, 1], 10**12)


def test_a_point_s_images_are_those_that_its_settings_give(
    pipeline: Pipeline, study: Callable[..., Study], done: tuple[Result, Path]
) -> None:
    for point in study().points:
        scale = point.settings["scale"]
        generator = pipeline.generator(sampler="ddim", steps=3, scale=scale)
        images = generator.images(torch.tensor(balanced_labels(range(3), COUNT)), range(COUNT))
        assert torch.equal(images_of(done[1] / "samples" / f"scale-{scale}"), images)


def test_unconditional_points_have_no_labels(
    study: Callable[..., Study],
) -> None:
    plain = study(use_labels=False)
    assert [plain.job(p).labels is None for p in plain.points] == [True, False, False]
    assert all(study().job(p).labels is not None for p in study().points)


def test_the_same_call_makes_nothing_again(
    study: Callable[..., Study],
    scoring: Scoring,
    done: tuple[Result, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, out = done
    before, opened = contents(out), list[tuple[str, float, str, float]]()
    monkeypatch.setattr(run_module, "sample_into", never)
    monkeypatch.setattr(scoring_module, "evaluate", never)
    monkeypatch.setattr(scoring_module, "accuracy", never)

    def display(*work: Any) -> Any:
        opened.append(work)
        return silent(*work)

    with displayed(display):
        again = run_alone(study(), scoring, out)
    write(again, out)
    assert contents(out) == before
    assert again.to_json() == result.to_json()
    (_, total, _, sampled), (_, points, _, _) = opened
    assert (sampled, points) == (total, 3)


def test_an_interrupted_sweep_ends_as_one_that_was_not(
    study: Callable[..., Study],
    scoring: Scoring,
    done: tuple[Result, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0
    real = DiffusionGenerator.images

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # in the second point
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(DiffusionGenerator, "images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_alone(study(), scoring, tmp_path)
    monkeypatch.setattr(DiffusionGenerator, "images", real)
    write(run_alone(study(), scoring, tmp_path), tmp_path)
    assert contents(tmp_path) == contents(done[1])


@pytest.mark.parametrize("key", ["of the samples", "of the features"])
def test_scores_of_other_samples_or_features_are_not_reused(
    study: Callable[..., Study], scoring: Scoring, tmp_path: Path, key: str
) -> None:
    few, only = study("scale=0,4"), Scoring(scoring.scorers[:1])
    first = run_alone(few, only, tmp_path / "one")
    if key == "of the samples":
        few = study("scale=0,4", seed=1)
        (tmp_path / "one" / "samples").rename(tmp_path / "gone")
    else:
        features = blocks()
        object.__setattr__(features, "fingerprint", "another")
        real = reference_of_study(spots(40), features, tmp_path / "real")
        only = Scoring([Scorer(features, real)])
    second = run_alone(few, only, tmp_path / "one")
    fresh = run_alone(few, only, tmp_path / "two")
    assert second.to_json() == fresh.to_json()
    assert second.to_json() != first.to_json()


def test_processes_share_the_points_and_the_images_of_each(
    study: Callable[..., Study],
    scoring: Scoring,
    done: tuple[Result, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = study()
    monkeypatch.setattr(blocks_module, "CPU_PIXELS", 4 * 8 * 8)  # three blocks of the 12 images
    counts, real = Counter[int](), DiffusionGenerator.images

    def counted(self: DiffusionGenerator, labels: Any, span: range, *rest: Any) -> torch.Tensor:
        counts[threading.get_ident()] += len(span)
        return real(self, labels, span, *rest)

    def act(devices: Devices) -> Result:
        return run(full, scoring, tmp_path, devices=devices, batch_size=5)

    monkeypatch.setattr(DiffusionGenerator, "images", counted)
    first, second = together(2, act)
    assert first.to_json() == second.to_json() == done[0].to_json()
    assert sorted(counts.values()) == [4 * 3, 8 * 3]


def test_the_report_has_every_score_with_its_settings_features_and_cost(
    scoring: Scoring, done: tuple[Result, Path]
) -> None:
    result, out = done
    assert (out / "report.html").read_text("utf-8").count("<img") == 2 + 3 * 3
    table = list(csv.DictReader((out / "report.csv").open(encoding="utf-8")))
    assert [row["scale"] for row in table] == ["0", "1", "4"]
    report = json.loads((out / "report.json").read_text())
    assert [point["settings"] for point in report["points"]] == [{"scale": s} for s in (0, 1, 4)]
    assert [point["sampling"]["sampler"] for point in report["points"]] == ["ddim"] * 3
    calls = [tuple(point["calls_per_image"].values()) for point in report["points"]]
    assert calls == [(3, 0), (3, 3), (3, 3)]
    names = report["points"][0]["scores"].keys()
    assert {"precision (blocks)", "Fréchet distance (others)"} <= names
    assert "judge accuracy (digits-classifier)" in names
    assert report["manifest"]["classifier"]["sha256"]
    assert [point["seconds_per_image"] for point in report["points"]] == [0.0] * 3
    assert (
        float(table[1]["precision (blocks)"]) == result.points[1].scores["precision (blocks)"].value
    )
    judge = scoring.judge
    assert judge is not None
    images = to_float(images_of(out / "samples" / "scale-4"))
    right = judge.classify(images).argmax(1) == torch.tensor(scoring.labels)
    assert result.networks[-1].scores[2]["judge accuracy"].value == right.float().mean()


def test_points_without_an_order_are_columns_and_need_no_figure(
    study: Callable[..., Study], scoring: Scoring, tmp_path: Path
) -> None:
    only = Scoring(scoring.scorers[:1])
    for axes, title, columns in (
        (("sampler=ddim,unipc",), "tiny: scores by sampler", "<th>sampler ddim</th>"),
        (("scale=1",), "tiny: scores", "<h2>Numbers</h2>"),
    ):
        few = study(*axes, sampler=None)
        result = run_alone(few, only, tmp_path / axes[0])
        assert title_of(result) == title
        write(result, tmp_path / axes[0])
        assert columns in (tmp_path / axes[0] / "report.html").read_text("utf-8")


def test_what_cannot_be_scored_is_refused_before_sampling(
    files: Path, study: Callable[..., Study], scoring: Scoring, tmp_path: Path
) -> None:
    def extract(images: torch.Tensor) -> Extracted:
        if images.shape[1] != 3:
            raise ValueError("give images of 3 channels")
        return Extracted(images.float().mean((2, 3)))

    larger = tiny.classifier("noised=false", "data.size=16,16", "classifier.size=16,16")
    judge = load_classifier(tiny.model(files / "other.safetensors", larger))
    features, colour = blocks(), make_features("colour", 3, extract, "1", "cpu")
    small = make_reference(spots(40, size=12), features)
    rgb = make_reference(spots(40, channels=3), colour)
    for chosen, cure in (
        (Scoring([Scorer(features, small)]), "reference of 12x12"),
        (Scoring([Scorer(colour, rgb)]), "give images of 3 channels"),
        (Scoring(scoring.scorers, judge, scoring.labels), "the model makes 1x8x8"),
    ):
        with pytest.raises(ValueError, match=cure):
            run(study(), chosen, tmp_path, devices=ALONE)
        assert not list(tmp_path.iterdir())


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    out, other = locked_study(tmp_path / "out", ALONE), locked_study(tmp_path / "out", ALONE)
    with out, pytest.raises(InUse):
        other.__enter__()
    assert not (tmp_path / "out").exists()


def test_a_sweep_from_the_strongest_scale_on_still_names_its_classifier(
    study: Callable[..., Study], scoring: Scoring, tmp_path: Path
) -> None:
    of_labels = study("scale=0,4", "use_labels=true", "seed=1")
    backwards = replace(of_labels, axes=(Axis("scale", (4, 0)), *of_labels.axes[1:]))
    for each in (of_labels, backwards):
        manifest = run_alone(each, Scoring(scoring.scorers[:1]), tmp_path).manifest
        assert manifest["classifier"]["sha256"]


def test_a_sweep_without_guidance_has_no_classifier(
    study: Callable[..., Study], scoring: Scoring, tmp_path: Path
) -> None:
    result = run_alone(study("scale=0", "steps=2,3"), Scoring(scoring.scorers[:1]), tmp_path)
    write(result, tmp_path)
    assert "classifier" not in result.manifest


def test_only_what_is_slower_and_no_better_than_another_is_beaten() -> None:
    points = [(1.0, 9.0), (2.0, 5.0), (2.0, 6.0), (3.0, 5.0), (4.0, 1.0), (1.0, 9.0)]
    assert unbeaten(points) == [True, True, False, False, True, True]


def test_the_seconds_are_of_the_fastest_block_and_are_kept(
    study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times of three blocks are 8, 1 and 4 seconds."""
    few = study("scale=0")
    (point,) = few.points
    ends = iter([0, 8, 8, 9, 9, 13])
    monkeypatch.setattr(timing, "clock", lambda: next(ends))
    monkeypatch.setattr(blocks_module, "LARGEST", 4)
    assert sample_point(few, point, tmp_path, ALONE).seconds == 1 / 4
    assert sample_point(few, point, tmp_path, ALONE).seconds == 1 / 4
    monkeypatch.setattr(run_module, "machine_of", lambda device: "another")
    assert sample_point(few, point, tmp_path, ALONE).machine != "another"
    (tmp_path / "points" / "scale-0.seconds.json").unlink()
    ends = iter([0, 2])  # one block is sampled again for it
    assert sample_point(few, point, tmp_path, ALONE) == timing.Timing(2 / 4, "another")
