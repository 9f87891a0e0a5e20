"""A model is identified by its weights and by what its recipe computes, and by nothing else."""

from pathlib import Path

import tiny
import torch

from adm.models.identity import identify
from adm.spec import to_json
from adm.training import model_file


def test_the_hash_is_of_weights_and_recipe_alone(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "m.safetensors", tiny.diffusion())
    original = identify(path)
    weights, metadata = model_file.load_weights(path), model_file.entries_of(path)

    def with_recipe(*settings: str) -> str:
        changed = {**metadata, "recipe": to_json(tiny.diffusion(*settings))}
        model_file.save_model(path, weights, changed)
        return identify(path)

    assert with_recipe() == original
    assert with_recipe("sample.sampler=ddim", "train.seed=9") == original
    assert with_recipe("process.schedule=linear") != original
    model_file.save_model(path, weights, {**metadata, "step": 7})
    assert identify(path) == original
    name = max(weights)
    changed = weights | {name: torch.nextafter(weights[name], torch.tensor(9.0))}
    model_file.save_model(path, changed, metadata)
    assert identify(path) != original
    swapped = dict(zip(weights, reversed(weights.values()), strict=True))
    model_file.save_model(path, swapped, metadata)
    assert identify(path) != original


def test_a_foreign_file_is_identified_by_its_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "a.pt", tmp_path / "b.pt"
    one.write_bytes(b"x")
    other.write_bytes(b"y")
    assert identify(one) != identify(other)
