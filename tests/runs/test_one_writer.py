"""a folder, two runs at once -> one trains; the other is refused, and changes nothing."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from adm.runs import run
from adm.store.locks import FILE, InUse

CPU = torch.device("cpu")


def begun(folder: Path) -> Any:
    return run.train_steps(tiny.diffusion(), tiny.stripes(), folder, CPU)


def exhausted(progress: Any) -> None:
    assert len(list(progress)) == 4


def stopped(progress: Any) -> None:
    next(progress)
    for _ in progress:
        break


def failed(progress: Any) -> None:
    next(progress)
    with pytest.raises(KeyError):
        progress.throw(KeyError)


@pytest.mark.parametrize("end", [exhausted, stopped, failed, lambda _: None])
def test_a_run_holds_its_folder_until_its_iterator_ends_or_is_deleted(
    tmp_path: Path, end: Callable[[Any], object]
) -> None:
    progress = begun(tmp_path)
    with pytest.raises(InUse, match="in use by another process"):
        begun(tmp_path)
    end(progress)
    del progress
    gc.collect()
    assert not (tmp_path / FILE).exists()
    begun(tmp_path)


@pytest.mark.parametrize("name", ["run.json", "log.jsonl"])
def test_a_link_in_a_run_folder_is_not_written_through(tmp_path: Path, name: str) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    (run / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"{name} is a link, and no file of a run; remove it"):
        begun(run)
    assert not elsewhere.exists()


def test_a_run_that_is_refused_leaves_its_folder_free(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for _ in range(2):
        with pytest.raises(ValueError, match="is not empty and holds no run; choose another"):
            begun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
