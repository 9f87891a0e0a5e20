"""a folder, two runs at once -> one trains; the other is refused, and changes nothing."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import launch
import pytest
import tiny
import torch

from adm.app.runs import run
from adm.store.locks import FILE, InUse

CPU = torch.device("cpu")
ROUNDS = 5
STEPS = 5
# Forks that begin at the same moment, so that they need not import torch first. Steps are slow
# enough for every fork to begin before the first has finished.
RIVALS = """
import json, os, sys, time
import torch
from adm.app.cli import main
import adm.app.runs.run
from adm.training import log

rounds, words = int(sys.argv[1]), sys.argv[2:]
written = log.write

def slowly(*given):
    time.sleep(0.1)
    written(*given)

def rival(wait, place):
    log.write = slowly
    os.read(wait, 1)
    with open(f"{place}.txt", "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        try:
            main([*words, "--out", place.rpartition("-")[0]])
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code)

for each in range(rounds):
    wait, go = os.pipe()
    pids = []
    for one in "ab":
        pids.append(os.fork())
        if not pids[-1]:
            rival(wait, f"run{each}-{one}")
    os.write(go, b"ab")
    for pid, one in zip(pids, "ab"):
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([each, pid, status, open(f"run{each}-{one}.txt").read()]), flush=True)
"""


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


@pytest.mark.parametrize(
    "end", [exhausted, stopped, failed, next, lambda progress: progress.close(), lambda _: None]
)
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


@pytest.mark.parametrize("name", ["run.json", "log.jsonl", "data.json"])
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
        with pytest.raises(ValueError, match="holds no run"):
            begun(tmp_path)


@pytest.mark.slow
def test_of_two_that_start_at_the_same_moment_one_trains(tmp_path: Path) -> None:
    recipe, data = launch.files(
        tmp_path, tiny.diffusion(f"train.steps={STEPS}", "watch.images=0"), tiny.stripes()
    )
    words = ["train", str(recipe), "--data", str(data), "--device", "cpu"]
    start = [sys.executable, "-c", RIVALS, str(ROUNDS), *words]
    done = subprocess.run(
        start, cwd=tmp_path, env=launch.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == 2 * ROUNDS
    for first, second in zip(ends[::2], ends[1::2], strict=True):
        _, (each, _, status, said) = sorted((first, second), key=lambda e: e[2])
        assert [first[2], second[2]] in ([0, 2], [2, 0]), (first, second)
        assert said.startswith(f"adm: run{each} is in use by another process"), said
        assert said.count("\n") == 1
        assert status == 2
        assert [line["step"] for line in launch.log(tmp_path / f"run{each}")] == [1, 2, 3, 4, 5]
        assert not (tmp_path / f"run{each}" / FILE).exists()


@pytest.mark.slow
def test_what_a_killed_run_held_is_free(tmp_path: Path) -> None:
    recipe, source, out = tiny.diffusion("train.steps=4"), tiny.stripes(), tmp_path / "run"
    killed = launch.train(tmp_path, recipe, source, out, before=launch.at_step(3, "SIGKILL"))
    launch.finish(killed, status=-9)
    assert (out / FILE).exists()
    launch.finish(launch.train(tmp_path, recipe, source, out))
    assert [line["step"] for line in launch.log(out)] == [1, 2, 3, 4]
    assert not (out / FILE).exists()
