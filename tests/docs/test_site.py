"""docs/ -> the site, or one sentence that says what it lacks; for those who have `.[docs]`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs import pages

# Neither Debian's copy of the images, nor a server of them.
PROGRAM = """
import sys
from pathlib import Path
from adm.data import idx
idx.DEBIAN_FASHION_MNIST, idx.FASHION_ADDRESS = Path("none"), "http://127.0.0.1:9"
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_build_without_its_images_ends_before_any_page_with_the_cure(tmp_path: Path) -> None:
    for needed in ("furo", "jupytext", "myst_nb", "sphinx_copybutton"):
        pytest.importorskip(needed)
    built = subprocess.run(
        [sys.executable, "-c", PROGRAM, "-q", "-b", "html", pages.DOCS, tmp_path / "site"],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        check=False,
    )
    assert built.returncode == 2
    assert "pages need Fashion-MNIST" in built.stderr
    assert "install Debian's dataset-fashion-mnist" in built.stderr
    assert "most recent call last" not in built.stderr
    assert not list((tmp_path / "site").rglob("*.html"))
