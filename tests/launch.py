"""recipe, images -> `adm train` in a process of its own, or in several."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from adm.data import Source
from adm.recipes import Recipe
from adm.spec import to_json

START_S = 60  # for a process to import what it needs, on a busy machine


def files(folder: Path, recipe: Recipe, source: Source) -> tuple[Path, Path]:
    """The recipe as JSON and the images as .npz."""
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = source.batch(range(len(source)))
    data = folder / "data.npz"
    arrays = {"arr_0": images.permute(0, 2, 3, 1).numpy(), "arr_1": labels.numpy()}
    np.savez(data, classes=np.array(source.classes), **arrays)
    path = folder / "recipe.json"
    path.write_text(json.dumps(to_json(recipe)))
    return path, data


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}


def train(
    folder: Path,
    recipe: Recipe,
    source: Source,
    run: Path,
    *options: str,
    processes: int = 1,
    before: str = "",
) -> subprocess.Popen[str]:
    """Start `adm train`; `before` is Python that the process runs first."""
    path, data = files(folder, recipe, source)
    words = ["train", str(path), "--data", str(data), "--out", str(run), "--device", "cpu"]
    return command(folder, [*words, *options], processes=processes, before=before)


def command(
    folder: Path, words: Sequence[str], *, processes: int = 1, before: str = ""
) -> subprocess.Popen[str]:
    """Start `adm` in a process of its own, or in several; `before` is Python that each runs first.

    Args:
        folder: where the script is put.
    """
    script = folder / "start.py"
    script.write_text(f"{before}\nfrom adm.app.cli import program\nprogram()\n")
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen(
        [*start, str(script), *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def at_step(step: int, signal: str) -> str:
    """Python for `before`: a signal to the process itself, before the line of a step is written."""
    return (
        "import os, signal\n"
        "from adm.training import log\n"
        "written = log.write\n"
        "def write(lines, done, shown):\n"
        f"    done == {step} and os.kill(os.getpid(), signal.{signal})\n"
        "    written(lines, done, shown)\n"
        "log.write = write\n"
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for the end, which must have this exit status; returns what was printed."""
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == status, printed
    return printed


def outcome(run: Path) -> dict[str, bytes]:
    """The last checkpoint's files and the log, byte for byte."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {file.name: file.read_bytes() for file in [*sorted(last.iterdir()), run / "log.jsonl"]}


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path, figure: str = "loss") -> torch.Tensor:
    return torch.tensor([line[figure] for line in log(run) if figure in line])
