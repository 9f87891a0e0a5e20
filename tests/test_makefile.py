"""make TARGET -> the commands that it would run."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = "pip install --quiet --editable '.[dev]'"
BASE = "pip install --quiet --editable .\n"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing is installed."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def commands(checkout: Path, target: str) -> str:
    command = ["make", "--no-print-directory", "--dry-run", target]  # no more lines under make
    made = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    return made.stdout


def install(checkout: Path, target: str) -> None:
    """Create the stamps that a target would create."""
    (checkout / ".venv").mkdir(exist_ok=True)
    for line in commands(checkout, target).splitlines():
        if line.startswith("touch "):
            (checkout / line.removeprefix("touch ")).touch()


def test_the_demo_installs_no_development_tools(checkout: Path) -> None:
    first = commands(checkout, "demo")
    assert BASE in first
    assert TOOLS not in first
    assert "adm demo" in first
    install(checkout, "demo")
    assert "pip" not in commands(checkout, "demo")


@pytest.mark.parametrize(
    "target", ["test", "lint", "check", "mutants", "abuse", "ablation", "format"]
)
def test_after_the_demo_other_targets_install_the_tools(checkout: Path, target: str) -> None:
    first = commands(checkout, target)
    assert BASE in first
    assert TOOLS in first
    install(checkout, "demo")
    assert BASE not in commands(checkout, target)
    assert TOOLS in commands(checkout, target)
    install(checkout, target)
    assert "pip" not in commands(checkout, target)
    assert "pip" not in commands(checkout, "demo")
