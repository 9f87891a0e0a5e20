"""CONTRIBUTING.md, CHANGELOG.md -> their make targets, verbs and version, which exist."""

import re
import tomllib

from adm.app.cli import VERBS
from docs import pages

CONTRIBUTING = pages.ROOT / "CONTRIBUTING.md"
CHANGELOG = pages.ROOT / "CHANGELOG.md"


def test_the_make_targets_named_exist():
    targets = set(
        re.findall(r"^(\w+):", (pages.ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    text = CONTRIBUTING.read_text("utf-8")
    named = set(re.findall(r"`(?:[A-Z_]+=\S+ )?make (?:[A-Z]+=\S+ )?(\w+)`", text))
    assert {"test", "check", "demo", "format"} <= named <= targets


def test_every_verb_and_the_version_are_in_the_changelog():
    text = CHANGELOG.read_text("utf-8")
    assert [verb for verb in VERBS if f"`adm {verb}`" not in text] == []
    project = tomllib.loads((pages.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert re.search(rf"^## \[{re.escape(project['version'])}\]", text, re.MULTILINE)
