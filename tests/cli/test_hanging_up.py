"""A closed terminal -> the run saves and exits, whether or not it can still say so."""

import os
import pty
import signal
import time
from pathlib import Path

import launch
import psutil
import pytest
import tiny

from adm.app.cli.training import saving

STATUS = 128 + signal.SIGHUP


def saved(run: Path) -> list[str]:
    return [folder.name for folder in (run / "checkpoints").glob("step-*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_each_signal_asks_the_run_to_stop(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    own = signal.default_int_handler  # shells ignore SIGINT in background jobs
    before = signal.signal(number, own)
    try:
        with saving() as stop:
            assert not stop()
            os.kill(os.getpid(), number)
            assert stop()
            assert stop.signal == number
        assert signal.getsignal(number) is own
    finally:
        signal.signal(number, before)
    assert capsys.readouterr().err == "\nsaving after this step, then exiting\n"


def test_an_ignored_hang_up_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with saving() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_with_a_checkpoint(tmp_path: Path) -> None:
    recipe, source, run = tiny.diffusion("train.steps=9"), tiny.stripes(), tmp_path / "run"
    terminal, other = pty.openpty()
    own = (  # a session of its own, in which the terminal is opened
        f"import os\nos.setsid()\nterminal = os.open({os.ttyname(other)!r}, os.O_RDWR)\n"
        "for stream in (1, 2):\n    os.dup2(terminal, stream)\n"
    )
    started = launch.train(tmp_path, recipe, source, run, before=own + launch.at_step(3, "SIGSTOP"))
    process = psutil.Process(started.processes[0].pid)
    while process.status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)
    for end in (other, terminal):  # SIGHUP and SIGCONT follow, as at the end of an SSH connection
        os.close(end)
    assert started.wait() == STATUS
    assert saved(run) == ["step-0000003"]
    launch.finish(launch.train(tmp_path, recipe, source, run))
    assert [line["step"] for line in launch.log(run)] == [*range(1, 10)]
