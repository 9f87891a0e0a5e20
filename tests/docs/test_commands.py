"""README.md, --help of every verb, docs/*.md -> their commands are found, parsed and run."""

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App, Parameter
from docs.commands import Outcome, Page
from docs.world import World
from PIL import Image

from adm.app.cli import VERBS
from adm.app.cli.values import converted
from adm.data import open_source
from adm.data.idx import DEBIAN_FASHION_MNIST
from adm.models.load import load_any
from docs import commands, pages

PAGES = commands.all_pages()
RUN = [page for page in PAGES if not all(map(commands.reason_not_to_run, page.commands))]
LANGUAGES = {*commands.SHELLS, "python", "text", "math", "json"}
EXAMPLE = re.compile(r"^ ((?:adm|torchrun) .*)$", re.MULTILINE)
CAPTURE = runpy.run_path(str(pages.ROOT / "tools" / "capture_help.py"))


def named(page: Page) -> str:
    return page.name


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("command", CAPTURE["COMMANDS"])
def test_the_examples_found_are_those_that_the_help_prints(command: str) -> None:
    printed = CAPTURE["help_of"](command.split()[1:])
    found = {line for page in PAGES if page.name.endswith("--help") for line in page.commands}
    starts = EXAMPLE.findall(printed)
    assert starts or command == "adm"
    for start in starts:
        assert any(line.startswith(squeezed(start)) for line in found), start


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_which_its_help_prints(verb: str) -> None:
    page = next(page for page in PAGES if page.name == f"adm {verb} --help")
    called = [command for command in CAPTURE["COMMANDS"] if command.startswith(f"adm {verb}")]
    printed = squeezed(" ".join(CAPTURE["help_of"](each.split()[1:]) for each in called))
    examples = [line for line in page.commands if line in printed]
    assert any(re.search(rf"\badm {verb}\b", line) for line in examples)
    if verb != "data":  # not each of its verbs is on the page of captured help
        assert examples == page.commands


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_no_line_of_a_shell_block_is_left_out(page: Path) -> None:
    found = " ".join(commands.shell_commands(page))
    for language, block in commands.FENCED.findall(page.read_text("utf-8")):
        assert language in LANGUAGES
        if language in commands.SHELLS:
            for line in block.splitlines():
                words = line.partition("#")[0].strip().removesuffix("\\")
                assert squeezed(words) in found


def test_what_is_not_run_occurs_and_has_a_reason() -> None:
    every = [command for page in PAGES for command in page.commands]
    for pattern, reason in commands.NOT_RUN.items():
        assert reason
        assert any(commands.reason_not_to_run(one) == reason for one in every), pattern
        assert any(commands.fnmatchcase(one, pattern) for one in every), pattern
    run = [one for one in every if not commands.reason_not_to_run(one)]
    assert len(run) > 60
    assert {shlex.split(one)[0] for one in run} <= {"adm", "torchrun", "accelerate"}


def calls() -> Iterator[str]:
    """What follows `adm` in every command that is run, as it is written and as it is run."""
    for page in PAGES:
        for command in page.commands:
            if not commands.reason_not_to_run(command):
                for text in (command, commands.shortened(command)):
                    yield re.split(r"^adm |-m (?:-- )?adm ", text, maxsplit=1)[1]


@pytest.mark.parametrize("call", sorted(set(calls())))
def test_every_option_exists(call: str) -> None:
    verb, *words = shlex.split(call.partition("|")[0])
    app = App(name="adm", default_parameter=Parameter(converter=converted))
    app.command(f"adm.app.cli.{verb}:{verb}", name=verb)
    app.parse_args([verb, *words], exit_on_error=False, print_error=False)


@pytest.mark.slow
@pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed"
)
def test_the_story_of_a_folder_of_photographs_runs(tmp_path: Path) -> None:
    """The README's first steps, to samples; .ci/run runs all pages, in a fresh environment."""
    readme, here = RUN[0], tmp_path / "reader"
    last = next(i for i, each in enumerate(readme.commands) if each.endswith("out/photos"))
    page = readme._replace(blocks=(tuple(readme.commands[: last + 1]),))
    environment = commands.environment_of(Path(sys.executable).parent)
    outcomes = list(commands.play(page, World(tmp_path / "store"), here, environment))
    assert readme.name == "README.md"
    assert [outcome.command for outcome in outcomes] == page.commands
    assert [str(outcome) for outcome in outcomes if outcome.problem] == []
    model, classifier = (load_any(here / "runs" / name) for name in ("photos", "photos-classifier"))
    assert model.recipe.config.in_channels == classifier.recipe.config.in_channels == 3
    assert model.classes == classifier.classes
    assert len(model.classes) == model.recipe.config.classes == 6
    assert open_source(str(here / "out/photos"), labels="prefix").classes == model.classes
    assert open_source(str(here / "out/photos"), labels="prefix").shape == (3, 32, 32)
    assert Image.open(here / "out/photos/grid.png").width > 8 * 32


def test_continued_lines_are_joined_and_comments_left_out() -> None:
    block = "# first\nadm a --b c   # why\n$ adm d \\\n    --e f#g\n\n"
    assert commands.commands_in(block) == ["adm a --b c", "adm d --e f#g"]
    docstring = "Do.\n\n    Examples:\n\n        adm x\n\n        adm y --z\n\n    Parameters\n"
    assert commands.examples_of(docstring) == ["adm x", "adm y --z"]


def test_an_option_replaces_its_values_and_adds_to_those_of_set() -> None:
    assert commands.with_option("adm a --n 1 2 --m", "--n 3") == "adm a --n 3 --m"
    assert commands.with_option("adm a --number 1", "--n 3") == "adm a --number 1 --n 3"
    assert commands.with_option("adm a --set x=1 --m", "--set y=2") == "adm a --set x=1 y=2 --m"
    assert "--nproc-per-node 2 " in commands.shortened("torchrun --nproc-per-node 8 -m adm train a")


def test_what_a_command_writes() -> None:
    command = "adm a --out runs/x/ --sheet s.png --json --plot --list --json n.json"
    assert commands.written(command) == ["runs/x", "s.png", "n.json"]


@pytest.fixture
def outcomes(tmp_path: Path):
    """Play a page with a program `adm` that writes what follows --out, fails at --fail."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "adm"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--fail*) echo broken; exit 3;; *--forget*) exit 0;; esac\n'
        '[ -e "$3" ] && exit 4\n'
        'touch "$3"\n'
    )
    program.chmod(0o755)

    def played(*blocks: tuple[str, ...]) -> list[Outcome]:
        environment = commands.environment_of(programs)
        world = World(tmp_path / "store")
        return list(commands.play(Page("page", blocks), world, tmp_path / "reader", environment))

    return played


def test_a_command_that_fails_or_writes_nothing_is_reported(outcomes) -> None:
    good, failing, forgetful, left_out = outcomes(
        ("adm x --out a", "adm x --fail --out b", "adm x --forget --out c", "make test")
    )
    assert not good.problem
    assert "exit status 3: broken" in failing.problem
    assert "did not write c" in forgetful.problem
    assert not left_out.problem
    assert left_out.skipped


def test_a_block_may_write_where_another_did_and_not_where_itself_did(outcomes) -> None:
    first, again, twice = outcomes(("adm x --out a",), ("adm x --out a", "adm y --out a"))
    assert (first.problem, again.problem) == ("", "")
    assert "exit status 4" in twice.problem
