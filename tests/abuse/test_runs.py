"""A run folder with a damaged file -> the run goes on to the same end, or a line with the cure."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from mutations import refusal

from adm.app.runs import run
from adm.app.runs.watch.curves import read_log

FILES = ("run.json", "log.jsonl", "data.json")
CPU = torch.device("cpu")
RECIPE = tiny.diffusion("train.steps=2", "train.save_every_steps=1", "watch.images=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    tiny.steps(RECIPE, tiny.stripes(), folder)
    return folder


def attempted(folder: Path) -> str | None:
    """Resume; return the message of a refusal, or None if the run went on to its end."""
    return refusal(lambda: list(run.train_steps(RECIPE, tiny.stripes(), folder, CPU)), OSError)


def half(whole: Path, folder: Path) -> Path:
    """The run as it was after its first checkpoint; its log is ahead."""
    shutil.copytree(whole, folder, symlinks=True)
    shutil.rmtree(folder / "checkpoints" / "step-0000002")
    return folder


@pytest.mark.parametrize("name", [*FILES, ".lock"])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("absent/file"),
        os.mkfifo,
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: None,
    ],
    ids=["folder", "circle", "dangling", "pipe", "deep", "absent"],
)
def test_anything_in_the_place_of_a_file_is_refused_or_does_no_harm(
    whole: Path, tmp_path: Path, name: str, make: Callable[[Path], object]
) -> None:
    folder = half(whole, tmp_path / "run")
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    attempted(folder)
    assert not (tmp_path / "absent").exists()


LINE = b'{"step": 2, "loss": 1.0}\n'


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"loss": 1.0}\n', b'{"step": 0}\n', b'{"step": 1.5}\n', b'{"step": true}\n'),
        b'{"step": ' + b"9" * 9999 + b"}\n",
        b'{"step": 1, "loss": "\x1b[2J"}\n',
        b'{"step": 1, "loss": {"a": 1}}\n',
        b"[1, 2]\n",
        b"\x00\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"x" * 3_000_000 + b"\n",
        b'{"step": 1, "lo\n',
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_damaged_line_is_named_by_readers_and_dropped_on_resuming(
    whole: Path, tmp_path: Path, line: bytes
) -> None:
    folder = half(whole, tmp_path / "run")
    first = (folder / "log.jsonl").read_bytes().splitlines(keepends=True)[0]
    (folder / "log.jsonl").write_bytes(first + line + LINE)
    with pytest.raises(ValueError, match="damaged in line 2; remove that line, or resume"):
        read_log(folder / "log.jsonl")
    assert attempted(folder) is None
    lines = (folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    assert lines[0] == first
    assert [json.loads(entry)["step"] for entry in lines] == [1, 2]


def test_the_first_of_the_lines_of_a_step_remains(whole: Path, tmp_path: Path) -> None:
    folder = half(whole, tmp_path / "run")
    first = (folder / "log.jsonl").read_bytes().splitlines()[0]
    (folder / "log.jsonl").write_bytes(first + b"\n" + LINE + b'{"step": 1}\n' + first)
    assert attempted(folder) is None
    assert (folder / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
