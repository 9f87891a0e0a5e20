"""A dataclass and a line in a table -> a new sampler, grid, guide or metric, everywhere.

They are added to a copy of the package as the page says, with no other change.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    """A copy of src/ with a sampler, a grid, a guide and a metric more."""
    src = tmp_path_factory.mktemp("copy") / "src"
    shutil.copytree(pages.ROOT / "src", src, ignore=shutil.ignore_patterns("__pycache__"))
    samplers = src / "adm/samplers"
    examples = list(pages.blocks(pages.DOCS / "howto" / "extend.md"))
    function, kind = examples[:2]
    (samplers / "trapezoid.py").write_text(f"{function}\n\n{kind}")
    settings = samplers / "settings.py"
    insert(settings, "        Consistency,\n", "        Trapezoid,\n")
    insert(settings, "from adm.samplers.unipc", "from adm.samplers.trapezoid import Trapezoid\n")
    insert(samplers / "grid.py", "GRIDS: dict", f"{GRID}\n\n")
    insert(samplers / "grid.py", "        Distilled,\n", "        Doubled,\n")
    insert(samplers / "guide.py", "GUIDES: dict", f"{GUIDE}\n\n")
    insert(samplers / "guide.py", "        AttentionGuide,\n", "        Late,\n")
    metrics = src / "adm/metrics"
    (metrics / "energy_distance.py").write_text(
        next(block for block in examples if "Metric(" in block)
    )
    line = "from adm.metrics.energy_distance import ENERGY_DISTANCE\n"
    insert(metrics / "table.py", "from adm.metrics.extrapolation", line)
    insert(metrics / "table.py", "        KERNEL_DISTANCE,\n", "        ENERGY_DISTANCE,\n")
    return src


# Runs commands in one process -> the exit status and the output of each, as JSON.
PROGRAM = """
import contextlib, io, json, sys
from adm.app.cli import main

results = []
for words in json.loads(sys.argv[1]):
    out, status = io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main(words)
        except SystemExit as stop:
            status = stop.code or 0
    results.append([status, out.getvalue() + err.getvalue()])
print(json.dumps(results))
"""
SPECS = ("trapezoid:averaged=0.5", "doubled:steps=4,by=3", "late:scale=1,level=300")


def run(package: Path, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Run commands of the copy in its folder; return the status and the output of each."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(commands)]
    environment = os.environ | {"PYTHONPATH": str(package)}
    process = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=package, check=False
    )
    assert process.returncode == 0, process.stderr
    return [(status, output) for status, output in json.loads(process.stdout)]


@pytest.mark.slow
def test_the_command_line_the_manifest_and_recipes_know_them(package: Path) -> None:
    sampler, grid, guide = SPECS
    options = ("--sampler", sampler, "--grid", grid, "--guide", guide, "--classes", "bag:2")
    stated = ("--set", f"sample.sampler={sampler}", f"sample.grid={grid}", "--dry-run", "--json")
    commands = [
        ("sample", "fashion", *options, "--out", "out"),
        ("train", "digits", "--out", "run", *stated, "-q"),
        ("help", "sampler"),
        ("sample", "fashion", "--sampler", "trapezoid:averged=1", "--out", "no"),
    ]
    sampled, chosen, helped, refused = run(package, *commands)
    assert sampled[0] == 0, sampled
    sampling = json.loads((package / "out/samples.json").read_text())["sampling"]
    assert (sampling["sampler"], sampling["guide"]) == (sampler, [guide])
    assert sampling["grid"].startswith("doubled:steps=4,")
    assert json.loads(chosen[1])["sample"]["sampler"] == sampler
    assert "--sampler trapezoid\n" in helped[1]
    assert "weight of the second slope" in helped[1]
    assert refused[0] == 2
    assert "trapezoid has the parameters averaged" in refused[1]


@pytest.mark.slow
def test_a_report_has_the_new_metric_with_its_title(package: Path) -> None:
    for seed, name in enumerate(("real", "samples")):
        images = np.random.default_rng(seed).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)
        np.savez(package / f"{name}.npz", arr_0=images)
    words = ("evaluate", "samples.npz", "--reference", "real.npz", "--features", "fashion-judge")
    shown, whole = run(package, (*words, "-q"), (*words, "-q", "--json"))
    assert "energy distance (fashion-judge)" in shown[1]
    scores = json.loads(whole[1])["scores"]
    assert scores["energy_distance"]["title"] == "energy distance (fashion-judge)"
    assert scores["energy_distance"]["value"] > 0
    assert list(scores).index("energy_distance") < list(scores).index("kernel_distance")
