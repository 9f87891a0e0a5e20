"""adm frontier, adm sample --budget -> times, errors, the images of settings that fit."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from answers import Adm
from samples import archive, never
from scoring.stubs import spots, together

from adm.app.cli import budgets, main
from adm.app.study import frontier as stored
from adm.app.study import study as study_module
from adm.app.study import timing, trial
from adm.app.study.frontier import Frontier, by_scale, load, save
from adm.app.study.scoring import Scorer, Scoring, reference_of_study
from adm.app.study.study import Study, axis, balanced_labels
from adm.app.study.trial import Trial, run_promising, select_points
from adm.features import open_features
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.folder import images_of
from adm.generation.job import Job
from adm.generation.manifest import read_manifest
from adm.generation.pipeline import Pipeline
from adm.generation.pipeline import load as load_model
from adm.images import to_float
from adm.models.paths import SHIPPED, measurement
from adm.processes import Devices

# One worker measures the frontier of all tests.
pytestmark = pytest.mark.xdist_group("frontier")

COUNT, TRIAL, LAST = 6, 4, 20
ALONE = Devices(torch.device("cpu"))
GUIDED = ("--classifier", "guide.safetensors")
WORDS = ("frontier", "model.safetensors", "--reference", "real.npz", *GUIDED)
FEATURES = ("--features", "rows.py:rows")
VARY = ("--vary", "sampler=ddim", "--vary", "grid=even,quadratic", "--vary", "steps=2,5")
FEW = (*VARY, "--count", COUNT, "--trial-count", TRIAL, "--keep", 1)
SAMPLE = ("sample", "model.safetensors", *GUIDED, "--count", 3)
AT_2 = ("--scale", 2)


def seconds_of(job: Job, on_step: Callable[[int], None] | None = None) -> float:
    """Return the seconds of a job on an idle machine."""
    if on_step is not None:
        on_step(job.generator.evaluations * job.generator.block)
    return 0.001 * (job.cost.network + job.cost.classifier)


@pytest.fixture(scope="module", autouse=True)
def clock() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "seconds_of", seconds_of)
        patch.setattr(timing, "seconds_of", seconds_of)
        patch.setattr(trial, "load_note", lambda: None)
        yield


@pytest.fixture(scope="module")
def frontier_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models, real images, and the frontier of one model."""
    folder = tmp_path_factory.mktemp("budget")
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "other.safetensors", tiny.diffusion(), seed=1)
    tiny.model(folder / "guide.safetensors", tiny.classifier())
    archive(folder / "real.npz", *spots(40).batch(range(40)))
    text = "def rows(images):\n    return images.float().mean(dim=(1, 3))\n\nrows.name = 'rows'\n"
    (folder / "rows.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, (*WORDS, *FEATURES, *FEW, "--out", "out"))])
    assert not stopped.value.code
    return folder


@pytest.fixture
def workdir(frontier_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(frontier_dir, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(scope="module")
def pipeline(frontier_dir: Path) -> Pipeline:
    return load_model(
        frontier_dir / "model.safetensors", frontier_dir / "guide.safetensors", device="cpu"
    )


@pytest.fixture(scope="module")
def scoring(frontier_dir: Path) -> Scoring:
    features = open_features(f"{frontier_dir}/rows.py:rows", torch.device("cpu"))
    return Scoring(
        [Scorer(features, reference_of_study(spots(40), features, frontier_dir / "real"))]
    )


def study_of(pipeline: Pipeline, *axes: str) -> Study:
    chosen = axes or ("sampler=ddim", "grid=even,quadratic", "steps=2,5", "scale=0,2")
    labels = balanced_labels(range(3), COUNT)
    return Study("tiny", pipeline, tuple(map(axis, chosen)), labels, COUNT, {"seed": 0})


def trial_of(study: Study, out: Path, devices: Devices = ALONE) -> Trial:
    return Trial(study, LAST, TRIAL, out, devices)


def run_study(
    first: Trial, scoring: Scoring, progress: dict[str, list[float]] | None = None
) -> Frontier | None:
    def bar(what: str, total: float) -> Any:
        amounts = ({} if progress is None else progress).setdefault(what, [total])
        return nullcontext(lambda amount, note="": amounts.append(amount))

    result = run_promising(first, scoring, keep=1, batch_size=5, bar=bar)
    return None if result is None else result.frontier


def test_every_point_is_measured_and_those_near_the_frontier_are_scored(frontier_dir: Path) -> None:
    frontier = load(frontier_dir / "out/frontier.json")
    assert frontier.scales == [0, 2]
    assert len(frontier.points) == 2 * 2 * 2
    for one in frontier.points:
        steps = one.settings["steps"]
        assert (one.network, one.classifier) == (steps, steps if one.scale else 0)
        assert one.low <= one.seconds <= one.high
    full = [one for one in frontier.points if one.distances]
    assert {one.point for one in full} == {one.point for one in select_points(frontier.points, 1)}
    assert len(full) < len(frontier.points)
    for scale in (0.0, 2.0):  # by the error, since all points of so many steps are as fast
        assert min(by_scale(frontier.points)[scale], key=lambda one: one.error or 9) in full


def test_the_error_is_that_of_the_first_images_against_many_steps(
    frontier_dir: Path, pipeline: Pipeline
) -> None:
    one = load(frontier_dir / "out/frontier.json").points[-1]
    few = study_of(pipeline).of([one.point], TRIAL)
    job = few.job(one.point)
    images = job.generator.images(job.label_tensor, range(TRIAL))
    (place,) = (frontier_dir / "out/trials/samples").glob(f"*heun*scale-{one.scale:g}")
    assert (manifest := read_manifest(place)) is not None
    assert manifest["sampling"]["sampler"] == "heun"
    target = images_of(place)
    assert len(target) == TRIAL
    expected = (to_float(images) - to_float(target)).pow(2).mean().sqrt()
    assert one.error == pytest.approx(float(expected))


@pytest.mark.slow
def test_progress_adds_up_and_the_same_call_measures_nothing_again(
    pipeline: Pipeline, scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, progress = study_of(pipeline), dict[str, list[float]]()
    first = run_study(trial_of(study, tmp_path), scoring, progress)
    assert first is not None
    assert list(progress) == ["first pass", "sampling and scoring"]
    for name in ("seconds_of", "load_note"):
        monkeypatch.setattr(trial, name, never)
    monkeypatch.setattr(study_module, "sample_into", never)
    again: dict[str, list[float]] = {}
    assert run_study(trial_of(study, tmp_path), scoring, again) == first
    for what in progress:
        for total, *amounts in (progress[what], again[what]):
            assert sum(amounts) == total, what


@pytest.mark.slow
@pytest.mark.parametrize("where", ["seconds_of", "sample_point"])
def test_an_interrupted_first_pass_keeps_its_measurements(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    study, calls, real = study_of(pipeline), list[int](), getattr(trial, where)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(trial, where, counted)
    with pytest.raises(KeyboardInterrupt):
        trial_of(study, tmp_path).measure()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert files
    measured = trial_of(study, tmp_path).measure()
    assert {path: path.read_bytes() for path in files if "time" not in path.name} == {
        path: content for path, content in files.items() if "time" not in path.name
    }
    monkeypatch.setattr(trial, "seconds_of", never)
    monkeypatch.setattr(study_module, "sample_into", never)
    assert trial_of(study, tmp_path).measure() == measured


@pytest.mark.slow
def test_ranks_share_the_points_and_one_measures_all_times(
    pipeline: Pipeline, scoring: Scoring, tmp_path: Path
) -> None:
    study, progress = study_of(pipeline), dict[int, dict[str, list[float]]]()

    def act(devices: Devices) -> Frontier | None:
        return run_study(
            trial_of(study, tmp_path / "two", devices),
            scoring,
            progress.setdefault(devices.rank, {}),
        )

    first, second = together(2, act)
    assert second is None
    alone = run_study(trial_of(study, tmp_path / "one"), scoring)
    assert alone is not None
    assert first.points == alone.points
    for rank in (0, 1):
        total, *amounts = progress[rank]["first pass"]
        assert sum(amounts) == total
    assert progress[1]["first pass"][0] < progress[0]["first pass"][0]


def test_times_are_measured_once_for_points_of_the_same_operations(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    axes = ("sampler=ddim,unipc", "grid=even,quadratic", "steps=3,5", "scale=0,1,2")
    assert len(trial_of(study_of(pipeline, *axes), tmp_path).timed) == 2 * 2 * 2


def test_times_of_another_machine_are_not_taken(
    frontier_dir: Path, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(frontier_dir / "out", tmp_path / "copy")
    monkeypatch.setattr(trial, "machine_of", lambda device: "another")
    monkeypatch.setattr(trial, "seconds_of", lambda *args: 77.0)
    measured = trial_of(study_of(pipeline), tmp_path / "copy").measure()
    assert {one.seconds for one in measured} == {77.0}


def test_a_point_that_adds_noise_is_compared_with_no_others(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    axes = ("sampler=ddim,unipc:eta=1", "grid=even", "steps=5", "scale=0")
    solver, noisy = trial_of(study_of(pipeline, *axes), tmp_path).measure()
    assert (solver.random, noisy.random) == (False, True)
    assert solver.error is not None
    assert noisy.error is None
    assert select_points([solver, noisy], 1) == [solver, noisy]


def test_a_point_that_diverges_is_left_out_and_stops_nothing(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DiffusionGenerator.images

    def exploding(self: Any, labels: Any, indices: Any, *rest: Any, **more: Any) -> torch.Tensor:
        if self.sampling.grid.name == "quadratic" and len(indices) == TRIAL:
            raise FloatingPointError("NaN")
        return real(self, labels, indices, *rest, **more)

    monkeypatch.setattr(DiffusionGenerator, "images", exploding)
    axes = ("sampler=ddim,ancestral", "grid=even,quadratic", "steps=2,5", "scale=0")
    measured = trial_of(study_of(pipeline, *axes), tmp_path).measure()
    for one in measured:
        diverged = one.error is None and not one.random
        assert diverged == (one.settings["grid"] == "quadratic"), one
    assert {one.settings["grid"] for one in select_points(measured, 9)} == {"even"}
    assert not [*(tmp_path / "trials/samples").glob(".*")]  # nothing of it is left


def test_what_cannot_be_sampled_is_left_out_or_refused_if_requested(
    pipeline: Pipeline,
) -> None:
    wide = study_of(pipeline, "grid=even,ddim-quadratic,karas", "steps=2,6", "scale=0")
    usable, reasons = wide.possible({"sampler"})
    assert {point.settings["grid"] for point in usable.points} == {"even", "ddim-quadratic"}
    assert len(reasons) == 2 + 1  # 6 levels are too many for one of the grids
    with pytest.raises(ValueError, match="did you mean karras"):
        wide.possible({"grid"})
    with pytest.raises(ValueError, match="steps must be in"):
        study_of(pipeline, "steps=2,99").possible({"steps"})
    with pytest.raises(ValueError, match="steps must be in"):
        study_of(pipeline, "steps=99").possible()


def test_the_page_ends_in_recommended_settings(frontier_dir: Path) -> None:
    assert {path.name for path in (frontier_dir / "out").iterdir()} == {
        *("samples", "points", "references", "trials", "frontier.json", "frontier-rows.png"),
        *("report.html", "report.md", "report.json"),
    }
    page = (frontier_dir / "out/report.html").read_text("utf-8")
    assert re.findall("<h2>(.*?)</h2>", page)[-2:] == ["Recommended settings", "Settings"]
    text = (frontier_dir / "out/report.md").read_text("utf-8")
    assert "points are sampled in full" in text
    assert "adm sample model.safetensors --classifier guide.safetensors --sampler ddim" in text


def test_a_frontier_is_stored_in_its_folder_and_with_the_model(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(workdir / "model.frontier.json") == load(workdir / "out/frontier.json")
    shipped = SHIPPED / "fashion.safetensors"
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir))
    own = measurement(shipped, stored.NAME)
    assert SHIPPED not in own.parents
    assert stored.file_of(shipped).parent == SHIPPED
    own.parent.mkdir(parents=True)
    shutil.copy(workdir / "model.frontier.json", own)
    assert stored.file_of(shipped) == own


@pytest.mark.parametrize("name", ["fashion", "emoji"])
def test_a_shipped_frontier_is_of_the_shipped_model(name: str) -> None:
    from adm.models.identity import identify

    frontier = load(SHIPPED / f"{name}.frontier.json")
    assert frontier.model == identify(SHIPPED / f"{name}.safetensors")
    assert frontier.classifier == identify(SHIPPED / f"{name}-classifier.safetensors")
    weak = SHIPPED / f"{name}-weak.safetensors"
    assert frontier.weak == (identify(weak) if weak.exists() else None)


def test_a_budget_gives_the_images_of_the_command_that_the_frontier_recommends(
    workdir: Path, adm: Adm
) -> None:
    recommended = load(workdir / "out/frontier.json").recommended[2.0]
    options = stored.options(recommended.best.settings)
    answer = adm.done(*SAMPLE, *AT_2, "--budget", "1min", "--out", "taken")
    assert f"{options}: " in answer.out
    answer = adm.done(*SAMPLE, *options.split(), "-o", "taken")
    assert "taken is complete" in answer.out


def test_timings_of_another_machine_are_rescaled(
    workdir: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    frontier = load(workdir / "out/frontier.json")
    save(replace(frontier, machine="another"), workdir / "model.frontier.json")
    fastest = min(one.seconds for one in frontier.scored(2.0))
    monkeypatch.setattr(timing, "seconds_of", lambda job: 7 * fastest)
    words = (*SAMPLE, *AT_2, "-o", "s", "--budget")
    assert "budget must be at least" in adm(*words, f"{6.9 * fastest:.6f}s").refusal()
    answer = adm.done(*words, f"{7.1 * fastest:.6f}s")
    assert "the frontier was measured on another; measured now on" in answer.out
    assert "takes 7 times as long" in answer.out


@pytest.mark.parametrize("kind", ["classifier", "weights"])
def test_a_frontier_of_another_model_is_refused(workdir: Path, adm: Adm, kind: str) -> None:
    words = [*SAMPLE, *AT_2, "--budget", "1s", "--out", "s"]
    if kind == "classifier":
        tiny.model(workdir / "second", tiny.classifier(), seed=5)
        words[words.index("guide.safetensors")] = "second"
    else:
        shutil.copy("other.safetensors", "model.safetensors")
    what = "classifier" if kind == "classifier" else "model"
    assert f"was measured with another {what}" in adm(*words).refusal()


@pytest.mark.parametrize(("text", "seconds"), [("50ms", 0.05), ("0.05s", 0.05), (".5min", 30.0)])
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert budgets.seconds(text) == pytest.approx(seconds)
