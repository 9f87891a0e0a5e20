"""adm --help, adm VERB --help -> what there is, with examples; without loading torch."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version

import pytest
from cli.conftest import Adm
from cyclopts import App

import adm as adm_package
from adm.app.cli import VERBS

WITHOUT_TORCH = """
import sys
from adm.app.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit_:
    assert not exit_.code, exit_.code
heavy = {"torch", "numpy", "matplotlib", "PIL", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["--version"], [], *([verb, "--help"] for verb in VERBS)]
)
def test_help_answers_without_loading_torch(words: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, *words]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout


def test_help_names_every_verb(adm: Adm) -> None:
    answer = adm("--help")
    assert answer.status == 0
    for verb, summary in VERBS.items():
        assert verb in answer.out
        assert summary.split(",")[0] in answer.out
    assert "adm demo" in answer.out


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_has_its_summary_and_examples(
    adm: Adm, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A verb with verbs of its own remembers the help that another command line gave it.
    monkeypatch.delitem(sys.modules, f"adm.app.cli.{verb}", raising=False)
    answer = adm(verb, "--help")
    assert answer.status == 0
    command = getattr(import_module(f"adm.app.cli.{verb}"), verb)
    help_ = command.help if isinstance(command, App) else command.__doc__
    assert help_.splitlines()[0] in answer.out
    assert len(re.findall(rf"^ adm {verb}\b", answer.out, re.MULTILINE)) >= 2


def test_the_version_is_the_package_s(adm: Adm) -> None:
    assert adm("--version").out.strip() == version("ablated-diffusion") == adm_package.__version__


def test_the_version_is_told_without_loading_torch() -> None:
    words = "import sys, adm; assert adm.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", words], timeout=60, check=True)


def test_python_m_adm_is_the_same_command() -> None:
    command = [sys.executable, "-m", "adm", "recipes", "fashon"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert found.stderr.startswith("adm: no recipe 'fashon'")
    assert found.stderr.count("\n") == 1
    assert not found.stdout
