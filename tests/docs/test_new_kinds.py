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


# Runs commands in one process -> the exit status and the words of each, as JSON.
PROGRAM = """
import contextlib, io, json, sys
from adm.app.cli import main

told = []
for words in json.loads(sys.argv[1]):
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()) as wrong:
        try:
            main(words)
        except SystemExit as stop:
            status = stop.code or 0
    told.append([status, said.getvalue() + wrong.getvalue()])
print(json.dumps(told))
"""
SPECS = ("trapezoid:averaged=0.5", "doubled:steps=4,by=3", "late:scale=1,level=300")


@pytest.mark.slow
def test_the_command_line_the_manifest_and_recipes_know_them(package: Path) -> None:
    sampler, grid, guide = SPECS
    options = ("--sampler", sampler, "--grid", grid, "--guide", guide, "--classes", "bag:2")
    stated = ("--set", f"sample.sampler={sampler}", f"sample.grid={grid}", "--dry-run")
    commands = [
        ("sample", "fashion", *options, "--out", "out"),
        ("train", "digits", "--out", "run", *stated, "-q"),
        ("help", "sampler"),
        ("sample", "fashion", "--sampler", "trapezoid:averged=1", "--out", "no"),
    ]
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    environment = os.environ | {"PYTHONPATH": str(package)}
    ran = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=package, check=False
    )
    assert ran.returncode == 0, ran.stderr
    sampled, chosen, helped, refused = json.loads(ran.stdout)
    assert sampled[0] == 0, sampled
    sampling = json.loads((package / "out/samples.json").read_text())["sampling"]
    assert (sampling["sampler"], sampling["guide"]) == (sampler, [guide])
    assert sampling["grid"].startswith("doubled:steps=4,")
    assert json.loads(chosen[1])["sample"]["sampler"] == sampler
    assert "--sampler trapezoid\n" in helped[1]
    assert "weight of the second slope" in helped[1]
    assert refused[0] == 2
    assert "trapezoid with the parameters averaged" in refused[1]
