"""One file and one line -> a new sampler with a parameter of its own, everywhere.

The page's sampler is put into a copy of the package as the page says, and nothing else is touched.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs import pages

LINE = "Sampler: TypeAlias = Ancestral | DDIM"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of src/ with samplers/trapezoid.py, and its type in samplers/table.py."""
    src = tmp_path_factory.mktemp("copy") / "src"
    shutil.copytree(pages.ROOT / "src", src, ignore=shutil.ignore_patterns("__pycache__"))
    function, kind = [block for _, block in pages.blocks(pages.DOCS / "extending.md")][:2]
    (src / "adm/samplers/trapezoid.py").write_text(f"{function}\n\n{kind}")
    table = src / "adm/samplers/table.py"
    text = table.read_text()
    assert LINE in text
    text = text.replace(LINE, f"{LINE} | Trapezoid")
    table.write_text(text.replace("from adm.samplers.ddim", f"{IMPORT}\nfrom adm.samplers.ddim"))
    return src


IMPORT = "from adm.samplers.trapezoid import Trapezoid"


def run(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-m", "adm", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=package, check=False
    )


@pytest.mark.slow
def test_the_command_line_the_manifest_and_recipes_know_it(package: Path) -> None:
    out = package / "out"
    options = ("--sampler", "trapezoid:averaged=0.5", "--steps", "4", "--scale", "2")
    done = run(package, "sample", "fashion", "--classes", "bag:2", *options, "--out", str(out))
    assert done.returncode == 0, done.stderr
    sampling = json.loads((out / "samples.json").read_text())["sampling"]
    assert sampling["sampler"] == {"averaged": 0.5, "name": "trapezoid"}
    stated = ("--set", "sample.sampler=trapezoid:averaged=0.25", "--dry-run")
    done = run(package, "train", "digits", "--out", str(package / "run"), *stated)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sample"]["sampler"] == {"averaged": 0.25, "name": "trapezoid"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("trapezoid:averged=1", "unknown sampling setting 'averged'; did you mean averaged"),
        ("trapezoid:averaged=much", "averaged must be a valid number"),
        ("trapezod", "sampler 'trapezod' is unknown; did you mean trapezoid?"),
    ],
)
def test_what_it_does_not_take_is_named(package: Path, spec: str, message: str) -> None:
    done = run(package, "sample", "fashion", "--sampler", spec, "--out", str(package / "no"))
    assert done.returncode == 2
    assert message in done.stderr
