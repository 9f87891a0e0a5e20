"""adm --help, adm VERB --help -> verbs and options, with examples; without loading torch."""

import json
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version

import pytest
from answers import Adm

import adm as adm_package
from adm.app.cli import VERBS
from adm.app.cli.help import TOPICS
from adm.app.study.bounds import BOUNDS
from adm.diffusion import TARGETS
from adm.distillation import METHODS as DISTILLATIONS
from adm.generation.edit import EDITS
from adm.recipes import recipe
from adm.restoration import METHODS, OPERATORS
from adm.samplers import settings as samplers
from adm.spec import paths_of
from adm.training.levels import LEVELS
from adm.training.optimizers import OPTIMIZERS

WITHOUT_TORCH = """
import sys
import adm
from adm.app.cli import VERBS, main
assert adm.__version__
for words in ["--help"], ["-h"], ["--version"], [], *([verb, "--help"] for verb in VERBS):
    print(f"words {words}")
    try:
        main(words)
    except SystemExit as exit_:
        assert not exit_.code, words
    heavy = {"torch", "numpy", "matplotlib", "PIL", "sklearn"} & set(sys.modules)
    assert not heavy, (words, heavy)
"""


def test_help_answers_without_loading_torch() -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 0, process.stderr
    overview = process.stdout.split("words [")[1]
    assert all(f" {verb} " in overview for verb in VERBS)


KINDS = {
    **samplers.KINDS,
    "edit": EDITS,
    "prediction": TARGETS,
    "levels": LEVELS,
    "optimizer": OPTIMIZERS,
    "distillation": DISTILLATIONS,
    "operator": OPERATORS,
    "method": METHODS,
    "bound": BOUNDS,
}


@pytest.mark.parametrize("topic", KINDS)
def test_every_kind_is_explained_with_its_parameters(adm: Adm, topic: str) -> None:
    answer = adm("help", topic, "--json")
    kinds = json.loads(answer.out)
    assert kinds.keys() == KINDS[topic].keys()
    for name, kind in KINDS[topic].items():
        assert kinds[name]["summary"]
        assert kinds[name]["parameters"].keys() == {each.name for each in fields(kind)}
        assert all(each["about"] for each in kinds[name]["parameters"].values()), name
        assert f"{TOPICS[topic]}{name}\n" in adm("help", topic).out


def test_the_settings_of_a_recipe_are_those_that_can_be_set(adm: Adm) -> None:
    settings = json.loads(adm("help", "recipe", "--json").out)
    for name in ("digits", "digits-classifier"):
        for path in paths_of(recipe(name)):
            assert "." not in path or any(f"{each}.".startswith(f"{path}.") for each in settings), (
                path
            )
    assert {"unet.dropout", "train.learning_rate", "data.size"} <= settings.keys()
    assert "whole number" in settings["train.batch_size"]["type"]
    assert "no topic 'smaple'" in adm("help", "smaple").refusal()


def test_the_version_is_the_package_s(adm: Adm) -> None:
    assert adm("--version").out.strip() == version("ablated-diffusion") == adm_package.__version__
