"""adm --help, adm VERB --help -> what there is, with examples; without loading torch."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from importlib.metadata import version

import pytest
from cli.conftest import Adm
from cyclopts import App

import adm as adm_package
from adm.app.cli import GROUPS, VERBS
from adm.recipes import recipe
from adm.samplers.settings import KINDS
from adm.spec import paths_of

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


def test_help_names_every_verb_under_its_group(adm: Adm) -> None:
    answer = adm("--help")
    assert answer.status == 0
    places = [answer.out.index(word) for word in GROUPS]
    assert places == sorted(places)
    for verb, summary in VERBS.items():
        assert f" {verb} " in answer.out
        assert summary.split(",")[0] in answer.out


@pytest.mark.parametrize("topic", KINDS)
def test_every_kind_is_explained_with_its_parameters(adm: Adm, topic: str) -> None:
    answer = adm("help", topic, "--json")
    told = json.loads(answer.out)
    assert told.keys() == KINDS[topic].keys()
    for name, kind in KINDS[topic].items():
        assert told[name]["summary"]
        assert told[name]["parameters"].keys() == {each.name for each in fields(kind)}
        assert all(each["about"] for each in told[name]["parameters"].values()), name
        assert f"--{topic} {name}" in adm("help", topic).out


def test_the_settings_of_a_recipe_are_those_that_can_be_set(adm: Adm) -> None:
    told = json.loads(adm("help", "recipe", "--json").out)
    for name in ("digits", "digits-classifier", "fashion-biggan"):
        for path in paths_of(recipe(name)):
            assert "." not in path or any(f"{each}.".startswith(f"{path}.") for each in told), path
    assert {"unet.dropout", "train.learning_rate", "data.size", "gan.noise"} <= told.keys()
    assert "whole number" in told["train.batch_size"]["type"]
    assert "no topic 'smaple'" in adm("help", "smaple").refusal()


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
