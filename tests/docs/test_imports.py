"""Page -> the names that its Python blocks import from adm, which exist."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from docs import pages


def imported(page: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import from this package; the name is None for `import module`."""
    for _, block in pages.blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "adm":
                yield from ((str(node.module), alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, None) for alias in node.names if alias.name == "adm")


def missing(page: Path) -> list[str]:
    """The imports of a page that would fail."""
    failing = []
    for module, name in imported(page):
        try:
            found = import_module(module)
            if name is not None and not hasattr(found, name):
                import_module(f"{module}.{name}")
        except ImportError:
            failing.append(f"{module}: {name}")
    return failing


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_imports_resolve(page: Path) -> None:
    assert missing(page) == []
