"""A dataclass and a line in a table -> a new sampler, grid or guide, everywhere.

They are put into a copy of the package as the page says, and nothing else is touched.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs import pages

GRID = '''
@dataclass(frozen=True, kw_only=True)
class Doubled(Whole):
    """Every other level of an even grid.

    Attributes:
        by: the factor.
    """

    by: int = 2
    name: ClassVar[str] = "doubled"
    spacing = staticmethod(spacing.even)
'''
GUIDE = '''
@dataclass(frozen=True, kw_only=True)
class Late(AttentionGuide):
    """Perturbed-attention guidance below a level.

    Attributes:
        level: the highest one.
    """

    level: int = 500
    name: ClassVar[str] = "late"
'''


def insert(path: Path, before: str, text: str) -> None:
    """Insert a text before a line of a file."""
    content = path.read_text()
    assert content.count(before) == 1, path
    path.write_text(content.replace(before, f"{text}{before}"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of src/ with a sampler, a grid and a guide more."""
    src = tmp_path_factory.mktemp("copy") / "src"
    shutil.copytree(pages.ROOT / "src", src, ignore=shutil.ignore_patterns("__pycache__"))
    samplers = src / "adm/samplers"
    function, kind = [block for _, block in pages.blocks(pages.DOCS / "extending.md")][:2]
    (samplers / "trapezoid.py").write_text(f"{function}\n\n{kind}")
    settings = samplers / "settings.py"
    insert(settings, "        Consistency,\n", "        Trapezoid,\n")
    insert(settings, "from adm.samplers.unipc", "from adm.samplers.trapezoid import Trapezoid\n")
    insert(samplers / "grid.py", "GRIDS: dict", f"{GRID}\n\n")
    insert(samplers / "grid.py", "        Distilled,\n", "        Doubled,\n")
    insert(samplers / "guide.py", "GUIDES: dict", f"{GUIDE}\n\n")
    insert(samplers / "guide.py", "        AttentionGuide,\n", "        Late,\n")
    return src


def run(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "adm", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=package, check=False
    )


SPECS = ("trapezoid:averaged=0.5", "doubled:steps=4,by=3", "late:scale=1,level=300")


@pytest.mark.slow
def test_the_command_line_the_manifest_and_recipes_know_them(package: Path) -> None:
    sampler, grid, guide = SPECS
    options = ("--sampler", sampler, "--grid", grid, "--guide", guide, "--classes", "bag:2")
    done = run(package, "sample", "fashion", *options, "--out", str(package / "out"))
    assert done.returncode == 0, done.stderr
    sampling = json.loads((package / "out/samples.json").read_text())["sampling"]
    assert (sampling["sampler"], sampling["guide"]) == (sampler, [guide])
    assert sampling["grid"].startswith("doubled:steps=4,")
    stated = ("--set", f"sample.sampler={sampler}", f"sample.grid={grid}", "--dry-run")
    done = run(package, "train", "digits", "--out", str(package / "run"), *stated)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sample"]["sampler"] == sampler


@pytest.mark.slow
def test_help_explains_them_and_what_they_do_not_take_is_named(package: Path) -> None:
    said = run(package, "help", "sampler").stdout
    assert "--sampler trapezoid\n" in said
    assert "weight of the second slope" in said
    words = ("sample", "fashion", "--sampler", "trapezoid:averged=1")
    done = run(package, *words, "--out", str(package / "no"))
    assert done.returncode == 2
    assert "trapezoid with the parameters averaged" in done.stderr
