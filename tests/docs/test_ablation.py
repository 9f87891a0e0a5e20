"""benchmarks/ablation*.py -> equal compute, verdicts, runs that resume, and the page."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from scipy.stats import ttest_ind, ttest_rel

from adm.diffusion import cosine
from adm.images import to_float
from adm.models.load import load_diffusion
from adm.recipes import build, recipe
from adm.recipes.schema import override
from adm.samplers import Sampling
from adm.scoring.report import StoredScore
from adm.spec import to_json
from adm.training.batches import with_draws

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "results" / "ablation"
PARTS = ("plan", "scores", "run", "tasks", "page")
FEATURES = """
def means(images):
    return images.float().mean(dim=(1, 3))[:, :3]
"""
TASKS = """
import os, signal, time

def waits(out, stop):
    out.with_suffix(".begun").touch()
    while not stop():
        time.sleep(0.01)
    out.touch()

def dies(stop):
    os.kill(os.getpid(), signal.SIGKILL)
"""
TINY = (
    *("unet.channels=8", "unet.norm_groups=4", "unet.heads.heads=2"),
    *("train.batch_size=8", "train.warmup_steps=1"),
)
SAMPLING = {"sampler": "ddim", "grid": "even", "steps": 3}
STEPS = 12


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of `benchmarks/`; they import each other by their names."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    parts = {name: import_module(f"ablation_{name}") for name in PARTS}
    return SimpleNamespace(command=import_module("ablation"), **parts)


@pytest.fixture
def plan(modules: Any, tmp_path: Path) -> Any:
    """Two rows on scikit-learn's digits, of a few steps of small networks."""
    file = tmp_path / "features.py"
    file.write_text(FEATURES, "utf-8")
    module = modules.plan
    contest = replace(
        module.plans()["fashion"].contest, data="digits", split="test", features=(f"{file}:means",)
    )
    rows = (
        module.Row("base", "base", base=None, expected=None, paper=15.33),
        module.Row(
            "rescale", "rescaled", "unet.rescale_residual=true", expected="higher", paper=0.16
        ),
    )
    return module.Plan("digits", "digits", contest, rows, 12.0, 2, 40, TINY, SAMPLING)


def save_times(modules: Any, plan: Any, place: Path, steps: int = STEPS) -> Any:
    timed = {
        row.name: modules.scores.Timed(plan.settings(row), plan.seconds / steps, steps)
        for row in plan.networks()
    }
    times = modules.scores.Times(plan.seconds, "a processor", {"torch": "2"}, timed)
    modules.scores.store_times(times, place)
    return times


def record_of(modules: Any, value: float, settings: tuple[str, ...], features: str) -> Any:
    scores = {features: {"frechet": StoredScore(value, None, None)}}
    for key in ("precision", "recall"):
        scores[features][key] = StoredScore(0.5, None, None)
    return modules.scores.RunScores(
        *(settings, 3, 24, 1000, 0.5, 0.25, 40, to_json(Sampling().change(**SAMPLING))),
        *(scores, "a processor", {"torch": "2"}),
    )


def test_rows_have_equal_compute(modules: Any, plan: Any) -> None:
    for step_seconds in (0.013, 0.4, 1.7):
        left = plan.seconds - step_seconds * modules.run.affordable(plan, step_seconds)
        assert 0 <= left < step_seconds
    assert modules.run.affordable(plan, 2 * plan.seconds) == 1


def test_a_row_that_is_timed_later_has_the_steps_of_the_first_hour(
    modules: Any, plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"base": 0.1, "rescale": 0.2}
    slowness, measured = 1.0, list[list[str]]()

    def step_seconds(plan: Any, rows: Any, stop: Any) -> dict[str, float]:
        measured.append([row.name for row in rows])
        return {row.name: slowness * seconds[row.name] for row in rows}

    monkeypatch.setattr(modules.run, "step_seconds", step_seconds)
    both = modules.run.clock(plan, tmp_path / "both")
    modules.run.clock(replace(plan, chosen=("base",)), tmp_path / "later")
    slowness = 3.0  # other work has begun
    later = modules.run.clock(plan, tmp_path / "later")
    assert {name: row.steps for name, row in later.rows.items()} == {"base": 120, "rescale": 60}
    assert later.rows == both.rows
    assert modules.run.clock(plan, tmp_path / "later") == later
    assert measured == [["base", "rescale"], ["base"], ["base", "rescale"]]


def test_steps_for_another_time_are_refused(modules: Any, plan: Any, tmp_path: Path) -> None:
    save_times(modules, plan, tmp_path)
    with pytest.raises(ValueError, match="have 12 seconds each, not 24; choose another --out"):
        modules.scores.read_times(replace(plan, seconds=24.0), tmp_path)


@pytest.mark.parametrize("name", ["fashion", "emoji"])
def test_every_row_is_a_recipe_and_some_are_one_network(modules: Any, name: str) -> None:
    plan = modules.plan.plans()[name]
    rows = [row for row in plan.rows if not row.left]
    recipes = {row.name: override(recipe(plan.recipe), plan.settings(row)) for row in rows}
    for each in recipes.values():
        build.check(each)
    shares = plan.trained(plan.row("heads-4")), plan.trained(plan.row("heads-4-alone"))
    assert [row.name for row in shares] == ["combined", "heads-4-alone"]
    for a in rows:
        for b in rows:
            assert (recipes[a.name] == recipes[b.name]) == (plan.trained(a) == plan.trained(b))
    size = {row: build.parameters(recipes[row]) for row in ("base", "depth")}
    assert size["depth"] == pytest.approx(size["base"], rel=0.15)


def test_all_rows_of_a_seed_come_before_the_next_seed(modules: Any, tmp_path: Path) -> None:
    """The chosen rows and their baselines, but those whose code has left."""
    plan = replace(modules.plan.plans()["fashion"], chosen=("heads-4", "average-10", "min-snr"))
    actual = [
        (job.seed, [row.name for row in job.rows]) for job in modules.run.jobs(plan, tmp_path)
    ]
    rows = [["base"], ["combined"], ["attention-base"]]
    assert actual == [(seed, names) for seed in range(plan.seeds) for names in rows]


@pytest.mark.parametrize(
    ("expected", "mean", "half", "verdict"),
    [
        ("lower", -2.0, 1.0, "yes"),
        ("lower", 2.0, 1.0, "no"),
        ("higher", 2.0, 1.0, "yes"),
        ("higher", -2.0, 1.0, "no"),
        ("lower", -0.5, 1.0, "within the spread"),
        ("higher", -0.5, 1.0, "within the spread"),
        ("lower", -2.0, math.nan, "of one run"),
        (None, -2.0, 1.0, ""),
    ],
)
def test_a_conclusion_holds_beyond_the_spread_alone(
    modules: Any, expected: str | None, mean: float, half: float, verdict: str
) -> None:
    assert modules.page.verdict(expected, modules.page.Estimate(mean, half)) == verdict


def test_the_interval_of_a_difference_is_student_s(modules: Any) -> None:
    first, second = [3.0, 4.5, 3.2], [6.0, 7.1]
    pooled = modules.page.spread([first, second])
    interval = ttest_ind(first, second).confidence_interval(0.95)
    assert pooled.half(3, 2) == pytest.approx((interval.high - interval.low) / 2)
    assert math.isnan(modules.page.spread([[1.0], [2.0]]).half(1, 1))


def test_the_interval_of_a_difference_of_two_rows_is_that_of_pairs(modules: Any, plan: Any) -> None:
    """Seeds of a large effect, of which the pairs have none; one seed is of the base alone."""
    base, other = {0: 53.0, 1: 64.5, 2: 43.2, 3: 90.0}, {0: 56.0, 1: 67.1, 2: 47.0}
    features = plan.contest.features[0]
    runs = {
        name: {
            seed: record_of(modules, value, plan.settings(plan.row(name)), features)
            for seed, value in values.items()
        }
        for name, values in (("base", {s: base[s] for s in other}), ("rescale", other))
    }
    pairs = ttest_rel([*other.values()], [base[seed] for seed in other])
    interval = pairs.confidence_interval(0.95)
    actual = modules.page.Measured(plan, runs, features).difference(plan.rows[1])
    assert actual.mean == pytest.approx((interval.high + interval.low) / 2)
    assert actual.half == pytest.approx((interval.high - interval.low) / 2)
    runs["base"][3] = record_of(modules, base[3], plan.settings(plan.rows[0]), features)
    assert modules.page.Measured(plan, runs, features).difference(plan.rows[1]) == actual


def test_the_velocity_error_is_one_number_for_all_targets(modules: Any, tmp_path: Path) -> None:
    """It has a closed form for a network whose output is 0."""
    held_out = tiny.stripes(30)
    for target in ("velocity", "noise"):
        chosen = tiny.diffusion("process.steps=1000", f"process.prediction={target}")
        model = load_diffusion(tiny.model(tmp_path / f"{target}.safetensors", chosen, std=0.0))
        batch = with_draws(held_out, [*range(30)], 0, 0)
        levels = torch.tensor(modules.run.LEVELS)[torch.arange(30) % 20]
        signal, sigma = (
            each[levels][:, None, None, None] for each in (cosine(1000).signal, cosine(1000).sigma)
        )
        noise = batch.draws.noise.double()
        apart = noise / signal if target == "noise" else signal * noise
        if target == "velocity":
            apart = apart - sigma * to_float(batch.images)
        actual = modules.run.velocity_error(model, held_out)
        assert actual == pytest.approx(float((apart**2).mean()), rel=1e-3)


def test_killed_runs_resume_with_the_same_scores(modules: Any, plan: Any, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killed_at(step: int) -> Any:
        calls = count(1)

        def stop() -> bool:
            if next(calls) == step:
                raise Killed
            return False

        return stop

    row = plan.rows[1]
    texts = []
    for name, kills in (("whole", ()), ("killed", (11, 3, 5))):
        place = tmp_path / name
        times = save_times(modules, plan, place)
        for step in kills:  # before and after the checkpoint of step 10, and while sampling
            with pytest.raises(Killed):
                modules.run.work(plan, modules.run.Job((row,), 1), times, place, killed_at(step))
            assert modules.scores.read_run(plan, place, row, 1) is None
        modules.run.work(plan, modules.run.Job((row,), 1), times, place, lambda: False)
        texts.append(modules.scores.run_file(place, row, 1).read_text("utf-8"))
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["images"] == STEPS * 8


@pytest.mark.slow
def test_the_command_trains_what_is_left_and_writes_the_page(
    modules: Any, plan: Any, tmp_path: Path
) -> None:
    place, docs = tmp_path / "out", tmp_path / "docs"
    features = plan.contest.features[0]
    record = record_of(modules, 2.0, plan.settings(plan.rows[0]), features)
    save_times(modules, plan, place)
    for seed in (0, 1):  # on another machine
        modules.scores.store_run(record, place, plan.rows[0], seed)
    modules.scores.store_run(
        replace(record, settings=plan.settings(plan.rows[1])), place, plan.rows[1], 0
    )
    assert [(job.rows[0].name, job.seed) for job in modules.run.jobs(plan, place)] == [
        ("rescale", 1)
    ]
    modules.command.carry_out(plan, place)
    assert not modules.run.jobs(plan, place)
    (docs / "images").mkdir(parents=True)
    (docs / "results").mkdir()
    marks = "<!-- digits: `make ablation` -->{}<!-- end of digits -->"
    (docs / modules.page.PAGE).write_text(f"before {marks.format('earlier text')} after", "utf-8")
    modules.page.write(plan, place, docs)
    page = (docs / modules.page.PAGE).read_text("utf-8")
    assert page.startswith("before <!--")
    assert page.endswith("--> after")
    assert "earlier text" not in page
    assert "| rescaled | Table 1 | +0.16 |" in page
    assert sorted(path.name for path in (docs / "results" / "ablation" / "digits").iterdir()) == [
        *(f"{row}-{seed}.json" for row in ("base", "rescale") for seed in (0, 1)),
        "steps.json",
    ]
    assert (docs / "images" / "ablation-digits.png").exists()


@pytest.mark.parametrize("name", sorted(each.name for each in PUBLISHED.glob("*")))
def test_the_tables_are_those_of_the_published_scores(
    modules: Any, name: str, tmp_path: Path
) -> None:
    module = modules.scores
    shutil.copytree(PUBLISHED / name, tmp_path / module.SCORES)
    first = next(json.loads(each.read_text("utf-8")) for each in PUBLISHED.glob(f"{name}/*-*.json"))
    seconds = json.loads((PUBLISHED / name / module.STEPS).read_text("utf-8"))["seconds"]
    plan = replace(modules.plan.plans()[name], seconds=seconds, count=first["count"])
    page = (ROOT / "docs" / modules.page.PAGE).read_text("utf-8")
    assert modules.page.updated(page, plan, module.read_runs(plan, tmp_path)) == page


def test_the_page_has_a_section_for_every_plan(modules: Any, plan: Any, tmp_path: Path) -> None:
    page = (ROOT / "docs" / modules.page.PAGE).read_text("utf-8")
    save_times(modules, plan, tmp_path)
    features = plan.contest.features[0]
    modules.scores.store_run(
        record_of(modules, 2.0, plan.settings(plan.rows[0]), features), tmp_path, plan.rows[0], 1
    )
    runs = modules.scores.read_runs(plan, tmp_path)
    assert list(runs) == ["base"]
    for name in modules.plan.plans():
        text = modules.page.updated(page, replace(plan, name=name), runs)
        assert f"images/ablation-{name}.png" in text
        assert "| base | Table 1 | 15.33 | 2.00 |" in text


def test_a_row_whose_settings_or_sampling_have_changed_is_measured_again(
    modules: Any, plan: Any, tmp_path: Path
) -> None:
    features, row = plan.contest.features[0], plan.rows[1]
    save_times(modules, plan, tmp_path)
    modules.scores.store_run(
        record_of(modules, 2.0, plan.settings(row), features), tmp_path, row, 0
    )
    assert modules.scores.read_run(plan, tmp_path, row, 0) is not None
    changed = replace(row, settings="unet.dropout=0.1")
    other = replace(plan, rows=(plan.rows[0], changed))
    assert modules.scores.read_run(other, tmp_path, changed, 0) is None
    for sampling in ({**SAMPLING, "steps": 4}, {**SAMPLING, "precision": "bfloat16"}):
        other = replace(plan, sampling=sampling)
        assert modules.scores.read_run(other, tmp_path, row, 0) is None


@pytest.fixture
def tasks(modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "of_tasks.py").write_text(TASKS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(modules.tasks, "POLL_S", 0.05)
    return import_module("of_tasks")


def test_tasks_are_stopped_and_waited_for(modules: Any, tasks: Any, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.ended" for i in range(3)]
    begun = modules.tasks.running(
        [modules.tasks.Task(file.stem, tasks.waits, (file,)) for file in files], 2
    )
    names = next(each for each in begun if all(f.with_suffix(".begun").exists() for f in files[:2]))
    assert names == ["0", "1"]
    begun.close()
    assert [file.exists() for file in files] == [True, True, False]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_a_task_that_is_killed_ends_the_command(modules: Any, tasks: Any) -> None:
    with pytest.raises(RuntimeError, match="first failed; the same command continues"):
        [*modules.tasks.running([modules.tasks.Task("first", tasks.dies, ())], 1)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no such signal")
def test_tasks_stop_when_the_command_is_killed(tasks: Any, tmp_path: Path) -> None:
    ended, begun = tmp_path / "0.ended", tmp_path / "0.begun"
    code = (
        "import of_tasks, pathlib, sys; from ablation_tasks import Task, running\n"
        "[*running([Task('0', of_tasks.waits, (pathlib.Path(sys.argv[1]),))], 1)]"
    )
    paths = os.pathsep.join([str(ROOT / "benchmarks"), str(tmp_path)])
    command = subprocess.Popen(
        [sys.executable, "-c", code, str(ended)], env=os.environ | {"PYTHONPATH": paths}
    )
    wait_for(begun)
    command.kill()
    command.wait()
    wait_for(ended)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
