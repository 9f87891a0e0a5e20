"""README.md, --help of every verb, docs/*.md -> their commands are parsed by the command line."""

import re
import shlex
from collections.abc import Iterator

import pytest
from cyclopts import App, Parameter

from adm.app.cli import VERBS
from adm.app.cli.lists import converted
from docs import commands, pages


def calls() -> Iterator[str]:
    """What follows `adm` in every command, as it is written and as it is run."""
    found = [line for page in pages.PAGES for line in commands.commands_of(page)]
    for line in [*found, *(line for verb in VERBS for line in commands.examples_of(verb))]:
        if not re.search(r" help |--nnodes|\bfor ", line) and " adm " in f" {line}":
            for text in {line, commands.shortened(line)}:
                yield re.split(r"^adm |-m (?:-- )?adm ", text, maxsplit=1)[1]


@pytest.mark.parametrize("call", sorted(set(calls())))
def test_every_option_exists(call: str) -> None:
    verb, *words = shlex.split(re.split(r"[|>]", call)[0])
    app = App(name="adm", default_parameter=Parameter(converter=converted))
    app.command(f"adm.app.cli.{verb}:{verb}", name=verb)
    app.parse_args([verb, *words], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_of_itself(verb: str) -> None:
    assert any(re.search(rf"\badm {verb}\b", line) for line in commands.examples_of(verb))


def test_some_of_all_are_run() -> None:
    stories = commands.stories()
    assert len(stories["README.md"]) > 15
    assert len(stories["--help"]) > 8
    assert commands.shortened("adm train a --steps 9 --out b").startswith(
        "adm train a --out b --st"
    )


def test_continued_lines_are_joined_and_comments_left_out() -> None:
    block = "# first\nadm a --b c   # why\nadm d \\\n    --e f#g\n\nmake x\n"
    assert commands.lines_of(block) == ["adm a --b c", "adm d --e f#g"]
