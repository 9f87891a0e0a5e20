"""Environment, cores, a quota -> the variables that OpenMP reads before torch is loaded."""

import os
import re
import subprocess
import sys

import pytest

from adm.app import openmp
from adm.app.openmp import Cores, busy_cores, configure, usable_cores, variables

OWN = ("OMP_", "GOMP_", "KMP_", "MKL_", "LOCAL_WORLD_SIZE")
BOUNDED = f"GOMP_SPINCOUNT = '({openmp.SPINS}|{openmp.SPINS_UNDER_LOAD})'"
SPIN = {"GOMP_SPINCOUNT": str(openmp.SPINS), "KMP_BLOCKTIME": str(openmp.BLOCK_TIME)}


def run(code, *words, **environment):
    """Run a process in a clean environment, in which OpenMP prints its settings on loading."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=clean | {"OMP_DISPLAY_ENV": "VERBOSE"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(
    ("environment", "usable", "threads", "expected"),
    [
        ({}, 8, None, None),  # as OpenMP does by itself
        ({}, 3, None, "3"),
        ({"LOCAL_WORLD_SIZE": "4"}, 8, None, "2"),
        ({"LOCAL_WORLD_SIZE": "16"}, 8, None, "1"),
        ({"LOCAL_WORLD_SIZE": "many"}, 3, None, "3"),
        ({"OMP_NUM_THREADS": "7"}, 3, None, None),
        ({"OMP_NUM_THREADS": "7"}, 3, 5, "5"),
    ],
)
def test_threads_follow_the_user_then_the_cores(environment, usable, threads, expected):
    assert variables(environment, Cores(usable, 8, 0), threads).get("OMP_NUM_THREADS") == expected


def test_a_quota_is_rounded_down_to_at_least_one_core(tmp_path):
    for allowed in ("20000", "100000", "190000"):
        (tmp_path / "cpu.max").write_text(f"{allowed} 100000\n")
        assert usable_cores(tmp_path / "cpu.max") == 1


def test_threads_spin_shorter_beside_work_that_runs_and_not_after_work_that_ended(tmp_path):
    (tmp_path / "loadavg").write_text("1.90 0.80 0.30 1/84 1234\n")
    idle = Cores(2, 2, busy_cores(tmp_path / "loadavg"))
    assert variables({}, idle)["GOMP_SPINCOUNT"] == str(openmp.SPINS)
    (tmp_path / "loadavg").write_text("0.00 0.00 0.00 2/84 1234\n")
    beside = Cores(2, 2, busy_cores(tmp_path / "loadavg"))
    assert variables({}, beside)["GOMP_SPINCOUNT"] == str(openmp.SPINS_UNDER_LOAD)


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ValueError, match=r"--threads must be in 1\.\.1024, got 0"):
        configure(threads=0)


def test_the_command_line_sets_threads_before_torch_is_loaded():
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(sys.modules['torch'].get_num_threads()))\n"
        "from adm.app.cli import program; program()"
    )
    printed = run(code, "info", "fashion", "--threads", "1", OMP_NUM_THREADS="2")
    assert printed.stdout.splitlines()[-1] == "1"
    if "GOMP_SPINCOUNT" in printed.stderr:
        assert re.search(BOUNDED, printed.stderr)
