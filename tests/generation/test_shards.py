"""Shards share all images, and in any order write the folder that one process writes."""

import os
import shutil
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from generation.test_killed import killed_at
from hypothesis import given
from hypothesis import strategies as st
from numbered import Numbered
from samples import contents
from torch import Tensor

from adm.cached import Cached
from adm.generation.folder import sample_into, sample_shard
from adm.generation.job import Job
from adm.generation.shares import Shard
from adm.store.files import work_path
from adm.store.locks import InUse, locked
from adm.store.parts import Parts
from adm.store.spans import common, divide, union, without

COUNT = 10
JOB = Job(Numbered(), [0, 1] * 5, COUNT)
OTHER = replace(JOB, generator=Numbered(input_shape=None, classes=("a", "c")))


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


def test_a_shard_returns_the_missing_images(tmp_path: Path) -> None:
    assert run(tmp_path / "out", 2, 3) == [range(3), range(6, 10)]


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
def test_another_number_of_shards_uses_existing_parts(
    tmp_path: Path, whole: dict[str, bytes], after: tuple[int, int] | None
) -> None:
    out = tmp_path / "out"
    run(out, 1, 3)
    run(out, 3, 3)
    if after is None:
        sample_into(out, JOB)
    else:
        for number in {after[0], *range(1, after[1] + 1)}:
            run(out, number, after[1])
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_more_shards_than_images_leave_some_without_work(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "out"
    for number in range(1, 14):
        run(out, number, 13)
    assert contents(out) == whole


@pytest.mark.parametrize("shard", [Shard(1, 2), Shard(2, 2), None])
def test_a_shard_of_another_job_is_refused_and_left(tmp_path: Path, shard: Shard | None) -> None:
    out = tmp_path / "out"
    run(out, 1, 2, OTHER)
    before = contents(tmp_path)
    message = r"\.out\.parts holds a part of other samples: .* is .* there"
    with pytest.raises(ValueError, match=message):
        sample_into(out, JOB) if shard is None else run(out, shard.number, shard.of)
    assert contents(tmp_path) == before


def test_a_shard_runs_once_at_a_time_and_not_beside_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adm.generation.folder.STARTING_S", 0.0)
    out = tmp_path / "out"
    with locked(work_path(out), "shard-1-of-2.lock"):
        with pytest.raises(InUse, match=r"out is in use"):
            run(out, 1, 2)
        with pytest.raises(InUse, match=r"out is in use"):
            sample_into(out, JOB)
        assert run(out, 2, 2) == [range(5)]
    with locked(work_path(out)), pytest.raises(InUse, match="is in use"):
        run(out, 1, 2)


@pytest.mark.parametrize("number", [1, 2])
def test_the_images_of_other_shards_are_reported_as_cached(tmp_path: Path, number: int) -> None:
    progress = list[int]()
    run(tmp_path / "out", number, 2, replace(JOB, generator=Reporting()), on_step=progress.append)
    assert sum(progress) == COUNT
    assert sum(done for done in progress if isinstance(done, Cached)) == COUNT // 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("call", [1, 2])
def test_a_shard_that_was_killed_goes_on(
    tmp_path: Path, whole: dict[str, bytes], call: int
) -> None:
    out = tmp_path / "out"
    assert killed_at(Parts, "write", call, lambda: run(out, 1, 2))
    run(out, 2, 2)
    assert not out.exists()
    run(out, 1, 2)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@dataclass(frozen=True)
class Reporting(Numbered):
    """Reports how many images it makes."""

    def images(self, labels: Any, indices: Any, inputs: Any = None, on_step: Any = None) -> Tensor:
        if on_step is not None:
            on_step(len(indices))
        return super().images(labels, indices, inputs)


def test_the_images_are_those_of_their_indices(tmp_path: Path) -> None:
    images = sample_into(tmp_path / "out", JOB)
    assert torch.equal(images[:, 0, 0, 0], torch.arange(COUNT, dtype=torch.uint8))


SPANS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda p: range(p[0], sum(p)))
)


def indices(spans: list[range]) -> list[int]:
    return [index for span in spans for index in span]


@given(SPANS, st.integers(1, 9), st.integers(1, 7))
def test_every_image_is_in_one_share_and_blocks_are_not_divided(
    spans: list[range], of: int, block: int
) -> None:
    shares = [indices(Shard(number, of).share(spans, block)) for number in range(1, of + 1)]
    assert indices([range(i, i + 1) for share in shares for i in share]) == indices(union(spans))
    owners = [{index // block for index in share} for share in shares]
    whole = union(spans)
    if len(whole) == 1:
        assert sum(map(len, owners)) == len(set().union(*owners))
        assert max(map(len, owners)) - min(map(len, owners)) <= 1


@given(SPANS, SPANS)
def test_spans_are_sets_of_indices(some: list[range], others: list[range]) -> None:
    one, other = set(indices(some)), set(indices(others))
    for actual, expected in (
        (union(some), one),
        (without(some, others), one - other),
        (common(some, others), one & other),
    ):
        assert indices(actual) == sorted(expected)
        assert all(a.stop < b.start for a, b in pairwise(actual))


@given(SPANS, st.integers(1, 9))
def test_batches_hold_every_image_in_order(spans: list[range], size: int) -> None:
    batches = [*divide(spans, size)]
    assert indices(batches) == indices(spans)
    assert all(0 < len(batch) <= size for batch in batches)


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "4", "a/b", "1/4/2", "-1/4", "1.5/4", "", "9" * 99]
)
def test_a_text_that_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"shard must be a number from 1 .* such as 2/4"):
        Shard.parsed(text)


def test_a_shard_is_read_and_written() -> None:
    assert Shard.parsed(" 2/4 ") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"
