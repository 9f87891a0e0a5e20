"""Model file <-> the grids beside it: which are read, which are refused, and the messages."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny

from adm.models.identity import identify
from adm.models.paths import measurement
from adm.models.stored_grids import NAME, StoredGrid, levels_for, read, store
from adm.spec import SettingError


@pytest.fixture(name="model")
def _model(tmp_path: Path) -> Path:
    return tiny.model(tmp_path / "model.safetensors", tiny.diffusion())


def grid(model: Path, *levels: float, scale: float = 0.0) -> StoredGrid:
    return StoredGrid(
        steps=len(levels),
        start=int(levels[-1]),
        scale=scale,
        levels=levels,
        deviation=0.25,
        model=identify(model),
    )


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("x.safetensors", "x.grids.json"),
        ("64x64_diffusion.pt", "64x64_diffusion.grids.json"),
        ("run/checkpoints/step-0000010/model.safetensors", "run/grids.json"),
        ("run/checkpoints/step-0000010/student/model.safetensors", "run/grids.json"),
    ],
)
def test_the_file_is_beside_the_model_or_in_the_run_folder(model: str, file: str) -> None:
    assert measurement(Path(model), NAME) == Path(file)


def test_what_is_stored_is_read_and_a_later_search_replaces_its_own_kind_only(model: Path) -> None:
    one, two, guided = grid(model, 3, 9), grid(model, 3, 5.5, 9), grid(model, 4, 9, scale=2.0)
    assert read(model) == ()
    store(model, [one, guided])
    store(model, [two, replace(one, levels=(2.5, 9.0))])
    assert set(read(model)) == {two, guided, replace(one, levels=(2.5, 9.0))}


def test_the_levels_are_those_of_the_steps_the_start_and_the_nearest_scale(model: Path) -> None:
    store(
        model,
        [
            grid(model, 3, 9),
            grid(model, 4, 9, scale=2.0),
            grid(model, 5, 9, scale=8.0),
            grid(model, 2, 8),
            grid(model, 1, 5, 9),
        ],
    )
    assert levels_for(model, 2, 9, 0.0) == (3, 9)
    assert levels_for(model, 2, 9, 2.4) == (4, 9)
    assert levels_for(model, 2, 9, 100.0) == (5, 9)
    assert levels_for(model, 2, 8, 2.0) == (2, 8)
    assert levels_for(model, 2, None, 0.9) == (3, 9)
    assert levels_for(model, 3, None, 0.0) == (1, 5, 9)


def test_a_missing_grid_is_refused_with_the_stored_ones_and_the_command(model: Path) -> None:
    def refused(*arguments: Any) -> SettingError:
        with pytest.raises(SettingError) as error:
            levels_for(model, *arguments)
        return error.value

    command = f"`adm grid {model} --steps 4`"
    assert command in refused(4, None, 0.0).cure
    store(model, [grid(model, 3, 9), grid(model, 1, 5, 9), grid(model, 4, 9, scale=2.0)])
    error = refused(4, 9, 0.0)
    assert (error.field, error.got) == ("steps", 4)
    assert error.expected.startswith("one of 2, 3, ")
    assert refused(4, 8, 0.0).cure == f"run {command[:-1]} --start 8`"
    tiny.model(model, tiny.diffusion(), seed=1)
    assert refused(2, 9, 0.0).field == "grid"


DAMAGES = {
    "no JSON": "[{",
    "too deep": "[" * 200,
    "steps": {"steps": 3},
    "descending": {"levels": [9.0, 3.0]},
    "beyond the start": {"levels": [3.0, 900.0]},
    "before the first": {"levels": [0.5, 9.0]},
    "no number": {"levels": [None, 9.0]},
    "hash": {"model": "../../etc/passwd"},
    "deviation": {"deviation": -1.0},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(model: Path, damage: str) -> None:
    content = DAMAGES[damage]
    path = store(model, [grid(model, 3, 9)])
    if isinstance(content, dict):
        stored = json.loads(path.read_text())
        stored["grids"][0] |= content
        content = json.dumps(stored)
    path.write_text(content)
    for use in (lambda: levels_for(model, 2, 9, 0.0), lambda: store(model, [grid(model, 3, 9)])):
        with pytest.raises(ValueError, match=r"grids\.json is damaged \(.*; search again") as error:
            use()
        assert len(str(error.value).splitlines()) == 1
    assert path.read_text() == content
