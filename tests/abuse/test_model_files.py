"""Model files of anyone -> a model, or one line."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from mutations import NASTY, cut, flipped, one_line, paths, removed, replaced

from adm.models.load import load_any
from adm.models.paths import kind_of
from adm.training import model_file


def outcome(path: Path, read: object) -> object:
    try:
        return read(path)  # type: ignore[operator]
    except ValueError as error:
        return None if str(path) in one_line(error) else error


def check(path: Path) -> None:
    """The kind and the model are read, or refused with the name of the file."""
    kind: Any = outcome(path, kind_of)
    model: Any = outcome(path, load_any)
    assert not isinstance(kind, ValueError), "it does not name the file"
    assert not isinstance(model, ValueError), "it does not name the file"
    assert model is None or kind == model.recipe.kind


def parts(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def write(path: Path, header: object, rest: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)


def changed(value: object, chance: random.Random, count: int) -> Iterator[object]:
    """Copies with a nasty value in a place, or with nothing there."""
    places = [*paths(value)]
    for _ in range(count):
        yield replaced(value, chance.choice(places), chance.choice(NASTY))
        yield removed(value, chance.choice(places[1:]))


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_metadata_of_anyone(tmp_path: Path, kind: str) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.KINDS[kind]())
    header, rest = parts(path)
    metadata = json.loads(header["__metadata__"]["adm"])
    for made in changed(metadata, random.Random(kind), 12):
        try:
            text = json.dumps(made)
        except ValueError:  # a number of more digits than Python writes
            continue
        write(path, header | {"__metadata__": {"adm": text}}, rest)
        check(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 5},
        {"classes": None},
        {"classes": True},
        {"classes": [1]},
        {"classes": []},
        {"classes": ["a"] * 4},
        {"classes": ["a" * 100_000] * 3},
        {"step": -1},
        {"step": 10**30},
        {"step": "4"},
        {"step": 1.5},
        {"width": "0.1"},
        {"weights": []},
        {"data": {}},
        {"teacher": "fashion"},
        {"teacher": {"recipe": "fashion"}},
        {"guide": {"recipe": "c", "sha256": "0" * 63}},
        {"guide": {"recipe": "c", "sha256": "0" * 64, "trained_steps": -1}},
    ],
    ids=str,
)
def test_metadata_of_another_form_are_refused(tmp_path: Path, changes: dict) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    weights, metadata = model_file.load_model(path)
    model_file.save_model(path, weights, metadata | changes)
    with pytest.raises(ValueError, match="holds a damaged recipe or damaged classes"):
        load_any(path)


def test_tensors_of_anyone(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    header, rest = parts(path)
    tensors = {name: header[name] for name in list(header)[1:6]}
    for made in changed(tensors, random.Random(1), 25):
        try:
            write(path, header | made if isinstance(made, dict) else made, rest)
        except ValueError:
            continue
        check(path)


@pytest.mark.parametrize(
    "second",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]},
        {"dtype": "F32", "shape": [2], "data_offsets": [16, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]},
        {"dtype": "F32", "shape": [3], "data_offsets": [8, 16]},
        {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [8, 16]},
        {"dtype": "Q4", "shape": [2], "data_offsets": [8, 16]},
    ],
    ids=str,
)
def test_tensors_that_overlap_or_leave_gaps_are_refused(tmp_path: Path, second: dict) -> None:
    path, first = tmp_path / "m.safetensors", {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    write(path, {"__metadata__": {"adm": "{}"}, "a": first, "b": second}, bytes(16))
    with pytest.raises(ValueError, match="is not a model file, or it is damaged"):
        kind_of(path)


def test_bytes_of_anyone(tmp_path: Path) -> None:
    path, chance = tiny.model(tmp_path / "m.safetensors", tiny.diffusion()), random.Random(2)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(25):
        path.write_bytes(flipped(whole, chance, header))
        check(path)
        path.write_bytes(cut(whole, chance))
        assert outcome(path, kind_of) is outcome(path, load_any) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["diffusion", "classifier"])
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, kind: str, value: float
) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.KINDS[kind]())
    weights, metadata = model_file.load_model(path)
    weights["step_embedding.0.weight"][3, 2] = value
    model_file.save_model(path, weights, metadata)
    with pytest.raises(ValueError, match=r"step_embedding\.0\.weight in .* not finite; copy it"):
        load_any(path)


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    header, rest = parts(path)
    text = header["__metadata__"]["adm"]
    write(path, header | {"__metadata__": {"adm": text[:-1] + ', "classes": ["a"]}'}}, rest)
    with pytest.raises(ValueError, match="it has the key 'classes' twice"):
        kind_of(path)
