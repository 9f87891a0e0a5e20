"""The same images by one process and by two -> the same files, even after a kill."""

import signal
from pathlib import Path

import launch
import pytest
import tiny
from samples import contents

from adm.app.cli import main
from adm.generation import blocks
from adm.store.files import work_path
from adm.store.hashes import damaged_parts

COUNT = 24
# In blocks of two images, so that both processes have several.
BLOCKS = "from adm.generation import blocks\nblocks.LARGEST = 2\n"
KILLED = """
import os, signal
from adm.store import work
write = work.write_npz
left = [3]  # two parts are written, whatever the other process does
def deadly(*args):
    left[0] -= 1
    if not left[0] and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*args)
work.write_npz = deadly
"""

pytestmark = pytest.mark.slow


def sample(folder: Path, out: Path, processes: int, status: int = 0, before: str = "") -> str:
    """`adm sample` of a cascade: by several processes, or by this one."""
    base = tiny.model(folder / "base.safetensors", tiny.diffusion("data.size=4,4"))
    up = tiny.model(folder / "up.safetensors", tiny.upsampler())
    words = ["sample", base, "--upsampler", up, "--count", COUNT, "--out", out]
    words += ["--steps", 3, "--upsampler-steps", 2, "--device", "cpu"]
    if processes == 1:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "LARGEST", 2)
            with pytest.raises(SystemExit) as ended:
                main([*map(str, words)])
        assert not ended.value.code
        return ""
    started = launch.command(
        folder, [*map(str, words)], processes=processes, before=BLOCKS + before
    )
    return launch.finish(started, status)


def test_two_processes_write_what_one_writes_and_go_on_after_one_was_killed(tmp_path: Path) -> None:
    one, two, resumed = (tmp_path / name / "out" for name in ("one", "two", "resumed"))
    sample(tmp_path, one, processes=1)
    assert damaged_parts(one) == []
    output = sample(tmp_path, two, processes=2)
    assert output.count("24 images, samples.npz") == 1  # one process speaks for both
    assert "120 of 120 network evaluations" in output  # and counts what both do
    assert contents(two) == contents(one)
    sample(tmp_path, resumed, processes=2, status=-signal.SIGKILL, before=KILLED)
    assert len([*work_path(resumed).glob("*.npz")]) > 1
    sample(tmp_path, resumed, processes=1)
    assert contents(resumed) == contents(one)
    for out in (one, two, resumed):
        assert [path.name for path in out.parent.iterdir()] == ["out"]
