"""CONTRIBUTING.md -> the make targets that it names, which exist."""

import re

from docs import pages

CONTRIBUTING = pages.ROOT / "CONTRIBUTING.md"


def test_the_make_targets_named_exist():
    targets = set(
        re.findall(r"^(\w+):", (pages.ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    text = CONTRIBUTING.read_text("utf-8")
    named = set(re.findall(r"`(?:[A-Z_]+=\S+ )?make (?:[A-Z]+=\S+ )?(\w+)`", text))
    assert {"test", "check", "demo", "format"} <= named <= targets
