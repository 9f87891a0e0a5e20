"""A process that is killed at any point leaves what the same call completes, and nothing beside."""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numbered import Numbered

from adm.generation import batches, cache, folder, making, writing
from adm.generation.folder import sample_into
from adm.generation.job import Job
from adm.store import files

BASE = Job(Numbered(), [0, 1] * 3, 6)
CASCADE = Job(Numbered(low_shape=(1, 4, 4)), [0, 1] * 3, 6, low_res=BASE)
# Module, function, and the call before which the process is killed.
POINTS = [
    (cache, "write_json", 1),
    (batches, "write_sealed", 2),
    (making, "store", 1),
    (making, "store", 4),
    (os, "replace", 2),
    (writing, "_save", 1),
    (writing, "_save", 2),
    (writing, "seal", 1),
    (files, "fsync_all", 1),
    (files, "_take", 3),
    (files, "_exchange", 1),
    (cache, "empty", 1),
]


def killed_at(module: Any, name: str, call: int, action: Callable[[], object]) -> bool:
    """Run `action` in another process, and kill it; return whether it came so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which it does not use
        child = os.fork()
    if not child:
        left, function = [call], getattr(module, name)

        def deadly(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        setattr(module, name, deadly)
        try:
            action()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def contents(out: Path) -> dict[str, bytes]:
    found = sorted(path for path in out.rglob("*") if path.is_file())
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    sample_into(out, CASCADE, batch_size=2)
    return contents(out)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("module", "name", "call"), POINTS)
def test_the_same_call_completes_what_a_kill_has_left(
    tmp_path: Path, whole: dict[str, bytes], module: Any, name: str, call: int, overwrite: bool
) -> None:
    place = tmp_path / "place"
    out = place / "out"
    if overwrite:
        sample_into(out, BASE, batch_size=2)

    def sampled() -> None:
        sample_into(out, CASCADE, batch_size=2, overwrite=overwrite)

    if not killed_at(module, name, call, sampled):
        pytest.skip("not on this way")
    sampled()
    assert contents(out) == whole
    assert [path.name for path in place.iterdir()] == ["out"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("module", "name", "call"),
    [(os, "replace", 1), (writing, "_save", 2), (folder, "store_sums", 1), (folder, "empty", 1)],
)
def test_a_kill_while_pictures_are_made_again_leaves_nothing(
    tmp_path: Path, whole: dict[str, bytes], module: Any, name: str, call: int
) -> None:
    out = tmp_path / "out"
    sample_into(out, CASCADE)
    (out / "grid.png").unlink()
    (out / "base" / "grid.png").write_bytes(b"damaged")
    assert killed_at(module, name, call, lambda: sample_into(out, CASCADE))
    sample_into(out, CASCADE)
    assert contents(out) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
