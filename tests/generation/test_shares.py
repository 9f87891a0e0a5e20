"""Shares share all images, and in any order write the folder that one process writes."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_killed import killed_at
from numbered import Numbered
from samples import contents

from adm.generation.folder import sample_into, sample_share
from adm.generation.job import Job
from adm.store import work
from adm.store.files import work_path
from adm.store.locks import InUse, locked
from adm.store.work import Share

COUNT = 10
JOB = Job(Numbered(), [0, 1] * 5, COUNT)
OTHER = replace(JOB, generator=Numbered(input_shape=None, classes=("a", "c")))


def run(out: Path, number: int, of: int, job: Job = JOB, **options: Any) -> list[range]:
    return sample_share(out, job, Share(number, of), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    sample_into(out, JOB)
    return contents(out)


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2], [2, 2, 3, 1], [1, 1, 3, 3, 2]])
def test_the_share_that_finds_all_images_writes_the_folder(
    tmp_path: Path, whole: dict[str, bytes], order: list[int]
) -> None:
    out, left = tmp_path / "out", COUNT
    for number in order:
        assert not out.exists()
        missing = sum(map(len, run(out, number, 3)))
        assert missing <= left
        left = missing
    assert left == 0
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert run(out, 1, 3) == []  # and again: it is complete
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_share_returns_the_missing_images(tmp_path: Path) -> None:
    assert run(tmp_path / "out", 2, 3) == [range(i, i + 1) for i in range(COUNT) if i % 3 != 1]


def test_folders_of_several_machines_are_copied_together(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "one" / "out"
    run(out, 1, 2)
    run(tmp_path / "two" / "out", 2, 2)
    shutil.copytree(tmp_path / "two", tmp_path / "one", dirs_exist_ok=True)
    sample_into(out, JOB)
    assert contents(out) == whole


def test_more_shares_than_images_leave_some_without_work(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    for number in range(1, 14):
        run(out, number, 13)
    assert contents(out) == whole


def test_a_share_of_another_job_is_refused_and_left(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, 1, 2, OTHER)
    before = contents(tmp_path)
    for share in (1, 2):
        with pytest.raises(ValueError, match=r"\.out\.parts holds parts .* is .* there"):
            run(out, share, 2)
    with pytest.raises(ValueError, match=r"\.out\.parts holds parts .* is .* there"):
        sample_into(out, JOB)
    assert contents(tmp_path) == before


def test_a_share_is_refused_beside_a_process_that_samples_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adm.generation.folder.STARTING_S", 0.0)
    out = tmp_path / "out"
    with locked(work_path(out)), pytest.raises(InUse, match="is in use"):
        run(out, 1, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("call", [1, 2])
def test_a_share_that_was_killed_goes_on(
    tmp_path: Path, whole: dict[str, bytes], call: int
) -> None:
    out = tmp_path / "out"
    assert killed_at(work, "write_npz", call, lambda: run(out, 1, 2))
    run(out, 2, 2)
    assert not out.exists()
    run(out, 1, 2)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_images_are_those_of_their_indices(tmp_path: Path) -> None:
    images = sample_into(tmp_path / "out", JOB)
    assert torch.equal(images[:, 0, 0, 0], torch.arange(COUNT, dtype=torch.uint8))
