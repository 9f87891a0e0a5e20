"""docs/results/ -> scores of the shipped models, and the tables of results.md made of them."""

import json
import runpy
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from answers import Adm

from adm.models.identity import identify
from adm.models.paths import SHIPPED
from adm.scoring import Score
from adm.store.hashes import sha256

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
CONTESTS = [name for name in ("emoji", "fashion") if (RESULTS / name).is_dir()]
ROWS = sorted(
    file
    for name in CONTESTS
    for file in (RESULTS / name).rglob("*.json")
    if file.name != "times.json"
)
SCORE = {"title": "", "value": 2.5, "low": None, "high": None}
REPORT = {
    "features": "some",
    "scores": {"frechet": SCORE},
    "classes": [],
    "warnings": [],
    "manifest": {"generated": {"count": 7}},
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of `benchmarks/` that make the page; they import each other by their names."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = ("scores", "costs", "page", "plan", "sweeps")
    return SimpleNamespace(**{name: import_module(f"results_{name}") for name in names})


def rendered(modules: Any, name: str, place: Path) -> str:
    contest = modules.plan.contests()[name]
    measured = modules.scores.read_rows(contest, place)
    modules.costs.add(measured, contest, place)
    return modules.page.tables(measured, contest)


def models_in(manifest: Any) -> list[dict[str, Any]]:
    """Return the models of a sampling manifest, those of the base of a cascade included."""
    if not isinstance(manifest, dict):
        return []
    own = [manifest] if manifest.keys() >= {"file", "sha256"} else []
    return own + [model for part in manifest.values() for model in models_in(part)]


@pytest.mark.parametrize("name", CONTESTS)
def test_the_tables_are_those_of_the_stored_scores(modules: Any, name: str, tmp_path: Path) -> None:
    shutil.copytree(RESULTS / name, tmp_path / modules.scores.SCORES)
    text = rendered(modules, name, tmp_path)
    page = (ROOT / "docs" / modules.page.PAGE).read_text("utf-8")
    assert modules.page.between(page, name, text) == page


@pytest.mark.parametrize("file", ROWS, ids=lambda file: str(file.relative_to(RESULTS)))
def test_the_scored_samples_are_of_the_shipped_models(file: Path) -> None:
    models = models_in(json.loads(file.read_text("utf-8"))["made"])
    assert bool(models) == (not file.stem.startswith("real"))
    for model in models:
        rival = ROOT / "baselines" / model["file"]
        own = sha256(rival) if rival.exists() else identify(SHIPPED / model["file"])
        assert own == model["sha256"]


def test_a_row_that_is_not_measured_is_left_out(modules: Any, tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "emoji", tmp_path / modules.scores.SCORES)
    before = rendered(modules, "emoji", tmp_path).splitlines()
    (tmp_path / modules.scores.SCORES / "real.json").unlink()
    after = rendered(modules, "emoji", tmp_path).splitlines()
    lost = [line for line in before if line not in after]
    assert all(line.startswith("| real images (test) |") for line in lost)
    assert len(after) == len(before) - 2  # scores in the first space, and in every space


def test_the_recall_of_a_row_is_that_of_as_many_images_as_of_the_others(
    modules: Any, tmp_path: Path
) -> None:
    shutil.copytree(RESULTS / "emoji", tmp_path / modules.scores.SCORES)
    file = tmp_path / modules.scores.SCORES / "unguided.json"
    row, features = (
        json.loads(file.read_text("utf-8")),
        modules.plan.contests()["emoji"].features[0],
    )
    row["scores"][modules.scores.of_few(features)] = {"recall": {**SCORE, "value": 0.4321}}
    file.write_text(json.dumps(row), "utf-8")
    (line,) = [
        each
        for each in rendered(modules, "emoji", tmp_path).splitlines()
        if each.startswith("| ADM |")
    ][:1]
    distance, precision, recall, _ = line.split(" | ")[1:]
    assert (distance[:4], precision[:5], recall) == ("30.0", "0.575", "0.4321")


def test_the_count_of_a_row_is_that_of_all_its_images(modules: Any, tmp_path: Path) -> None:
    row = modules.plan.contests()["emoji"].rows[0]
    reports = {name: tmp_path / f"{name}.json" for name in ("few", "all")}
    for count, path in zip((7, 9), reports.values(), strict=True):
        path.write_text(json.dumps(REPORT | {"manifest": {"generated": {"count": count}}}), "utf-8")
    modules.scores.store_row(tmp_path, row, {}, reports, {})
    (measured,) = modules.scores.read_rows(modules.plan.contests()["emoji"], tmp_path).values()
    assert measured["count"] == 9


def test_few_images_are_compared_by_the_plain_distance(modules: Any) -> None:
    sweeps = modules.sweeps
    both = {sweeps.title(key, "some"): SCORE for key in (sweeps.DISTANCE, sweeps.AT_INFINITY)}
    plain = {sweeps.title(sweeps.DISTANCE, "some"): SCORE}
    many, few = (sweeps.Sweep("", [{"scores": own}]) for own in (both, plain))
    assert sweeps.distance_of([many], "some") == "frechet_at_infinity"
    assert sweeps.distance_of([many, few], "some") == "frechet"


def test_the_figure_shows_the_stored_sweeps(modules: Any, tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "fashion", tmp_path / modules.scores.SCORES)
    contest = modules.plan.contests()["fashion"]
    measured = modules.scores.read_rows(contest, tmp_path)
    for axes in modules.page.curve(contest, measured, tmp_path).axes:
        written = " ".join(text.get_text() for text in axes.texts)
        assert written == "0.3 0.5 0.7 1 1.5 2 4 0 1 4 8"
    assert modules.sweeps.lowest(tmp_path, "truncation", contest.features[0]) == 4


def test_stored_scores_are_read_as_they_were_written(modules: Any, tmp_path: Path) -> None:
    row = modules.plan.contests()["emoji"].rows[0]
    (tmp_path / "report.json").write_text(json.dumps(REPORT), "utf-8")
    modules.scores.store_row(tmp_path, row, {"scale": 2.0}, {"some": tmp_path / "report.json"}, {})
    more = {"judge": {"copies": Score(0.1, 0.0, 0.2)}}
    modules.scores.store_row(tmp_path, row, {"scale": 2.0}, {}, more)  # adds to what is there
    measured = modules.scores.read_rows(modules.plan.contests()["emoji"], tmp_path)
    assert list(measured) == [row.name]
    assert measured[row.name]["count"] == 7
    assert measured[row.name]["options"] == {"scale": 2.0}
    assert measured[row.name]["scores"]["some"]["frechet"].value == 2.5
    assert measured[row.name]["scores"]["judge"]["copies"].value == 0.1


def test_the_scores_of_a_row_are_of_one_machine(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contest = modules.plan.contests()["emoji"]
    row = contest.rows[0]
    (tmp_path / "report.json").write_text(json.dumps(REPORT), "utf-8")
    modules.scores.store_row(tmp_path, row, {}, {"some": tmp_path / "report.json"}, {})
    monkeypatch.setattr(modules.scores, "describe_processor", lambda: "another")
    modules.scores.store_row(tmp_path, row, {}, {"other": tmp_path / "report.json"}, {})
    measured = modules.scores.read_rows(contest, tmp_path)
    assert list(measured[row.name]["scores"]) == ["other"]


@pytest.mark.slow
def test_the_command_samples_and_scores_what_is_left_and_writes_the_page(
    modules: Any, adm: Adm, garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GAN, a sweep of its truncation, the model and a student; the processes are this one."""
    command, docs = import_module("results"), tmp_path / "docs"
    commands: list[str] = []

    def run_adm(_: Any, *words: object, into: Path | None = None) -> None:
        commands.append(" ".join(map(str, words)))
        done = adm.done(*words)
        if into is not None:
            into.write_text(done.out, "utf-8")

    def run_python(_: Any, *words: object) -> None:
        commands.append(" ".join(map(str, words)))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [str(word) for word in words])
            runpy.run_path(sys.argv[0], run_name="__main__")

    monkeypatch.setattr(command.Runner, "adm", run_adm)
    monkeypatch.setattr(command.Runner, "python", run_python)
    monkeypatch.setattr(command, "TRUNCATIONS", (2,))
    monkeypatch.setattr(command, "SCALES", (0, 4))
    monkeypatch.setattr(modules.costs, "ROUNDS", 3)
    monkeypatch.setattr(modules.costs, "BLOCKS", {True: 1, False: 1})
    whole = modules.plan.contests()["fashion"]
    rows = [
        replace(row, options=row.options | ({"steps": 2} if row.name == "guided-few" else {}))
        for row in whole.rows
        if row.name in ("real", "gan-truncated", "guided-few", "student")
    ]
    features = (whole.judge, "fashion-classifier")
    contest = replace(whole, rows=tuple(rows), features=features)
    monkeypatch.setattr(command, "contests", lambda: {"fashion": contest})
    (docs / "results").mkdir(parents=True)
    (docs / "images").mkdir()
    shutil.copy(ROOT / "docs" / modules.page.PAGE, docs / modules.page.PAGE)
    words = ["results", "--out", tmp_path / "out", "--rehearse", 10, "--docs", docs]
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    threads = torch.get_num_threads()
    command.main()
    needed = commands.copy()
    command.main()
    torch.set_num_threads(threads)
    assert commands == needed  # the second call has nothing to do
    measured = modules.scores.read_rows(contest, tmp_path / "out" / "fashion")
    assert list(measured) == [row.name for row in rows]
    assert all(own["count"] == 10 for own in measured.values())
    text = (docs / modules.page.PAGE).read_text("utf-8")
    assert (tmp_path / "out" / "fashion" / "table.md").read_text("utf-8").strip() in text
    assert (docs / "images" / "curve-fashion.png").stat().st_size > 0
