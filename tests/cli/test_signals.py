"""A signal during a command -> it removes temporary files and locks, and reports the stop."""

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import launch
import pytest
import tiny

from adm.app.cli.training import saving

# A verb that writes, and takes a while to clean up.
PROGRAM = """
import signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from adm.app import cli
from adm.store.files import new_file, new_folder
from adm.store.locks import locked

def call(words, **how):
    with locked(Path("run")), new_folder(Path("folder")), new_file(Path("run/file")):
        try:
            print("ready", flush=True)
            while True:
                time.sleep(0.01)
        finally:
            print("cleaning", flush=True)
            sys.stdin.readline()

cli.command_line = lambda words: call
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in background jobs
if sys.argv[2:] == ["nohup"]:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv = ["adm", sys.argv[1]]
cli.program()
"""


def started(workdir: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, *words]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=workdir, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize(
    ("number", "again"),
    [(signal.SIGTERM, True), (signal.SIGHUP, False), (signal.SIGINT, False), (signal.SIGINT, True)],
)
def test_a_stopped_command_leaves_nothing_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, again: bool
) -> None:
    child = started(tmp_path, "sample")
    child.send_signal(number)
    if again:
        assert child.stdout is not None
        assert child.stdout.readline() == "cleaning\n"
        child.send_signal(number)
        child.send_signal(signal.SIGTERM)
    assert (
        child.communicate("cleaned\n")[1] == "adm: stopped; run the same command again to resume\n"
    )
    assert child.returncode == 128 + number
    assert list(tmp_path.rglob("*")) == []


STATUS = 128 + signal.SIGHUP


def checkpoints_of(run: Path) -> list[str]:
    return [folder.name for folder in (run / "checkpoints").glob("step-*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_each_signal_asks_the_run_to_stop(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = signal.default_int_handler  # shells ignore SIGINT in background jobs
    before = signal.signal(number, handler)
    try:
        with saving() as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            assert stop()
            assert stop.signal == number
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "\nsaving after this step, then exiting\n"


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_with_a_checkpoint(tmp_path: Path) -> None:
    recipe, source, run = tiny.diffusion("train.steps=9"), tiny.stripes(), tmp_path / "run"
    terminal, other = pty.openpty()
    setup = (  # a session of its own, in which the terminal is opened
        f"import os, signal\nos.setsid()\nterminal = os.open({os.ttyname(other)!r}, os.O_RDWR)\n"
        "for stream in (1, 2):\n    os.dup2(terminal, stream)\n"
        "arrival, of_signals = os.pipe()\n"
        "os.set_blocking(of_signals, False)\n"
        "signal.set_wakeup_fd(of_signals)\n"
    )
    # Whichever thread a signal interrupts, Python writes its number at once.
    wait = "os.write(terminal, b'waiting')\nassert os.read(arrival, 1)[0] == signal.SIGHUP"
    started = launch.train(tmp_path, recipe, source, run, before=setup + launch.at_step(3, wait))
    shown = b""
    while b"waiting" not in shown:
        assert select.select([terminal], [], [], launch.LONGEST_S)[0]
        shown += os.read(terminal, 1 << 16)
    for end in (other, terminal):  # SIGHUP follows, as at the end of an SSH connection
        os.close(end)
    assert started.wait() == STATUS
    assert checkpoints_of(run) == ["step-0000003"]
    launch.finish(launch.train(tmp_path, recipe, source, run))
    assert [line["step"] for line in launch.log(run)] == [*range(1, 10)]
