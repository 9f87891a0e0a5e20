"""Untrusted model files -> a model, or one line."""

import json
from pathlib import Path

import pytest
import tiny

from adm.models.load import load_any
from adm.training import model_file
from adm.training.model_file import metadata_of


def parts(path: Path) -> tuple[dict, bytes]:
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:start]), content[start:]


def write(path: Path, header: object, rest: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + rest)


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 5},
        {"classes": [1]},
        {"classes": []},
        {"classes": ["a" * 100_000] * 3},
        {"step": -1},
        {"step": 10**30},
        {"data": {}},
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
        metadata_of(path)


def test_a_header_above_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((model_file.MOST_HEADER + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match=f"over {model_file.MOST_HEADER}"):
        model_file.entries_of(path)
