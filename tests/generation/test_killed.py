"""The same call completes what a process killed at any point has left, and leaves nothing else."""

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numbered import Numbered
from samples import contents

from adm.generation import folder
from adm.generation.folder import sample_into
from adm.generation.job import Job
from adm.store import files, work

JOB = Job(Numbered(shape=(1, 4, 4)), [0, 1] * 3, 6)
BEFORE = Job(Numbered(seed=1), [0, 1] * 3, 6)
# Module or class, function, and the call before which the process is killed.
POINTS = [
    (work, "write_json", 1),
    (work, "write_npz", 1),
    (work, "write_npz", 3),
    (folder, "write_json", 1),
    (files, "fsync", 1),
    (os, "replace", 3),
    (folder, "write_parts", 1),
    (folder, "contact_sheet", 1),
    (folder, "seal", 1),
    (files, "_take", 1),
    (files, "empty", 1),
    (files, "empty", 2),
]


def killed_at(module: Any, name: str, call: int, action: Callable[[], object]) -> bool:
    """Run `action` in a child process that is killed at a call; return whether it got there."""
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("module", "name", "call"), POINTS)
def test_the_same_call_completes_what_a_kill_has_left(
    tmp_path: Path, module: Any, name: str, call: int, overwrite: bool
) -> None:
    place = tmp_path / "place"
    out = place / "out"
    sample_into(tmp_path / "whole", JOB)
    if overwrite:
        sample_into(out, BEFORE)

    def sample() -> None:
        sample_into(out, JOB, overwrite=overwrite)

    assert killed_at(module, name, call, sample) or (name, call) == ("empty", 2)
    sample()
    assert contents(out) == contents(tmp_path / "whole")
    assert [path.name for path in place.iterdir()] == ["out"]
