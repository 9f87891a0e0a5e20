"""recipe, images -> `adm train` in one process or in several.

A process is a fork of a server that has imported the package once, which takes seconds.
"""

import atexit
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import torch
from samples import archive

from adm.data import Source
from adm.recipes import Recipe
from adm.spec import to_json

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *(f"adm.app.cli.{verb}" for verb in ("train", "sample", "evaluate", "nearest")),
        *(
            "torch._dynamo",
            "matplotlib.backends.backend_agg",
        ),  # imported by an optimizer and a figure
    ]
)
LONGEST_S = 600  # no event takes so long: then a test fails, rather than wait forever


def files(folder: Path, recipe: Recipe, source: Source) -> tuple[Path, Path]:
    """The recipe as JSON and the images as .npz."""
    folder.mkdir(parents=True, exist_ok=True)
    data = archive(folder / "data.npz", *source.batch(range(len(source))), source.classes)
    path = folder / "recipe.json"
    path.write_text(json.dumps(to_json(recipe)))
    return path, data


class Launched(NamedTuple):
    """Processes of one command, and the file of their output."""

    processes: list[BaseProcess]
    output: Path

    def kill(self) -> None:
        for process in self.processes:
            process.kill()

    def wait(self) -> int:
        """Return 0, or the first other exit status, after killing the other processes."""
        status = 0
        for code in self.ends():
            if code and not status:
                status = code
                self.kill()
        return status

    def ends(self) -> Iterator[int | None]:
        """Yield the exit status of each process, in the order in which they end."""
        pending = {each.sentinel: each for each in self.processes}
        while pending:
            ended = wait(pending, LONGEST_S)
            if not ended:
                self.kill()  # or Python would wait for them at its end
                raise AssertionError(self.output.read_text())
            for each in ended:
                process = pending.pop(each)  # type: ignore[arg-type]
                process.join()
                yield process.exitcode


def train(
    folder: Path,
    recipe: Recipe,
    source: Source,
    run: Path,
    *options: str,
    processes: int = 1,
    before: str = "",
) -> Launched:
    """Start `adm train`; `before` is Python that the process runs first."""
    path, data = files(folder, recipe, source)
    words = ["train", str(path), "--data", str(data), "--out", str(run), "--device", "cpu"]
    return command(folder, [*words, *options], processes=processes, before=before)


def command(
    folder: Path, words: Sequence[str], *, processes: int = 1, before: str = ""
) -> Launched:
    """Start `adm` in one process or in several; `before` is Python that each runs first.

    Args:
        folder: for the file of their output.
    """
    output = folder / "printed"
    output.write_text("")
    ranks = [os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"} for _ in range(processes)]
    if processes > 1:  # as torchrun would
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{free.getsockname()[1]}"}
        place |= {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": f"{processes}"}
        for rank, variables in enumerate(ranks):
            variables |= place | {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}"}
    started = [FORKS.Process(target=_run, args=(words, before, output, each)) for each in ranks]
    for process in started:
        process.start()
    return Launched(started, output)


def _run(words: Sequence[str], before: str, output: Path, variables: dict[str, str]) -> None:
    """Run the program `adm`."""
    printed = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(printed, stream)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["adm", *words]
    exec(before, {})
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    from adm.app.cli import program

    try:
        program()
    finally:
        atexit._run_exitfuncs()  # skipped by a fork


def at_step(step: int, act: str, after: str = "", rank: int | None = 0) -> str:
    """Python for `before`: what a rank, or each, does before it logs a step, and after it has."""
    return (
        "import os, signal, time\n"
        "from adm.training import log\n"
        "def write(lines, done, shown, written=log.write):\n"
        f"    due = done == {step} and {rank} in (None, int(os.environ.get('RANK', '0')))\n"
        f"    if due:\n{indent(act or 'pass', 8 * ' ')}\n"
        "    written(lines, done, shown)\n"
        f"    if due:\n{indent(after or 'pass', 8 * ' ')}\n"
        "log.write = write\n"
    )


def itself(signal: str) -> str:
    """Python that sends a signal to the process that runs it."""
    return f"os.kill(os.getpid(), signal.{signal})"


def finish(started: Launched, status: int = 0) -> str:
    """Wait for the end, which must have this exit status; return the output."""
    actual = started.wait()
    printed = started.output.read_text()
    assert actual == status, printed
    return printed


def outcome(run: Path) -> dict[str, bytes]:
    """The last checkpoint's files and the log, byte for byte."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {file.name: file.read_bytes() for file in [*sorted(last.iterdir()), run / "log.jsonl"]}


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path, figure: str = "loss") -> torch.Tensor:
    return torch.tensor([line[figure] for line in log(run) if figure in line])
