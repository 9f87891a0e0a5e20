"""benchmarks/ablation*.py -> verdicts with their intervals, and the published page."""

import json
import math
import shutil
from dataclasses import replace
from importlib import import_module
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
from adm.networks import parameters_of
from adm.recipes import build, recipe
from adm.recipes.schema import override
from adm.samplers import Sampling
from adm.scoring.report import StoredScore
from adm.spec import to_json
from adm.training.batches import with_draws

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "results" / "ablation"
PARTS = ("plan", "scores", "run", "page")
FEATURES = """
def means(images):
    return images.float().mean(dim=(1, 3))[:, :3]
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
    times = modules.scores.Times(plan.seconds, "a processor", {"torch": "2"}, timed, steps)
    modules.scores.store_times(times, place)
    return times


def record_of(
    modules: Any, value: float, settings: tuple[str, ...], features: str, *steps: int
) -> Any:
    scores = {features: {"frechet": StoredScore(value, None, None)}}
    for key in ("precision", "recall"):
        scores[features][key] = StoredScore(0.5, None, None)
    points = tuple(modules.scores.Point(each, 0.25, scores) for each in steps or (STEPS,))
    return modules.scores.RunScores(
        *(settings, 1000, 0.5, 40, to_json(Sampling().change(**SAMPLING)), points),
        *("a processor", {"torch": "2"}),
    )


@pytest.mark.parametrize("name", ["fashion", "emoji"])
def test_every_row_is_a_recipe_and_some_are_one_network(modules: Any, name: str) -> None:
    plan = modules.plan.plans()[name]
    rows = plan.rows
    recipes = {row.name: override(recipe(plan.recipe), plan.settings(row)) for row in rows}
    for each in recipes.values():
        build.check(each)
    shares = plan.trained(plan.row("heads-4")), plan.trained(plan.row("heads-4-alone"))
    assert [row.name for row in shares] == ["combined", "heads-4-alone"]
    for a in rows:
        for b in rows:
            assert (recipes[a.name] == recipes[b.name]) == (plan.trained(a) == plan.trained(b))
    size = {row: parameters_of(recipes[row].config) for row in ("base", "depth")}
    assert size["depth"] == pytest.approx(size["base"], rel=0.15)


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
    end = modules.page.Reading("the end", lambda row, run: run.at(STEPS))
    actual = modules.page.Measured(plan, runs, features, end).difference(plan.rows[1])
    assert actual.mean == pytest.approx((interval.high + interval.low) / 2)
    assert actual.half == pytest.approx((interval.high - interval.low) / 2)
    runs["base"][3] = record_of(modules, base[3], plan.settings(plan.rows[0]), features)
    assert modules.page.Measured(plan, runs, features, end).difference(plan.rows[1]) == actual


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


@pytest.mark.slow
def test_the_command_trains_what_is_left_and_writes_the_page(
    modules: Any, plan: Any, tmp_path: Path
) -> None:
    place, docs = tmp_path / "out", tmp_path / "docs"
    features = plan.contest.features[0]
    marks = save_times(modules, plan, place).marks("base")
    assert marks == (2, 6, 12)
    record = record_of(modules, 2.0, plan.settings(plan.rows[0]), features, *marks)
    for seed in (0, 1):  # on another machine
        modules.scores.store_run(record, place, plan.rows[0], seed)
    modules.scores.store_run(
        replace(record, settings=plan.settings(plan.rows[1])), place, plan.rows[1], 0
    )
    half = record_of(modules, 3.0, plan.settings(plan.rows[1]), features, 2)
    modules.scores.store_run(half, place, plan.rows[1], 1)  # a run that was killed
    assert [(job.row.name, job.seed) for job in modules.run.jobs(plan, place)] == [("rescale", 1)]
    modules.command.carry_out(plan, place)
    assert not modules.run.jobs(plan, place)
    points = modules.scores.read_run(plan, place, plan.rows[1], 1).points
    assert [point.steps for point in points] == [*marks]
    assert points[0] == half.points[0]  # was not measured again
    assert len({point.velocity_error for point in points}) == 3
    (docs / "images").mkdir(parents=True)
    (docs / "results").mkdir()
    section = "<!-- digits: `make ablation` -->{}<!-- end of digits -->"
    (docs / modules.page.PAGE).write_text(f"before {section.format('earlier text')} after", "utf-8")
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
    runs, times = module.read_runs(plan, tmp_path), module.read_times(plan, tmp_path)
    assert modules.page.updated(page, plan, runs, times) == page
