"""adm grid -> levels stored next to a model, which adm sample visits and records."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from answers import Adm

from adm.models.paths import SHIPPED
from adm.models.stored_grids import read, store

FEW = ("--count", 3, "--scale", 1, "--device", "cpu")


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    tiny.model(tmp_path / "guide.safetensors", tiny.classifier())
    return tiny.model(tmp_path / "model.safetensors", tiny.diffusion())


def test_levels_are_found_stored_visited_and_recorded(
    adm: Adm, model: Path, tmp_path: Path
) -> None:
    guide = ("--classifier", model.with_name("guide.safetensors"))
    words = ("--steps", "3,5", *guide, *FEW, "--json")
    answer = adm.done("grid", model, *words)
    grids = {each["steps"]: each for each in json.loads(answer.out)}
    assert grids.keys() == {3, 5}
    assert all(each["scale"] == 1 and each["start"] == 19 for each in grids.values())
    assert len(json.loads((tmp_path / "model.grids.json").read_text())["grids"]) == 2

    out, searched = tmp_path / "out", ("--grid", "searched", "--scale", 2, *guide)
    words = ("sample", model, *searched, "--sampler", "ddim", "--count", 2, "--out", out)
    answer = adm.done(*words, "--steps", 3)
    grid = json.loads((out / "samples.json").read_text())["sampling"]["grid"]
    assert grid == "levels:" + ",".join(f"{level:g}" for level in grids[3]["levels"])
    assert "is complete" in adm(*words, "--steps", 3).out
    explicit = ("--grid", "levels:" + ",".join(map(str, grids[3]["levels"])), "--scale", 2, *guide)
    again = tmp_path / "again"
    words = ("sample", model, *explicit, "--sampler", "ddim", "--count", 2, "--out", again)
    adm.done(*words)
    assert (again / "samples.npz").read_bytes() == (out / "samples.npz").read_bytes()


def test_a_searched_grid_that_is_not_stored_is_refused_with_the_cure(
    adm: Adm, model: Path, tmp_path: Path
) -> None:
    words = ("sample", model, "--grid", "searched", "--steps", 7, "--out", tmp_path / "out")
    cure = f"run `adm grid {model} --steps 7`"
    assert cure in adm(*words).refusal()
    adm.done("grid", model, "--steps", "4,5", "--count", 2)
    assert cure in adm(*words).refusal()
    model.with_name("model.grids.json").write_text('{"grids": 3}')
    assert "model.grids.json is damaged" in adm(*words).refusal()
    assert not (tmp_path / "out").exists()


def test_grids_searched_for_a_shipped_model_are_stored_in_the_cache_of_the_user(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = SHIPPED / "fashion.safetensors"
    file, cached = SHIPPED / "fashion.grids.json", tmp_path / "adm/measured/fashion.grids.json"
    content, changed = file.read_bytes(), file.stat().st_mtime_ns
    shipped = read(model)
    answer = adm.done(
        "grid", "fashion", "--steps", 2, "--count", 2, "--scale", 0, "--device", "cpu"
    )
    assert str(cached) in answer.out + answer.err
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (content, changed)
    (grid,) = {*read(model)} - {*shipped}
    assert grid.steps == 2
    assert {*shipped} < {*read(model)}
    store(model, [better := replace(shipped[0], deviation=0.0)])
    assert {*read(model)} == {grid, better, *shipped[1:]}
