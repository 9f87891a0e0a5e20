"""The list of planted bugs -> each fits the source; the runner reports survivors."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "tools/mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mutants = loaded()
LISTED = mutants.mutants()
SWAPPED = mutants.Mutant(  # in a module without torch, which is tested quickly
    name="swapped",
    file="differences.py",
    old="is {_shown(stored)} there and {_shown(requested)} here",
    new="is {_shown(requested)} there and {_shown(stored)} here",
    tests=("test_differences.py",),
)
HARMLESS = replace(SWAPPED, name="harmless", old="difference := first_difference(stored.get(key)")
HARMLESS = replace(HARMLESS, new="difference := (first_difference)(stored.get(key)")


def test_every_mutant_fits_the_source_and_names_tests_that_exist() -> None:
    for mutant in LISTED:
        source = (ROOT / "src/adm" / mutant.file).read_text("utf-8")
        assert mutant.applied(source) != source, mutant.name
        assert mutant.tests, mutant.name
        for test in mutant.tests:
            file, _, name = test.partition("::")
            tests = (ROOT / "tests" / file).read_text("utf-8")
            assert not name or f"\ndef {name}(" in tests, (mutant.name, test)


def test_names_and_bugs_are_unique() -> None:
    assert len(LISTED) >= 60
    assert len({mutant.name for mutant in LISTED}) == len(LISTED)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in LISTED}) == len(LISTED)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch):
    """Replace the list of mutants."""
    return lambda *chosen: monkeypatch.setattr(mutants, "mutants", lambda: list(chosen))


def test_the_runner_names_the_test_that_kills_a_mutant_and_reports_one_that_survives(
    only, capsys
) -> None:
    only(HARMLESS, SWAPPED)
    source = (ROOT / "src/adm" / HARMLESS.file).read_bytes()
    assert mutants.main(["-j", "2"]) == 1
    first, second, total = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"harmless .* SURVIVED test_differences\.py", first)
    assert "killed by test_differences.py::test_the_first_difference_is_named" in second
    assert total == "2 mutants, 1 not killed"
    assert (ROOT / "src/adm" / HARMLESS.file).read_bytes() == source


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"old": "no such text"}, "occurs 0 times in differences.py, expected once"),
        ({"old": "stored"}, "times in differences.py, expected once"),
        ({"old": "MOST_ENTRIES = 8", "new": "MOST_ENTRIES ="}, "is not Python"),
        ({"file": "absent.py"}, "No such file"),
        ({"tests": ("test_absent.py",)}, "pytest ended with status 4"),
    ],
)
def test_a_mutant_that_tests_nothing_is_an_error_and_not_a_kill(changed, message: str) -> None:
    outcome = mutants.outcome_of(replace(SWAPPED, **changed))
    assert not outcome.killed
    assert message in outcome.detail


def test_the_copy_is_tested_and_not_another_package(monkeypatch) -> None:
    """Were the bug in one copy and the import from another, every mutant would survive."""
    monkeypatch.setattr(mutants, "_copied", elsewhere)
    outcome = mutants.outcome_of(SWAPPED)
    assert not outcome.killed
    assert "the tests would import" in outcome.detail


def elsewhere(folder: Path) -> Path:
    """A copy without the package, so that the installed one is imported."""
    (folder / "src/adm").mkdir(parents=True)
    return folder / "src"
