"""Environment, cores, a quota -> the variables that OpenMP reads before torch is loaded."""

import os
import re
import subprocess
import sys

import pytest

from adm.app import openmp
from adm.app.openmp import Cores, configure, usable_cores, variables

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


@pytest.mark.parametrize("name", openmp.WAITING)
def test_waiting_is_bounded_unless_the_user_chose(name):
    assert variables({}, Cores(2, 2, 0)) == SPIN
    assert variables({name: "1"}, Cores(2, 2, 0)) == {}


@pytest.mark.parametrize(
    ("cores", "spins"),
    [
        (Cores(2, 2, 0), openmp.SPINS),
        (Cores(2, 2, 1), openmp.SPINS_UNDER_LOAD),
        (Cores(2, 8, 6), openmp.SPINS),  # the others have their own cores
        (Cores(2, 8, 7), openmp.SPINS_UNDER_LOAD),
        (Cores(8, 8, 100), openmp.SPINS_UNDER_LOAD),
    ],
)
def test_waiting_is_shorter_on_busy_cores(cores, spins):
    assert variables({}, cores)["GOMP_SPINCOUNT"] == str(spins)


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


def test_a_number_of_threads_binds_the_mathematics_library_too():
    assert variables({"MKL_NUM_THREADS": "7"}, Cores(8, 8, 0), 5)["MKL_NUM_THREADS"] == "5"


def test_a_quota_is_rounded_down_to_at_least_one_core(tmp_path):
    for allowed in ("20000", "100000", "190000"):
        (tmp_path / "cpu.max").write_text(f"{allowed} 100000\n")
        assert usable_cores(tmp_path / "cpu.max") == 1


@pytest.mark.parametrize("text", [None, "max 100000\n", "what is this"])
def test_without_a_quota_every_core_counts(tmp_path, text):
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path / "cpu.max") == usable_cores(tmp_path / "none")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux binds a process")
def test_affinity_counts(tmp_path):
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from adm.app.openmp import usable_cores; print(usable_cores())"
    )
    assert run(code).stdout == "1\n"


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(ValueError, match=r"--threads must be in 1\.\.1024, got 0"):
        configure(threads=0)


def test_torch_that_is_loaded_keeps_its_environment_and_takes_threads():
    code = (
        "import os, torch; from adm.app import openmp\n"
        "before = dict(os.environ); openmp.configure(); assert dict(os.environ) == before\n"
        "openmp.configure(threads=1); print(torch.get_num_threads())"
    )
    assert run(code, OMP_NUM_THREADS="2").stdout == "1\n"


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
