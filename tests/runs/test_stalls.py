"""a rank that hangs -> the run ends in time, and names it."""

import re
from textwrap import indent

import launch
import pytest
import tiny

from adm.app.runs.stalls import Place, message

NAMES = ["north, pid 7", "south, pid 8", "west, pid 9"]
WAITING = Place(4, "training/update.py:90", True)


def test_the_one_that_waits_for_nobody_is_named() -> None:
    places = {0: WAITING, 1: Place(4, "data/source.py:140", False), 2: WAITING}
    text = message(places, NAMES, 60)
    assert "process 1 (south, pid 8) is at data/source.py:140; 2 of 3 processes wait" in text


def test_the_one_that_does_not_answer_is_named() -> None:
    text = message({0: WAITING, 1: WAITING}, NAMES, 60)
    assert "process 2 (west, pid 9) does not answer; 2 of 3" in text


def test_the_one_with_the_fewest_steps_is_named_where_all_of_them_wait() -> None:
    places = {0: WAITING, 1: WAITING, 2: Place(3, "training/update.py:90", True)}
    assert "process 2 (west, pid 9) is at training/update.py:90; 2 of 3" in message(
        places, NAMES, 60
    )


HANGS = {
    "a thread sleeps": "time.sleep(600)",
    "the process is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.launcher
@pytest.mark.parametrize("how", HANGS)
def test_a_process_that_hangs_ends_the_run_in_time_and_is_named(tmp_path, how):
    before = (
        "import os, signal, time\n"
        "from adm.training import log\n"
        "write = log.write\n"
        "def hang(lines, done, shown):\n"
        "    write(lines, done, shown)\n"
        "    if done == 3 and os.environ['RANK'] == '1':\n"
        f"        {HANGS[how]}\n"
        "log.write = hang\n"
        "from adm.app.runs import stalls\n"
        "stalls.ANSWER_S = 2.0\n"
    )
    recipe = tiny.diffusion("train.steps=8", "train.save_every_steps=2", "watch.images=0")
    run, source, stall = tmp_path / "run", tiny.stripes(), ("--stall", "0.15")
    files = tmp_path / "files"
    started = launch.train(files, recipe, source, run, *stall, processes=2, before=before)
    output = launch.finish(started, status=1)
    assert "no step ended in 9 s" in output
    who = "is at training/loop" if how == "a thread sleeps" else "does not answer"
    assert re.search(rf"process 1 \(\S+, pid \d+\) {who}", output)
    assert "Traceback" not in output
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-0000002"]


KILLED = {
    "in a step": launch.at_step(3, "SIGKILL"),
    "before the first step": (
        "import signal\n"
        "from adm.processes import Devices\n"
        "share, calls = Devices.share_failure, []\n"
        "def killed(self, failure):\n"
        "    calls.append(failure)\n"
        "    if len(calls) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    share(self, failure)\n"
        "Devices.share_failure = killed\n"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", KILLED)
def test_a_process_that_is_killed_ends_the_other_with_one_line(tmp_path, when):
    killed = f"if os.environ['RANK'] == '1':\n{indent(KILLED[when], '    ')}"
    recipe = tiny.diffusion("train.steps=8", "watch.images=0")
    started = launch.train(
        tmp_path / "a",
        recipe,
        tiny.stripes(),
        tmp_path / "run",
        processes=2,
        before=f"import os\n{killed}",
    )
    for process in started.processes:
        process.join(launch.START_S)
    output = started.output.read_text()
    assert [process.exitcode for process in started.processes] == [2, -9], output
    last = output.splitlines()[-1]
    assert last.startswith("adm: process 0 (")
    assert "has lost another" in last
    assert "Traceback" not in output
