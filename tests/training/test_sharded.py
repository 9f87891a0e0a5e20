"""sharded weights -> checkpoints written in the background, read by any number of processes."""

import errno
import shutil
from pathlib import Path

import launch
import pytest
import tiny
import torch
from safetensors.torch import load_file

from adm.models.load import load_diffusion
from adm.training import sharded
from adm.training.checkpoint import latest

SETTINGS = (
    "train.steps=9",
    "train.anneal=false",
    "train.save_every_steps=3",
    "train.keep_last=9",
    "train.precision=float32",
    "train.ema_others=0.9",
    "levels=by-loss",
    "unet.dropout=0.2",
    "watch.images=0",
)
CLOSE = {"rtol": 2e-4, "atol": 1e-6}  # as between numbers of processes

pytestmark = [
    pytest.mark.launcher,
    pytest.mark.skipif(not sharded.is_supported(), reason="needs PyTorch 2.9 for shards"),
]


def run_of(folder: Path, *options: str, processes: int, before: str = "", status: int = 0) -> str:
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes()
    started = launch.train(
        folder.parent / "files",
        recipe,
        source,
        folder,
        *options,
        processes=processes,
        before=before,
    )
    return launch.finish(started, status)


def names_in(checkpoint: Path) -> set[str]:
    return {path.name for path in checkpoint.iterdir()} - {"SHA256SUMS", "state.json"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes with sharded weights."""
    run = tmp_path_factory.mktemp("sharded") / "run"
    run_of(run, "--shard", processes=2)
    return run


def test_checkpoints_on_the_way_are_shards_and_the_last_one_is_whole(whole: Path) -> None:
    """Each is a model, and the weights of the shards equal those of a whole checkpoint."""
    third, last = (whole / "checkpoints" / f"step-000000{step}" for step in (3, 9))
    assert names_in(third) == {"model.safetensors", "shards"}
    assert names_in(last) == {
        *("model.safetensors", "raw.safetensors", "optimizer.safetensors"),
        *("ema-0.9.safetensors", "importance.safetensors"),
    }
    exact = whole.parent / "exact"
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes()
    files = whole.parent / "files"
    launch.finish(
        launch.train(files, recipe, source, exact, "--shard", "--steps", "3", processes=2)
    )
    same = exact / "checkpoints/step-0000003"
    assert len(names_in(same)) == 5
    for file in ("model", "raw", "optimizer", "ema-0.9", "importance"):
        ours = sharded.read_whole(third / "shards", f"{file}.safetensors/")
        theirs = load_file(same / f"{file}.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs), file
    ours, theirs = (load_file(each / "model.safetensors") for each in (third, same))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert load_diffusion(third).recipe == load_diffusion(whole).recipe


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, killed after step 8; its last checkpoint is one of shards."""
    run = tmp_path_factory.mktemp("killed") / "run"
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes()
    at = launch.at_step(8, "SIGKILL")
    files = run.parent / "files"
    started = launch.train(files, recipe, source, run, "--shard", processes=2, before=at)
    assert started.wait() in (2, -9)  # the other one may notice the loss first
    newest = latest(run)
    assert newest is not None
    assert newest.name == "step-0000006"
    assert names_in(newest) == {"model.safetensors", "shards"}
    return run


@pytest.mark.parametrize(("processes", "options"), [(2, ("--shard",)), (1, ())])
def test_a_run_killed_after_shards_resumes_with_any_number_of_processes(
    whole: Path, killed: Path, tmp_path: Path, processes: int, options: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed, run, symlinks=True)
    assert "from step 6" in run_of(run, *options, processes=processes)
    if processes == 2:
        assert launch.outcome(run) == launch.outcome(whole)
    torch.testing.assert_close(launch.losses(run), launch.losses(whole), **CLOSE)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        *(f"step-000000{step}" for step in (3, 6, 9)),
    }


def test_a_damaged_shard_is_set_aside_and_the_run_resumes_before_it(
    whole: Path, killed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(killed, run, symlinks=True)
    shard = min((run / "checkpoints/step-0000006/shards").iterdir())
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    output = run_of(run, "--shard", processes=2)
    assert "damaged-step-0000006" in output
    assert "from step 3" in output
    assert launch.outcome(run) == launch.outcome(whole)


def test_a_full_disk_of_one_process_ends_all_and_they_resume_with_room(
    whole: Path, tmp_path: Path
) -> None:
    """The disk is full where process 1 writes its shard of step 6, in the background."""
    before = (
        "import errno, os\n"
        "from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter as W\n"
        "write = W.write_data\n"
        "def full(self, plan, planner):\n"
        "    if os.environ['RANK'] == '1' and 'step-0000006' in str(self.path):\n"
        f"        raise OSError({errno.ENOSPC}, os.strerror({errno.ENOSPC}), str(self.path))\n"
        "    return write(self, plan, planner)\n"
        "W.write_data = full\n"
    )
    run = tmp_path / "run"
    output = run_of(run, "--shard", processes=2, before=before, status=2)
    assert "checkpoint step-0000006 was not written (No space left on device" in output
    assert "step-0000003 is intact" in output
    assert "Traceback" not in output
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-0000003"}
    run_of(run, "--shard", processes=2)
    assert launch.outcome(run) == launch.outcome(whole)
