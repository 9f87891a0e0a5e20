"""One thread per test process: the tests' tensors are small, and the processes run side by side."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from adm.app import openmp

openmp.configure(threads=1)  # before torch is loaded

from answers import adm  # noqa: E402, F401, a fixture

if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and so would what tests start


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A separate cache, with links to data downloaded into the user's."""
    theirs = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = tmp_path_factory.mktemp("cache")
    (own / "adm").mkdir()
    for name in ("adm/data", "adm/compiled", "huggingface", "matplotlib"):
        if (theirs / name).exists():
            (own / name).symlink_to(theirs / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(own))
        yield
