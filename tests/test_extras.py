"""Extra -> the command that installs its requirements, which works from a checkout."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import adm
from adm.extras import installing

ROOT = Path(__file__).parents[1]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]["optional-dependencies"]


def required(extra: str) -> list[str]:
    """The requirements of an extra, with those of the extras that it includes."""
    requirements = []
    for each in EXTRAS[extra]:
        if others := re.fullmatch(r"ablated-diffusion\[(.*)\]", each):
            requirements += [one for name in others[1].split(",") for one in required(name)]
        else:
            requirements.append(each)
    return requirements


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_command_names_the_requirements_of_every_extra(extra: str) -> None:
    command = shlex.split(installing(extra))
    assert command[:2] == ["pip", "install"]
    assert sorted(command[2:]) == sorted(required(extra))
    assert not any("ablated-diffusion" in word for word in command)


def test_what_installs_the_package_by_its_name_says_how_to_install_a_copy() -> None:
    """It is on no index yet, so `pip` cannot find it; no message of a program asks for that."""
    by_name = re.compile(r"pip install\W+ablated-diffusion")
    for path in Path(adm.__file__).parent.rglob("*.py"):
        assert not by_name.search(path.read_text("utf-8")), path
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = [page for page in pages if by_name.search(page.read_text("utf-8"))]
    assert named == [ROOT / "README.md", ROOT / "docs/index.md"]
    for page in named:
        assert "Until it is published, `pip install .`" in page.read_text("utf-8"), page


def test_every_extra_that_the_package_names_exists() -> None:
    named = {
        name
        for path in Path(adm.__file__).parent.rglob("*.py")
        for name in re.findall(r"\binstalling\(['\"](\w+)['\"]\)", path.read_text("utf-8"))
    }
    assert len(named) > 5
    assert named <= EXTRAS.keys()
