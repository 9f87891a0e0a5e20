"""Shards, in any order and number and on any machine, write the folder that one process writes."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_killed import contents, killed_at
from numbered import Numbered
from torch import Tensor

from adm.cached import Cached
from adm.generation import cache, making
from adm.generation.cache import cache_path, lacking
from adm.generation.folder import sample_into
from adm.generation.job import Job
from adm.generation.sharded import sample_shard
from adm.generation.shares import Shard
from adm.store.locks import InUse, locked

COUNT = 10
BASE = Job(Numbered(), [0, 1] * 5, COUNT)
JOB = Job(Numbered(low_shape=(1, 4, 4)), [0, 1] * 5, COUNT, low_res=BASE)
OTHER = replace(BASE, generator=Numbered(shape=(1, 4, 4), seed=1))


def run(out: Path, number: int, of: int, job: Job = JOB, **options: Any) -> list[range]:
    return sample_shard(out, job, Shard(number, of), batch_size=2, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    sample_into(out, JOB, batch_size=3)
    return contents(out)


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2], [2, 2, 3, 1], [1, 1, 3, 3, 2]])
def test_the_shard_that_finds_all_images_writes_the_folder(
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


def test_a_shard_says_which_images_are_missing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(out, 2, 3) == [range(3), range(6, 10)]
    assert lacking(out, JOB) == [range(3), range(6, 10)]
    base = cache_path(out, Shard(2, 3)) / "base"
    next(iter(base.glob("*.npz"))).unlink()
    assert lacking(out, JOB) != [range(3), range(6, 10)]  # an image lacks its first one, too


def test_folders_of_several_machines_are_copied_together(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "one" / "out"
    run(out, 1, 2)
    run(tmp_path / "two" / "out", 2, 2)
    shutil.copytree(tmp_path / "two", tmp_path / "one", dirs_exist_ok=True)
    sample_into(out, JOB)
    assert contents(out) == whole


@pytest.mark.parametrize("after", [(1, 2), (2, 2), (2, 4), None])
def test_another_number_of_shards_uses_what_is_there(
    tmp_path: Path, whole: dict[str, bytes], after: tuple[int, int] | None
) -> None:
    out, made = tmp_path / "out", list[int]()
    run(out, 1, 3)
    run(out, 3, 3)
    told = made.append
    if after is None:
        sample_into(out, JOB, on_step=told)
    else:
        for number in {after[0], *range(1, after[1] + 1)}:
            run(out, number, after[1], on_step=told)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_more_shards_than_images_leave_some_without_work(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    for number in range(1, 14):
        run(out, number, 13)
    assert contents(out) == whole


def test_a_batch_of_another_shard_that_is_damaged_is_sampled_again(
    tmp_path: Path, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(out, 1, 2)
    damaged = next(iter(cache_path(out, Shard(1, 2)).glob("*.npz")))
    damaged.write_bytes(damaged.read_bytes()[:-9])
    run(out, 2, 2)
    assert f"{damaged.name} is damaged" in capsys.readouterr().err
    assert contents(out) == whole


@pytest.mark.parametrize("shard", [Shard(1, 2), Shard(2, 2), None])
def test_a_shard_of_another_job_is_refused_and_left(tmp_path: Path, shard: Shard | None) -> None:
    out = tmp_path / "out"
    run(out, 1, 2, OTHER)
    before = contents(tmp_path)
    told = r"1-of-2 holds a part of other samples: .* is .* there"
    with pytest.raises(ValueError, match=told):
        sample_into(out, JOB) if shard is None else run(out, shard.number, shard.of)
    assert contents(tmp_path) == before


def test_a_shard_runs_once_at_a_time_and_not_beside_one_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(cache_path(out, Shard(1, 2))):
        with pytest.raises(InUse, match=r"out\.part\.1-of-2 is in use by process"):
            run(out, 1, 2)
        with pytest.raises(InUse, match=r"out\.part\.1-of-2 is in use by process"):
            sample_into(out, JOB)
        assert run(out, 2, 2) == [range(5)]
    with locked(cache_path(out)), pytest.raises(InUse, match="is in use by process"):
        run(out, 1, 2)


@pytest.mark.parametrize("number", [1, 2])
def test_the_sum_of_all_processes_is_told(tmp_path: Path, number: int) -> None:
    """Of the work of others what is found at the start, and what they finish in the meantime."""
    out, told = tmp_path / "out", list[int]()
    run(out, 3 - number, 2)
    run(out, number, 2, on_step=told.append)
    assert sum(each for each in told if isinstance(each, Cached)) == COUNT


def test_batches_that_others_finish_are_counted(tmp_path: Path) -> None:
    told = list[int]()
    places = [tmp_path, tmp_path / "absent"]
    seen = making.Others(told.append, lambda: places, evaluations=3, seen=0)
    seen(5)
    images = torch.zeros((2, 1, 4, 4), dtype=torch.uint8)
    making.store(tmp_path, range(2, 4), images, "job")
    seen.look()
    seen.look()
    assert told == [5, 2 * 3]


def test_what_others_finish_before_the_first_step_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, told, finished = tmp_path / "out", list[int](), list[int]()

    def late(*given: Any) -> making.Others:
        left = run(out, 2, 2, BASE)
        finished.append(COUNT - sum(map(len, left)))
        others = making.Others(*given)
        others.look()
        return others

    monkeypatch.setattr(cache, "Others", late)
    run(out, 1, 2, BASE, on_step=told.append)
    assert told == finished
    assert finished[0] > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("name", "call"), [("store", 1), ("store", 2), ("store", 5)])
def test_a_shard_that_was_killed_goes_on(
    tmp_path: Path, whole: dict[str, bytes], name: str, call: int
) -> None:
    out = tmp_path / "out"
    assert killed_at(making, name, call, lambda: run(out, 1, 2))
    run(out, 2, 2)
    assert not out.exists()
    run(out, 1, 2)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@dataclass(frozen=True)
class Watching(Numbered):
    """Notes how many batches are waiting to be written while it makes one."""

    def images(self, labels: Any, indices: Any, low_res: Any = None, on_step: Any = None) -> Tensor:
        if on_step is not None:
            on_step(len(indices))
        return super().images(labels, indices, low_res)


def test_a_batch_is_written_while_the_next_is_sampled_and_few_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that does not come to its end is waited for once `WAITING` batches are behind it."""
    import threading

    sampled, most, may_write = list[int](), 1 + making.WAITING, threading.Event()

    def slow(*given: Any) -> Any:
        assert may_write.wait(60)
        return store(*given)

    def on_step(count: int) -> None:
        sampled.append(count)
        if len(sampled) == most:
            may_write.set()

    store = making.store
    monkeypatch.setattr(making, "store", slow)
    job = replace(BASE, generator=Watching())
    sample_into(tmp_path / "out", job, batch_size=1, on_step=on_step)
    assert sum(sampled) == COUNT


def test_an_error_of_the_writer_ends_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "store", full)
    with pytest.raises(OSError, match="No space left"):
        sample_into(tmp_path / "out", BASE, batch_size=1)
    assert list(tmp_path.iterdir()) == []
