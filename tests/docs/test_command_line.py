"""docs/command-line.md -> it says what the command line prints."""

import os
import re
import runpy
import subprocess
import sys

import pytest

from adm.app.cli import VERBS, main
from docs import pages

PAGE = pages.DOCS / "command-line.md"
TEXT = PAGE.read_text(encoding="utf-8")
CAPTURE = runpy.run_path(str(pages.ROOT / "tools" / "capture_help.py"))
SECTION = re.compile(r"^## (.+?)\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REFRESH = "the page is out of date; run `python tools/capture_help.py`"


def words(text: str) -> list[str]:
    """Without borders and line breaks, which belong to the library that draws them."""
    return re.sub(r"[─-╿]", " ", text).split()


def test_every_command_has_its_section():
    commands = [title for title, _ in SECTION.findall(TEXT)]
    subcommands = ["adm data inspect", "adm data pack"]
    assert commands == ["adm", *(f"adm {verb}" for verb in VERBS), *subcommands], REFRESH


@pytest.mark.parametrize("command", CAPTURE["COMMANDS"])
def test_help_is_what_the_page_shows(command):
    shown = dict(SECTION.findall(TEXT))[command]
    printed = f"$ {command} --help\n{CAPTURE['help_of'](command.split()[1:])}"
    assert words(shown) == words(printed), REFRESH


def test_the_words_around_the_help_are_the_tool_s():
    assert TEXT.startswith(CAPTURE["OPENING"]), REFRESH


def test_a_process_of_its_own_prints_the_same():
    environment = os.environ | CAPTURE["TERMINAL"]
    command = [sys.executable, "-m", "adm", "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert words(done.stdout) == words(CAPTURE["help_of"]([]))


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_explained(verb):
    """A docstring that was misread leaves options without a word, and no error."""
    lines = CAPTURE["help_of"]([verb]).splitlines()
    entries = [line.strip("│ *") for line in lines if re.match(r"│ [ *] +\S|│ \S", line)]
    bare = [entry for entry in entries if not re.search(r"\S {2,}\S", entry)]
    assert entries
    assert not [entry for entry in bare if re.match(r"--|[A-Z]+$", entry)]


def test_a_mistake_ends_in_one_line_and_status_2(capsys, monkeypatch):
    monkeypatch.delenv("ADM_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["recipes", "fashon"])
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "fashion" in printed.err
    monkeypatch.setenv("ADM_TRACEBACK", "1")
    with pytest.raises(ValueError, match="fashion"):
        main(["recipes", "fashon"])
