"""Run folders with files that are cut, flipped, swapped, renamed, replaced -> resumed, or one line.

A seeded sample; `tests/training/test_parts.py` has a case of each kind.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from mutations import damaged, json_bytes, refusal

from adm.models.load import load_any
from adm.processes import Devices
from adm.recipes import build
from adm.training import checkpoint, posthoc
from adm.training.players import RunState

SETTINGS = ("train.save_every_steps=2", "watch.images=0", "train.ema_widths=0.1")
CHOSEN = tiny.diffusion(*SETTINGS)
ALONE = Devices(torch.device("cpu"))
Mutation = Callable[[list[Path], random.Random], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints and averages after 2 and 4 steps."""
    run = tmp_path_factory.mktemp("run") / "whole"
    tiny.steps(CHOSEN, tiny.stripes(), run)
    return run


def damage_one(files: list[Path], chance: random.Random) -> None:
    file = chance.choice(files)
    file.write_bytes(damaged(chance, file.read_bytes()))


def remove_one(files: list[Path], chance: random.Random) -> None:
    chance.choice(files).unlink()


def exchange_two(files: list[Path], chance: random.Random) -> None:
    one, other = chance.sample(files, 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def put_a_folder_in_the_place_of_one(files: list[Path], chance: random.Random) -> None:
    file = chance.choice(files)
    file.unlink()
    file.mkdir()


def put_a_file_in_the_place_of_a_folder(files: list[Path], chance: random.Random) -> None:
    folder = chance.choice(files).parent
    shutil.rmtree(folder)
    folder.write_bytes(b"")


def rename_a_folder(files: list[Path], chance: random.Random) -> None:
    folder = chance.choice(files).parent
    name = chance.choice(["step-abc", "step-" + "9" * 200, "step-0000003", "step--000004"])
    folder.rename(folder.with_name(name))


def change_a_value(files: list[Path], chance: random.Random) -> None:
    file = chance.choice([each for each in files if each.name == "state.json"])
    file.write_bytes(json_bytes(chance, file.read_bytes()))


MUTATIONS: tuple[Mutation, ...] = (
    damage_one,
    remove_one,
    exchange_two,
    put_a_folder_in_the_place_of_one,
    put_a_file_in_the_place_of_a_folder,
    rename_a_folder,
    change_a_value,
)


def step_restored(run: Path) -> int | None:
    """The step from which a run continues, in memory; None at its beginning."""
    found = checkpoint.intact(run, ALONE)
    state = RunState(build.players(CHOSEN, build.networks(CHOSEN), ALONE))
    return None if found is None else checkpoint.restore(found, state).step


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_run_is_resumed_or_refused(
    whole: Path, tmp_path: Path, mutation: Mutation, seed: int
) -> None:
    run, chance = tmp_path / "run", random.Random(f"{mutation.__name__} {seed}")
    shutil.copytree(whole, run, symlinks=True)
    files = [path for path in run.rglob("*") if path.is_file() and path.parent != run]
    mutation(sorted(set(files) - {*run.glob("checkpoints/best/*")}), chance)
    found: list[int | None] = []
    for read in (lambda: load_any(run).trained_steps, lambda: step_restored(run)):
        refusal(lambda: found.append(read()), OSError)  # noqa: B023
    refusal(lambda: posthoc.reconstruct(run, 0.1), OSError)
    assert {*found} <= {None, 2, 4}
