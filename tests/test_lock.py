"""requirements-dev.lock -> every requirement with its version, and nothing of one machine."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements-dev.lock").read_text("utf-8")


def names(lines: list[str]) -> set[str]:
    matches = (re.match(r"[\w.-]+", line) for line in lines)
    return {name[0].lower().replace("_", "-").replace(".", "-") for name in matches if name}


def test_the_lock_names_versions_alone() -> None:
    assert not re.search(r"https?:|@|\+|--", LOCK)
    assert all(re.match(r"[\w.-]+==[\w.]+( ;|$)", line) for line in LOCK.splitlines())


def test_every_requirement_for_development_is_in_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["dev"], *extras["docs"]]
    assert names(requirements) - names(LOCK.splitlines()) <= {"ablated-diffusion"}
