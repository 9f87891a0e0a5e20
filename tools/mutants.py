"""tools/mutants.toml -> a table: each planted bug, and the test that fails with it.

    make mutants
    python tools/mutants.py --only ddim-sign hybrid-weight

A mutant is a copy of `src` in which one piece of text is replaced, which makes it wrong. The tests
that its entry names run on the copy, without `ADM_GOLDENS`; the checkout is not changed. The exit
status is 1 if a mutant survives, or if an entry no longer fits the source.
"""

import argparse
import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".toml")
LIMIT_S = 120  # for the tests of one mutant
# Runs in the process of the tests. That they test the copy is checked and not assumed: an
# installed package, or a setting of pytest, could come first.
START = """
import sys
from pathlib import Path
import adm
if not Path(adm.__file__).is_relative_to(sys.argv[1]):
    sys.exit(f"the tests would import {adm.__file__}, which is not in {sys.argv[1]}")
import pytest
sys.exit(pytest.main(sys.argv[2:]))
"""
OPTIONS = ("-x", "-q", "-rfE", "--tb=no", "--no-header", "-p", "no:cacheprovider")
PASSED, FAILED = 0, 1  # exit statuses of pytest


@dataclass(frozen=True)
class Mutant:
    """A planted bug.

    Attributes:
        name: for the table and `--only`.
        file: the module, relative to `src/adm`.
        old: text that occurs in it exactly once.
        new: the text that replaces it.
        tests: arguments of pytest, relative to `tests`: the tests that should fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """Return the source of the module with the bug.

        Raises:
            ValueError: the text does not occur exactly once, or the result is not Python.
        """
        count = source.count(self.old)
        if count != 1:
            raise ValueError(f"{self.old!r} occurs {count} times in {self.file}, expected once")
        changed = source.replace(self.old, self.new)
        try:
            ast.parse(changed)
        except SyntaxError as error:
            raise ValueError(f"{self.file} with {self.new!r} is not Python: {error}") from None
        return changed


class Outcome(NamedTuple):
    """The result of running tests.

    Attributes:
        killed: whether a test failed.
        detail: the test that failed, or why none did.
        seconds: wall-clock time.
    """

    killed: bool
    detail: str
    seconds: float


def mutants(path: Path = LIST) -> list[Mutant]:
    """Read the list of mutants."""
    entries = tomllib.loads(path.read_text("utf-8"))["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def outcome_of(mutant: Mutant, limit_s: float = LIMIT_S) -> Outcome:
    """Run the tests of a mutant."""
    started = time.monotonic()
    try:
        changed = mutant.applied((ROOT / "src/adm" / mutant.file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        return Outcome(False, f"DOES NOT APPLY: {error}", 0.0)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = _copied(Path(folder))
        (copy / "adm" / mutant.file).write_text(changed, "utf-8")
        status, printed = _tested(copy, mutant.tests, limit_s)
    seconds = time.monotonic() - started
    if (test := _failed(status, printed)) is not None:
        return Outcome(True, f"killed by {test}", seconds)
    if status == PASSED:
        return Outcome(False, f"SURVIVED {' '.join(mutant.tests)}", seconds)
    return Outcome(False, f"NOT TESTED: {_why(status, printed)}", seconds)


def without_a_mutant(tests: Sequence[str], jobs: int) -> str | None:
    """Run tests on an unchanged copy; return None if they pass, else what went wrong.

    A test that fails anyway would seem to kill every mutant.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder, ThreadPoolExecutor(jobs) as pool:
        copy = _copied(Path(folder))
        parts = [tests[job::jobs] for job in range(min(jobs, len(tests)))]
        results = list(pool.map(lambda part: _tested(copy, part, None), parts))
    wrong = (_failed(*run) or _why(*run) for run in results if run[0] != PASSED)
    return next(wrong, None)


def _copied(folder: Path) -> Path:
    """Copy `src` without compiled modules, which could hide a change."""
    return shutil.copytree(
        ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__")
    )


def _tested(copy: Path, tests: Sequence[str], limit_s: float | None) -> tuple[int | None, str]:
    """Return the exit status of pytest on a copy of `src`, None at the limit, and its output."""
    environment = {k: v for k, v in os.environ.items() if k != "ADM_GOLDENS"} | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy.parent / "hypothesis"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what is installed beside pytest starts slowly
        "OMP_WAIT_POLICY": "PASSIVE",  # for several processes at a time
    }
    words = [sys.executable, "-c", START, str(copy), *OPTIONS]
    process = subprocess.Popen(
        [*words, "-m", "not slow", *(f"tests/{test}" for test in tests)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # so that processes that tests start end with it
    )
    try:
        printed, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]
    return process.returncode, printed


def _failed(status: int | None, printed: str) -> str | None:
    """Return the first test that failed; None where pytest itself did not run or did not end."""
    match = re.search(r"^(?:FAILED|ERROR) tests/(.+?)(?: - .*)?$", printed, re.MULTILINE)
    return match[1] if match and status == FAILED else None


def _why(status: int | None, printed: str) -> str:
    if status is None:
        return "no result within the time limit"
    last = printed.strip().splitlines()[-1:]
    return f"pytest ended with status {status}: {''.join(last)}"


def report(chosen: Sequence[Mutant], jobs: int, limit_s: float) -> int:
    """Print the table; return the number of mutants that no test killed."""
    width = max(len(mutant.name) for mutant in chosen)
    survivors = 0
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = pool.map(partial(outcome_of, limit_s=limit_s), chosen)
        for mutant, outcome in zip(chosen, outcomes, strict=True):
            survivors += not outcome.killed
            line = f"{mutant.name:{width}} {outcome.seconds:6.1f} s  {outcome.detail}"
            print(line, flush=True)
    return survivors


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run these mutants alone")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for one mutant")
    args = parser.parse_args(words)
    known = mutants()
    unknown = set(args.only or ()) - {mutant.name for mutant in known}
    if unknown:
        parser.error(f"no mutant {', '.join(sorted(unknown))}; {LIST.name} has all")
    chosen = [mutant for mutant in known if args.only is None or mutant.name in args.only]
    tests = sorted({test for mutant in chosen for test in mutant.tests})
    failure = without_a_mutant(tests, args.jobs)
    if failure is not None:
        print(f"without a mutant, the tests fail already: {failure}")
        return 1
    survivors = report(chosen, args.jobs, args.limit)
    print(f"{len(chosen)} mutants, {survivors} not killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
