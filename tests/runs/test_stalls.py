"""a rank that hangs, or is killed -> the run ends in time, with a sentence."""

import re
from textwrap import indent

import launch
import pytest
import tiny

HANGS = {
    "a thread sleeps": "time.sleep(600)",
    "the process is stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.launcher
@pytest.mark.parametrize("how", HANGS)
def test_a_process_that_hangs_ends_the_run_in_time(tmp_path, how):
    before = (
        "import os, signal, time\n"
        "from adm.training import log\n"
        "write = log.write\n"
        "def hang(lines, done, shown):\n"
        "    write(lines, done, shown)\n"
        "    if done == 3 and os.environ['RANK'] == '1':\n"
        f"        {HANGS[how]}\n"
        "log.write = hang\n"
        "import datetime\n"
        "from adm import processes\n"
        "processes.STALL = datetime.timedelta(seconds=9)\n"
    )
    recipe = tiny.diffusion("train.steps=8", "train.save_every_steps=2", "watch.images=0")
    run, source = tmp_path / "run", tiny.stripes()
    files = tmp_path / "files"
    started = launch.train(files, recipe, source, run, processes=2, before=before)
    output = launch.finish(started, status=2)
    assert re.search(r"adm: process 0 \(\S+, pid \d+\) has waited too long for another", output)
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
    assert "lost contact with another process" in last
    assert "Traceback" not in output
