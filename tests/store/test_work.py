"""Work is the same by any processes, in any order, and after any interruption."""

import os
import shutil
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scoring.stubs import together

from adm.processes import Devices
from adm.store.work import ALL, Arrays, Share, Work, work_in

ALONE = Devices(torch.device("cpu"))
COUNT = 22


class Killed(BaseException):
    """As a Ctrl-C."""


def work_of(folder: Path, **changes: Any) -> Work:
    return replace(Work(folder, COUNT, 4, {"seed": 1, "labels": [0, 1]}), **changes)


def squares(span: range, _: Any, report: Callable[[int], object]) -> Arrays:
    report(2 * len(span))
    items = np.array(span)
    return {"square": items**2, "row": np.repeat(items[:, None], 3, 1).astype(np.float32)}


def run(work: Work, devices: Devices = ALONE, make: Any = squares, **options: Any) -> list[int]:
    reported: list[int] = []
    work.run(make, devices, reported.append, cost=2, **options)
    return reported


def assembled(work: Work) -> bytes:
    arrays = work.assemble(ALONE)
    assert np.array_equal(arrays["square"], np.arange(COUNT) ** 2)
    assert np.array_equal(arrays["row"][:, 1], np.arange(COUNT))
    return (work.folder / "whole.npz").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    work = work_of(tmp_path_factory.mktemp("whole"), size=COUNT)
    run(work)
    return assembled(work)


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_the_size_of_a_part_changes_no_byte(tmp_path: Path, whole: bytes, size: int) -> None:
    work = work_of(tmp_path, size=size)
    reported = run(work)
    assert reported[0] == 0
    assert sum(reported) == 2 * COUNT
    assert assembled(work) == whole


@pytest.mark.parametrize("parts", range(6))
def test_what_was_interrupted_goes_on_after_its_last_part(
    tmp_path: Path, whole: bytes, parts: int
) -> None:
    work, made = work_of(tmp_path), list[range]()

    def make(span: range, *rest: Any) -> Arrays:
        if len(made) == parts:
            raise Killed
        made.append(span)
        return squares(span, *rest)

    with pytest.raises(Killed):
        run(work, make=make)
    assert parts or not [*tmp_path.iterdir()]  # nothing is left by one that made nothing
    assert work.missing() == work.spans[parts:]
    reported = run(work)
    assert reported[0] == 2 * 4 * parts
    assert sum(reported) == 2 * COUNT
    assert assembled(work) == whole
    assert run(work) == [2 * COUNT]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", ["mkdir", "replace", "rmdir"])
@pytest.mark.parametrize("call", [1, 2, 4])
def test_what_was_killed_goes_on(tmp_path: Path, whole: bytes, name: str, call: int) -> None:
    work = work_of(tmp_path / "work")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which it does not use
        child = os.fork()
    if not child:
        left, function = [call], getattr(os, name)

        def deadly(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        setattr(os, name, deadly)
        try:
            run(work)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    run(work)
    assert assembled(work) == whole


@pytest.mark.parametrize("world", [2, 3, 9])
@pytest.mark.parametrize("before", [[], [1], [0, 2, 4], range(6)])
def test_ranks_share_what_is_missing(
    tmp_path: Path, whole: bytes, world: int, before: list[int]
) -> None:
    work = work_of(tmp_path)
    run(work)
    for i, span in enumerate(work.spans):
        if i not in before:
            work.path(span).unlink()
    due = sum(len(span) for span in work.missing())
    made: list[range] = []

    def make(span: range, *rest: Any) -> Arrays:
        made.append(span)
        return squares(span, *rest)

    by_rank = together(world, lambda devices: run(work, devices, make))
    assert sorted(made, key=lambda span: span.start) == [
        span for i, span in enumerate(work.spans) if i not in before
    ]
    for reported in by_rank:  # every rank that made something counts for all
        assert reported[0] == 2 * (COUNT - due)
        assert sum(reported) in (2 * (COUNT - due), 2 * COUNT)
    assert assembled(work) == whole


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2], [2, 2, 3, 1]])
def test_shares_are_made_in_any_order(tmp_path: Path, whole: bytes, order: list[int]) -> None:
    work = work_of(tmp_path)
    for number in order:
        assert work.missing()
        run(work, share=Share(number, 3))
    assert assembled(work) == whole


def test_two_workers_at_once_make_the_same(tmp_path: Path, whole: bytes) -> None:
    work, both = work_of(tmp_path, size=COUNT), Barrier(2, timeout=60)

    def make(*args: Any) -> Arrays:
        both.wait()  # both have found the part missing
        return squares(*args)

    # Each is alone, as far as it knows.
    together(2, lambda devices: run(work, ALONE, make))
    assert assembled(work) == whole


def test_parts_are_copied_together(tmp_path: Path, whole: bytes) -> None:
    for number in (1, 2):
        run(work_of(tmp_path / str(number)), share=Share(number, 2))
    shutil.copytree(tmp_path / "2", tmp_path / "1", dirs_exist_ok=True)
    assert assembled(work_of(tmp_path / "1")) == whole


OTHER = {"seed": 2, "labels": [0, 1]}


def test_parts_of_another_identity_are_not_used(tmp_path: Path, whole: bytes) -> None:
    run(work_of(tmp_path, identity=OTHER))
    work = work_of(tmp_path)
    assert work.missing() == work.spans
    assert run(work)[0] == 0
    assert assembled(work) == whole


@pytest.mark.parametrize("share", [ALL, Share(2, 2)])
def test_shares_of_another_identity_are_refused_and_left(tmp_path: Path, share: Share) -> None:
    other = work_of(tmp_path, identity=OTHER)
    run(other, share=Share(1, 2))
    missing = other.missing()
    with pytest.raises(ValueError, match="other settings: seed is 2 there and 1 here; give the"):
        run(work_of(tmp_path), share=share)
    assert other.missing() == missing


def emptied(content: bytes) -> bytes:
    return bytes(len(content))


def truncated(content: bytes) -> bytes:
    return content[:-20]


def changed(content: bytes) -> bytes:
    middle = content.index(b"NUMPY") + 200
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [emptied, truncated, changed])
def test_a_damaged_part_is_made_again(
    tmp_path: Path, whole: bytes, damage: Callable[[bytes], bytes]
) -> None:
    work = work_of(tmp_path)
    run(work)
    path = work.path(work.spans[2])
    path.write_bytes(damage(path.read_bytes()))
    assert work.missing() == [work.spans[2]]
    with pytest.raises(ValueError, match=rf"{path.name} is missing or damaged; run the same"):
        work.assemble(ALONE)
    run(work)
    assert assembled(work) == whole


def test_a_part_of_other_inputs_is_made_again(tmp_path: Path) -> None:
    images = np.arange(COUNT * 3, dtype=np.uint8).reshape(COUNT, 3)
    made: list[range] = []

    def make(span: range, inputs: np.ndarray, report: Callable[[int], object]) -> Arrays:
        made.append(span)
        report(2 * len(span))
        return {"sum": inputs.sum(1)}

    work = work_of(tmp_path)
    for world in (1, 2):
        for change in ([], [5], [0, 21]):
            images[change] += 1
            reported = together(
                world,
                lambda devices: run(work, devices, make, inputs=lambda s: images[s.start : s.stop]),
            )
            assert sorted({i // 4 for i in change} or {span.start // 4 for span in made}) == sorted(
                span.start // 4 for span in made
            )
            assert all(sum(each) == 2 * COUNT for each in reported)
            made.clear()
            assert np.array_equal(work.assemble(ALONE)["sum"], images.sum(1))


def test_ranks_that_do_not_see_one_folder_are_told_before_any_work(tmp_path: Path) -> None:
    def attempt(devices: Devices) -> None:
        run(work_of(tmp_path / str(devices.rank)), devices, make=lambda *_: pytest.fail("made"))

    for error in together(2, attempt):
        assert isinstance(error, ValueError)
        assert "for processes [1] as for process 0; choose one on a disk that all" in str(error)


def test_a_failure_of_one_rank_is_everyone_s(tmp_path: Path) -> None:
    def make(span: range, *rest: Any) -> Arrays:
        assert span.start != 8
        return squares(span, *rest)

    for error in together(2, lambda devices: run(work_of(tmp_path), devices, make)):
        assert isinstance(error, AssertionError)


def test_a_temporary_folder_is_removed_and_its_arrays_remain(tmp_path: Path) -> None:
    with work_in(None, ALONE) as folder:
        run(work_of(folder))
        arrays = work_of(folder).assemble(ALONE)
    assert not folder.exists()
    assert np.array_equal(arrays["square"], np.arange(COUNT) ** 2)


@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 7))
def test_every_part_is_in_one_share(count: int, size: int, of: int) -> None:
    spans = work_of(Path(), count=count, size=size).spans
    assert [i for span in spans for i in span] == [*range(count)]
    shares = [Share(number, of).among(spans) for number in range(1, of + 1)]
    assert sorted((span for share in shares for span in share), key=lambda s: s.start) == spans
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "1/0", "4", "a/b", "1/4/2", "-1/4", "1.5/4", "", "9" * 99]
)
def test_a_text_that_names_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no part: part=2/4 is the second of four"):
        Share.parse(text)


def test_a_share_is_read_and_written() -> None:
    assert Share.parse(" 2/4 ") == Share(2, 4)
    assert str(Share(2, 4)) == "2/4"
