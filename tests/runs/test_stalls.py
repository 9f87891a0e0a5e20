"""a rank that hangs, or is killed -> the run ends in time, with a sentence."""

import re

import launch
import pytest
import tiny

HANGS = {
    "a thread sleeps": "while True:\n    time.sleep(60)",
    "the process is stopped": launch.itself("SIGSTOP"),
}
# For the calls after that step, of which the hanging rank answers none, however slow it is.
SOON = """
from datetime import timedelta
from torch.distributed import distributed_c10d
distributed_c10d._set_pg_timeout(timedelta(seconds=1), distributed_c10d._get_default_group())
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", HANGS)
def test_a_process_that_hangs_ends_the_run_in_time(tmp_path, how):
    hang = launch.at_step(3, "", HANGS[how], rank=1)
    before = launch.at_step(3, "", SOON) + hang
    recipe = tiny.diffusion("train.steps=8", "train.save_every_steps=2", "watch.images=0")
    run, source = tmp_path / "run", tiny.stripes()
    files = tmp_path / "files"
    started = launch.train(files, recipe, source, run, processes=2, before=before)
    output = launch.finish(started, status=2)
    assert re.search(r"adm: process 0 \(\S+, pid \d+\) has waited too long for another", output)
    assert "Traceback" not in output
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-0000002"]


KILLED = {
    "in a step": launch.at_step(3, launch.itself("SIGKILL"), rank=1),
    "before the first step": (
        "import os, signal\n"
        "from adm.processes import Devices\n"
        "share, calls = Devices.share_failure, []\n"
        "def killed(self, failure):\n"
        "    calls.append(failure)\n"
        "    if len(calls) == 3 and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    share(self, failure)\n"
        "Devices.share_failure = killed\n"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", KILLED)
def test_a_process_that_is_killed_ends_the_other_with_one_line(tmp_path, when):
    recipe = tiny.diffusion("train.steps=8", "watch.images=0")
    started = launch.train(
        tmp_path / "a",
        recipe,
        tiny.stripes(),
        tmp_path / "run",
        processes=2,
        before=KILLED[when],
    )
    assert len([*started.ends()]) == 2
    output = started.output.read_text()
    assert [process.exitcode for process in started.processes] == [2, -9], output
    last = output.splitlines()[-1]
    assert last.startswith("adm: process 0 (")
    assert "lost contact with another process" in last
    assert "Traceback" not in output
