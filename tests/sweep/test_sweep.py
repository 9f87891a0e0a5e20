"""models, scales -> every point from the same noise, scored once, whoever does it and when."""

import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from evaluation.stubs import blocks, spots, together

from adm.app.scoring import load_reference, make_reference
from adm.app.study import plan as plan_module
from adm.app.study import run as run_module
from adm.app.study import scoring as scoring_module
from adm.app.study.page import columns, shown, title_of, write
from adm.app.study.plan import Point, Sweep, balanced, sample_point
from adm.app.study.run import SweepResult, alone, evaluations, run, share
from adm.app.study.scoring import Scorer, Scoring, cached_reference
from adm.app.study.summary import as_json, markdown, tables, ways
from adm.cached import Cached
from adm.features import Extracted
from adm.features.contract import guarded
from adm.generation import blocks as blocks_module
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import images_of
from adm.generation.generate import generate
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.processes import Devices
from adm.samplers import DDIM, Sampling
from adm.samplers.words import changed
from adm.store.hashes import SUMS
from adm.store.locks import InUse

COUNT = 12
COLOUR = ("data.channels=3", "classifier.in_channels=3")
LARGER = ("data.size=16,16", "classifier.size=16,16")
ALONE = Devices(torch.device("cpu"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "unlabelled.safetensors", tiny.diffusion("unet.classes=null"))
    tiny.model(folder / "guide.safetensors", tiny.classifier())
    tiny.model(folder / "judge.safetensors", tiny.classifier("noised=false"), seed=1)
    return folder


@pytest.fixture(scope="module")
def model(files: Path) -> DiffusionModel:
    return load_diffusion(files / "model.safetensors")


@pytest.fixture(scope="module")
def guide(files: Path) -> ClassifierModel:
    return load_classifier(files / "guide.safetensors")


@pytest.fixture(scope="module")
def plan(model: DiffusionModel, guide: ClassifierModel) -> Callable[..., Sweep]:
    def make(**changes: Any) -> Sweep:
        parts: dict[str, Any] = {
            "model": model,
            "classifier": guide,
            "base": Sampling(sampler=DDIM()),
            "labels": balanced(range(3), COUNT),
            "count": COUNT,
            "samplers": ("ddim",),
            "steps": (3,),
            "scales": (0.0, 1.0, 4.0),
        }
        return Sweep(**(parts | changes))

    return make


@pytest.fixture(scope="module")
def scoring(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Scoring:
    real = tmp_path_factory.mktemp("reference")
    scorers = [
        Scorer(each, cached_reference(spots(40), each, real))
        for each in (blocks(), blocks("others"))
    ]
    judge = load_classifier(files / "judge.safetensors")
    return Scoring(scorers, judge, balanced(range(3), COUNT))


def ran(sweep: Sweep, scoring: Scoring, out: Path) -> SweepResult:
    result = run(sweep, scoring, out, devices=ALONE, batch_size=5)
    assert result is not None
    return result


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def done(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SweepResult, Path]:
    out = tmp_path_factory.mktemp("sweep")
    result = ran(plan(), scoring, out)
    write(result, out)
    return result, out


def test_every_combination_is_a_point(plan: Callable[..., Sweep]) -> None:
    sweep = plan(samplers=("ddim", "ancestral"), steps=(3, 5))
    assert len({point.name for point in sweep.points}) == 2 * 2 * 3
    assert [(p.steps, p.scale) for p in sweep.points[:4]] == [(3, 0), (3, 1), (3, 4), (5, 0)]
    assert list(ways(sweep)) == [f"{s}, {n} steps" for s in sweep.samplers for n in (3, 5)]
    along = ways(sweep, "steps")["ancestral, scale 4"]
    assert along == [Point("ancestral", 3, 4.0), Point("ancestral", 5, 4.0)]


def test_labels_take_turns() -> None:
    labels = balanced([4, 7, 9], 11)
    counts = [labels.count(label) for label in (4, 7, 9)]
    assert sum(counts) == 11
    assert max(counts) - min(counts) == 1
    assert labels[:4] == [4, 7, 9, 4]


def test_a_point_that_is_there_tells_as_many_steps_as_one_that_is_sampled(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    sweep, told = plan(scales=(0.0,)), list[int]()
    for times in (1, 2):
        sample_point(sweep, sweep.points[0], tmp_path, on_step=told.append)
        assert sum(told) == times * sweep.job(sweep.points[0]).evaluations


def test_a_point_s_images_are_those_that_sampling_gives(
    plan: Callable[..., Sweep], done: tuple[SweepResult, Path]
) -> None:
    sweep = plan()
    for point in sweep.points:
        sampling = changed(Sampling(sampler=DDIM()), steps=3, scale=point.scale)
        generator = DiffusionGenerator(sweep.model, sampling, sweep.classifier)
        (images,) = generate(generator, torch.tensor(sweep.labels), range(COUNT))
        assert torch.equal(images_of(done[1] / "samples" / point.name), images)


def test_the_same_noise_stands_behind_every_scale(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    sweep = plan(scales=(0.0, 1e-6, 4.0))
    plain, nearly, far = (images_of(sample_point(sweep, p, tmp_path)).int() for p in sweep.points)
    assert (plain - nearly).abs().max() <= 1
    assert (plain - far).abs().max() > 1


def test_the_eta_of_ddim_is_not_ancestral_sampling_s(plan: Callable[..., Sweep]) -> None:
    sweep = plan(samplers=("ddim", "ancestral"), base=Sampling(sampler=DDIM(eta=0.5)))
    sweep.check()
    used = {
        p.sampler: sweep.job(p).generator.manifest()["sampling"]["sampler"] for p in sweep.points
    }
    assert used["ddim"]["eta"] == 0.5
    assert used["ancestral"] == {"name": "ancestral", "at_mean": False}


def test_nobody_calls_images_by_a_class_that_nothing_steered_to(
    plan: Callable[..., Sweep],
) -> None:
    sweep = plan(base=Sampling(sampler=DDIM(), use_labels=False))
    assert [sweep.job(p).labels is None for p in sweep.points] == [True, False, False]
    assert all(plan().job(p).labels is not None for p in plan().points)


def test_the_same_call_makes_nothing_again(
    plan: Callable[..., Sweep],
    scoring: Scoring,
    done: tuple[SweepResult, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("it was there already")

    result, out = done
    before = contents(out)
    monkeypatch.setattr(plan_module, "sample_into", never)
    monkeypatch.setattr(scoring_module, "evaluate", never)
    monkeypatch.setattr(scoring_module, "accuracy", never)
    again = ran(plan(), scoring, out)
    write(again, out)
    assert contents(out) == before
    assert as_json(again) == as_json(result)


def test_another_scale_costs_its_own_point_only(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = plan_module.sample_into

    def noted(out: Path, *args: Any, **kwargs: Any) -> torch.Tensor:
        made.append(out.name)
        return real(out, *args, **kwargs)

    monkeypatch.setattr(plan_module, "sample_into", noted)
    ran(plan(scales=(0.0, 4.0)), scoring, tmp_path)
    ran(plan(), scoring, tmp_path)
    assert made == ["ddim-3-scale0", "ddim-3-scale4", "ddim-3-scale1"]


def test_an_interrupted_sweep_ends_as_one_that_was_not(
    plan: Callable[..., Sweep],
    scoring: Scoring,
    done: tuple[SweepResult, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:  # in the second point
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    real = DiffusionGenerator.images
    monkeypatch.setattr(DiffusionGenerator, "images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ran(plan(), scoring, tmp_path)
    monkeypatch.setattr(DiffusionGenerator, "images", real)
    write(ran(plan(), scoring, tmp_path), tmp_path)
    assert contents(tmp_path) == contents(done[1])


@pytest.mark.parametrize("key", ["of the samples", "of the reference", "of the features"])
def test_scores_of_something_else_are_not_taken_for_these(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path, key: str
) -> None:
    sweep = plan(scales=(0.0, 4.0))
    alone = Scoring(scoring.scorers[:1])
    first = ran(sweep, alone, tmp_path / "one")
    if key == "of the samples":
        sweep = plan(scales=(0.0, 4.0), base=Sampling(sampler=DDIM(), seed=1))
        samples = tmp_path / "one" / "samples"
        samples.rename(tmp_path / "gone")
    else:
        features, source = blocks(), spots(40, seed=3)
        if key == "of the features":
            source = spots(40)
            object.__setattr__(features, "fingerprint", "another")
        made = cached_reference(source, features, tmp_path / "real")
        alone = Scoring([Scorer(features, made)])
    second = ran(sweep, alone, tmp_path / "one")
    fresh = ran(sweep, alone, tmp_path / "two")
    assert as_json(second) == as_json(fresh)
    assert as_json(second) != as_json(first)


def test_processes_that_share_the_points_find_what_one_finds(
    plan: Callable[..., Sweep], scoring: Scoring, done: tuple[SweepResult, Path], tmp_path: Path
) -> None:
    sweep = plan()
    shares = [share(sweep, Devices(torch.device("cpu"), rank, 2)) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(sweep.points)

    def act(devices: Devices) -> SweepResult | None:
        return run(sweep, scoring, tmp_path, devices=devices, batch_size=5)

    first, second = together(2, act)
    assert second is None
    assert as_json(first) == as_json(done[0])


def test_processes_share_the_images_of_a_single_point(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "CPU_PIXELS", 4 * 8 * 8)  # three blocks of the 12 images
    sweep, real = plan(scales=(1.0,)), DiffusionGenerator.images
    one = ran(sweep, scoring, tmp_path / "one")
    made, told = Counter[int](), Counter[int]()

    def noted(self: DiffusionGenerator, labels: Any, span: range, *rest: Any) -> torch.Tensor:
        made[threading.get_ident()] += len(span)
        return real(self, labels, span, *rest)

    def act(devices: Devices) -> SweepResult | None:
        def add(amount: int, name: str) -> None:
            told[devices.rank] += amount

        out = tmp_path / "two"
        return run(sweep, scoring, out, devices=devices, batch_size=5, on_evaluations=add)

    monkeypatch.setattr(DiffusionGenerator, "images", noted)
    first, second = together(2, act)
    assert second is None
    assert as_json(first) == as_json(one)
    assert sorted(made.values()) == [4, 8]
    ranks = [Devices(torch.device("cpu"), rank, 2) for rank in range(2)]
    assert [told[each.rank] for each in ranks] == [evaluations(sweep, scoring, r) for r in ranks]


def test_a_failure_of_one_process_is_everyone_s(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scoring: Scoring, point: Point, *rest: Any) -> None:
        if point.scale == 1:
            raise ValueError("disk on fire")

    monkeypatch.setattr(run_module, "sample_point", lambda *args: None)
    monkeypatch.setattr(run_module, "_score", broken)
    both = together(2, lambda devices: run(plan(), scoring, tmp_path, devices=devices))
    assert [str(each) for each in both] == ["disk on fire"] * 2


def test_the_page_needs_nothing_beside_it(done: tuple[SweepResult, Path]) -> None:
    text = (done[1] / "report.html").read_text("utf-8")
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text) + re.findall(r"url\(", text)
    assert len(links) == 2 + 3 * 3  # figures, and a picture for each class and scale
    assert all(link.startswith("data:image/png;base64,") for link in links)
    for outside in ("<script", "@import", "http:", "https:"):
        assert outside not in text


def test_every_number_carries_its_features(done: tuple[SweepResult, Path]) -> None:
    result, out = done
    page, text = (out / "report.html").read_text("utf-8"), markdown(result, "title")
    for table in tables(result):
        assert not any(table.network in heading for heading in table.headings)
        assert f"By {table.network}<" in page
        assert f"## By {table.network}\n" in text
    assert "FID" not in text
    told = json.loads((out / "report.json").read_text())
    assert [point["scale"] for point in told["points"]] == [0, 1, 4]
    calls = [tuple(point["calls_per_image"].values()) for point in told["points"]]
    steps = calls[0][0]
    assert calls == [(steps, 0), (steps, steps), (steps, steps)]
    for table in tables(result):
        columns = [table.headings.index(f"{of} calls") for of in ("network", "classifier")]
        found = [tuple(int(row[column].value) for column in columns) for row in table.rows]
        assert found == calls
    names = told["points"][0]["scores"].keys()
    assert {"precision (blocks)", "Fréchet distance (others)"} <= names
    assert {"judge accuracy (digits-classifier)"} <= names


def test_the_scores_are_those_of_the_kept_samples(
    plan: Callable[..., Sweep], scoring: Scoring, done: tuple[SweepResult, Path]
) -> None:
    from adm.app.scoring import evaluate, open_images

    result, out = done
    for i, point in enumerate(plan().points):
        opened = open_images(str(out / "samples" / point.name))
        scorer = scoring.scorers[0]
        report = evaluate(opened, scorer.reference, scorer.features)
        kept = result.networks[0].scores[i]
        assert kept.keys() == report.scores.keys()
        for key, score in report.scores.items():
            assert kept[key] == pytest.approx(score, rel=1e-5, nan_ok=True), key


def test_the_judge_counts_images_named_as_meant(
    scoring: Scoring, done: tuple[SweepResult, Path]
) -> None:
    from adm.images import to_float

    result, out = done
    judge = scoring.judge
    assert judge is not None
    images = to_float(images_of(out / "samples" / "ddim-3-scale4"))
    right = judge.classify(images).argmax(1) == torch.tensor(scoring.labels)
    told = result.networks[-1].scores[2]["judge accuracy"]
    assert told.value == pytest.approx(float(right.float().mean()))


def test_a_model_without_classes_is_shown_by_number(files: Path) -> None:
    loaded = load_diffusion(files / "unlabelled.safetensors")
    sweep = Sweep(loaded, None, Sampling(sampler=DDIM()), None, 10, ("ddim",), (3,), (0.0,))
    sweep.check()
    assert shown(sweep) == {"0 to 3": [0, 1, 2, 3], "4 to 7": [4, 5, 6, 7]}


def test_images_that_nothing_steered_to_a_class_are_shown_by_number(
    plan: Callable[..., Sweep],
) -> None:
    plain = Sampling(sampler=DDIM(), use_labels=False)
    assert list(shown(plan(base=plain, scales=(0.0,), classifier=None))) == [
        "0 to 3",
        "4 to 7",
        "8 to 11",
    ]
    assert list(shown(plan(base=plain))) == list(plan().classes)
    assert list(shown(plan(scales=(0.0,), classifier=None))) == list(plan().classes)


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"scales": (1.0, 1.0)}, "scales must be one or more different values"),
        ({"steps": ()}, "steps must be one or more different values"),
        ({"count": 1}, "count must be at least 2"),
        ({"samplers": ("dimm",)}, "did you mean ddim?"),
        ({"steps": (3, 99)}, "steps must be in 2..20"),
        ({"classifier": None}, "needs a classifier"),
    ],
)
def test_what_cannot_be_sampled_is_refused_at_once(
    plan: Callable[..., Sweep], changes: dict[str, Any], cure: str
) -> None:
    with pytest.raises(ValueError, match=cure):
        plan(**changes).check()


def test_samples_of_another_sweep_are_not_taken(plan: Callable[..., Sweep], tmp_path: Path) -> None:
    sample_point(plan(), plan().points[0], tmp_path)
    other = plan(base=Sampling(sampler=DDIM(), seed=1))
    with pytest.raises(ValueError, match="that differ in sampling; choose another sweep folder"):
        sample_point(other, other.points[0], tmp_path)


def test_samples_of_a_version_that_told_less_of_them_are_taken(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    point = plan().points[1]
    manifest = sample_point(plan(), point, tmp_path) / "samples.json"
    (manifest.parent / SUMS).unlink()  # which it had not either
    told = json.loads(manifest.read_text())
    del told["model"]["trained_steps"]
    manifest.write_text(json.dumps(told))
    sample_point(plan(), point, tmp_path)
    told["model"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="differ in model"):
        sample_point(plan(), point, tmp_path)


def test_a_reference_of_another_size_is_refused_before_sampling(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    features = blocks()
    scoring = Scoring([Scorer(features, make_reference(spots(40, size=12), features))])
    with pytest.raises(ValueError, match="give a reference of that size"):
        run(plan(), scoring, tmp_path, devices=ALONE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resize", ["to-reference", "none"])
def test_a_reference_of_another_size_is_compared_when_asked_for(
    plan: Callable[..., Sweep], tmp_path: Path, resize: str
) -> None:
    features = blocks()
    reference = make_reference(spots(40, size=12), features)
    reference.save(tmp_path / "ref.npz")
    reference = load_reference(tmp_path / "ref.npz", features)
    scoring = Scoring([Scorer(features, reference, resize)])
    result = ran(plan(), scoring, tmp_path / "out")
    reports = [
        json.loads(path.read_text()) for path in (tmp_path / "out" / "points").glob("*.json")
    ]
    assert len(reports) == len(result.sweep.points)
    size = [12, 12] if resize == "to-reference" else [8, 8]
    assert all(told["manifest"]["generated"]["size"] == size for told in reports)
    other = Scoring([Scorer(features, reference, "none" if size == [12, 12] else "to-reference")])
    again = ran(plan(), other, tmp_path / "out")  # the scores of the first are not reused
    assert again.networks[0].scores[0]["frechet"] != result.networks[0].scores[0]["frechet"]


def test_scores_of_a_version_that_listed_labels_are_reused(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path
) -> None:
    alone = Scoring(scoring.scorers[:1])
    ran(plan(), alone, tmp_path)
    path = next((tmp_path / "points").glob("*.json"))
    told = json.loads(path.read_text())
    told["manifest"]["generated"]["made"]["labels"] = [0, 1, 2]
    path.write_text(json.dumps(told))
    listed = path.read_bytes()
    ran(plan(), alone, tmp_path)
    assert path.read_bytes() == listed


def test_reused_scores_are_told_apart_from_fresh_ones(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path
) -> None:
    told: list[int] = []
    for fresh in (True, False):
        told.clear()
        run(plan(), scoring, tmp_path, devices=ALONE, on_evaluations=lambda n, _: told.append(n))
        assert sum(told) == evaluations(plan(), scoring, ALONE)
        assert [isinstance(each, Cached) for each in told] == [not fresh] * len(told)


def test_a_judge_of_other_images_is_refused_before_sampling(
    files: Path, plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path
) -> None:
    for i, changes in enumerate((LARGER, COLOUR)):
        chosen = tiny.classifier("noised=false", *changes)
        judge = load_classifier(tiny.model(files / f"judge-{i}.safetensors", chosen))
        other = Scoring(scoring.scorers, judge, scoring.labels)
        with pytest.raises(ValueError, match=r"the model makes \(1, 8, 8\); give a judge of such"):
            run(plan(), other, tmp_path, devices=ALONE)
        assert not list(tmp_path.iterdir())


def test_features_that_cannot_see_the_images_are_refused_before_sampling(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    def extract(images: torch.Tensor) -> Extracted:
        if images.shape[1] != 3:
            raise ValueError("give images of 3 channels")
        return Extracted(images.float().mean((2, 3)))

    features = guarded("colour", 3, extract, "1", "cpu")
    scoring = Scoring([Scorer(features, make_reference(spots(40, channels=3), features))])
    with pytest.raises(ValueError, match="give images of 3 channels"):
        run(plan(), scoring, tmp_path, devices=ALONE)
    assert not list(tmp_path.iterdir())


def test_scales_that_differ_in_the_seventh_digit_have_folders_of_their_own(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path
) -> None:
    scales = (0.12345671, 0.12345672)
    sweep = plan(scales=scales, steps=(3, 4), samplers=("ddim",))
    assert len({point.name for point in sweep.points}) == 4
    assert list(ways(sweep, "steps")) == [f"ddim, scale {scale}" for scale in scales]
    usual = (0.0, 0.5, 1.0, 4.0, 10.0, 1e-6, 1e20)
    named = [Point("ddim", 25, scale).name.removeprefix("ddim-25-scale") for scale in usual]
    assert named == ["0", "0.5", "1", "4", "10", "1e-06", "1e+20"]


@pytest.mark.parametrize("left", ["", "{", "[]"])
def test_a_damaged_manifest_is_refused_with_a_cure_that_works(
    plan: Callable[..., Sweep], tmp_path: Path, left: str
) -> None:
    point = plan().points[0]
    place = sample_point(plan(), point, tmp_path)
    before = contents(place)
    (place / "samples.json").write_text(left)
    with pytest.raises(ValueError, match=f"{place} holds damaged samples .* remove that folder"):
        sample_point(plan(), point, tmp_path)
    shutil.rmtree(place)
    assert contents(sample_point(plan(), point, tmp_path)) == before


def test_damaged_samples_are_refused(plan: Callable[..., Sweep], tmp_path: Path) -> None:
    place = sample_point(plan(), plan().points[0], tmp_path)
    (place / "samples.npz").write_bytes(b"zeroed")
    with pytest.raises(
        ValueError, match=r"samples\.npz is not as it was written.*remove that folder"
    ):
        sample_point(plan(), plan().points[0], tmp_path)


def test_nothing_is_left_beside_a_point_that_was_finished(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    place = sample_point(plan(), plan().points[0], tmp_path)
    (place.parent / f".{place.name}.parts").mkdir()
    (place.parent / f".{place.name}.parts" / "00000000.npz").touch()
    sample_point(plan(), plan().points[0], tmp_path)
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_a_sweep_folder_has_one_writer(tmp_path: Path) -> None:
    out, other = alone(tmp_path / "out", ALONE), alone(tmp_path / "out", ALONE)
    with out, pytest.raises(InUse, match="is in use by another"):
        other.__enter__()
    assert not (tmp_path / "out").exists()


def test_a_count_beyond_all_bounds_is_refused_before_there_are_labels() -> None:
    with pytest.raises(ValueError, match="count must be at least 1 and at most 10,000,000"):
        balanced([0, 1], 10**12)


def test_samples_that_were_interrupted_before_they_said_of_whom_are_made(
    plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    point = plan().points[0]
    part = tmp_path / "samples" / f".{point.name}.parts"
    part.mkdir(parents=True)
    (part / "samples.json").touch()
    assert (sample_point(plan(), point, tmp_path) / "samples.json").stat().st_size


def test_a_model_is_called_by_its_run_folder_or_file(
    files: Path, plan: Callable[..., Sweep], tmp_path: Path
) -> None:
    place = tmp_path / "my-run" / "checkpoints" / "step-0000010" / "model.safetensors"
    place.parent.mkdir(parents=True)
    shutil.copy(files / "model.safetensors", place)
    assert title_of(plan(model=load_diffusion(place))) == "my-run: scores by scale"
    assert title_of(plan(model=load_diffusion(place), scales=(1.0,))) == "my-run: scores"
    swept = plan(model=load_diffusion(place), steps=(3, 5), samplers=("ddim", "ancestral"))
    assert title_of(swept) == "my-run: scores by scale, steps and sampler"
    assert load_diffusion(files / "unlabelled.safetensors").name == "unlabelled"
    assert load_diffusion(files / "model.safetensors").name == files.name


def test_points_of_one_scale_stand_side_by_side(plan: Callable[..., Sweep]) -> None:
    one = plan(scales=(1.0,), steps=(3, 5))
    assert columns(one) == {"": one.points}
    assert len(columns(plan(steps=(3, 5)))) == 2


def test_a_page_without_figures_explains_none(
    plan: Callable[..., Sweep], scoring: Scoring, tmp_path: Path
) -> None:
    sweep = plan(scales=(1.0,))
    write(ran(sweep, scoring, tmp_path), tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    for word in ("Results", "Bands", "ring", "equal spacing", "Bold", "two columns"):
        assert word not in text.partition("</style>")[2].partition("<h2>Settings")[0]


def test_the_page_does_not_call_all_intervals_bootstrapped(done: tuple[SweepResult, Path]) -> None:
    text = (done[1] / "report.html").read_text("utf-8")
    assert "95% intervals over samples" in text
    assert "bootstrap" not in text
