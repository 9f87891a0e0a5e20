"""docs/ -> the site, or one sentence that says what it lacks; for those who have `.[docs]`."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

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
    for needed in ("furo", "jupytext", "myst_nb", "sphinx_copybutton", "sphinxext.opengraph"):
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


def test_only_a_published_site_has_a_sitemap_and_needs_inventories(tmp_path, monkeypatch) -> None:
    pytest.importorskip("jupytext")
    pytest.importorskip("sphinx")
    builder = SimpleNamespace(get_target_uri="{}.html".format)
    env = SimpleNamespace(found_docs={"index", "howto/train"})
    app = SimpleNamespace(builder=builder, env=env, outdir=tmp_path)
    for address in ("", "https://docs.example/en/stable/"):
        monkeypatch.setenv("READTHEDOCS_CANONICAL_URL", address)
        conf = runpy.run_path(str(pages.DOCS / "conf.py"))
        assert bool(conf["intersphinx_mapping"]) == bool(address)
        conf["write_sitemap"](app, None)
        assert (tmp_path / "sitemap.xml").exists() == bool(address)
    written = [node.text for node in ElementTree.parse(tmp_path / "sitemap.xml").iter()]
    assert f"{address}howto/train.html" in written
