"""adm docs -> the pages of the documentation, which help and errors name."""

import io
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from cli.conftest import Adm

import adm as package
from adm.app.cli import docs

ROOT = Path(__file__).parents[2]
PAGES = docs.pages_in(ROOT / "docs")
SOURCES = sorted(Path(package.__file__).parent.rglob("*.py"))
CAPTURE = runpy.run_path(str(ROOT / "tools" / "capture_help.py"))
NAMED = re.compile(r"`adm docs\s+([\w/-]+)`")


def test_pages_are_listed_with_their_titles(adm: Adm) -> None:
    answer = adm("docs")
    assert answer.status == 0
    lines = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert lines.keys() == PAGES.keys()
    assert lines["tour"] == "A five-minute tour in Python"
    assert all(lines.values())


@pytest.mark.parametrize("page", ["data", "docs/data.md", "Data"])
def test_a_page_is_printed_as_it_is(adm: Adm, page: str) -> None:
    assert adm("docs", page).out == PAGES["data"].read_text("utf-8")


def test_on_a_terminal_a_page_is_formatted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setenv("COLUMNS", "300")
    docs.show("# A title\n\nSome `code` in a *long* line. " + "word " * 60)
    assert "A title" in shown.getvalue()
    assert "# A title" not in shown.getvalue()
    assert max(map(len, shown.getvalue().splitlines())) < 200


def test_paths_are_printed(adm: Adm) -> None:
    assert adm("docs", "data", "--path").out.strip() == str(PAGES["data"])
    assert adm("docs", "--path").out.strip() == str(ROOT / "docs")


def test_an_unknown_page_names_near_ones(adm: Adm) -> None:
    assert "no page 'trainin'; did you mean training" in adm("docs", "trainin").refusal()
    assert (
        "no page 'xyz'; the pages are averages, clusters, command-line,"
        in adm("docs", "xyz").refusal()
    )
    assert "no page '../README'" in adm("docs", "../README").refusal()


def test_the_pages_of_an_installed_package_come_first(
    tmp_path: Path, adm: Adm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docs, "INSTALLED", tmp_path)
    (tmp_path / "command-line.md").write_text("# One\n")
    assert adm("docs").out == "command-line  One\n"
    (tmp_path / "command-line.md").unlink()
    assert adm("docs", "--path").out.strip() == str(ROOT / "docs")
    monkeypatch.setattr(docs, "CHECKOUT", tmp_path)
    assert "install the package again" in adm("docs").refusal()


def test_the_wheel_holds_the_pages_where_they_are_looked_for() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {"src/adm", "docs"} == set(wheel["only-include"])
    assert wheel["sources"] == {"src/adm": "adm", "docs": "adm/docs"}
    assert Path(package.__file__).parent / "docs" == docs.INSTALLED
    assert not {name.split("/")[0] for name in PAGES if "/" in name} & {"images", "training"}


def test_every_page_that_help_and_messages_name_exists() -> None:
    named = {page for path in SOURCES for page in NAMED.findall(path.read_text("utf-8"))}
    assert {"data", "features", "averages", "fashion"} <= named <= PAGES.keys()


@pytest.mark.parametrize("command", CAPTURE["COMMANDS"])
def test_help_names_no_file_that_is_not_installed(command: str) -> None:
    help_ = CAPTURE["help_of"](command.split()[1:])
    assert not re.search(r"\bdocs/\S+\.md", help_)
