"""a run on two processes, whole or sharded -> the figures and previews of the run on one."""

from pathlib import Path

import launch
import pytest
import tiny

from adm.app.runs.watch import PREVIEWS

SETTINGS = ("train.precision=float32", "train.steps=2", "watch.validation_images=10")


@pytest.mark.slow
def test_two_processes_log_the_validation_of_one(tmp_path: Path) -> None:
    chosen, source = tiny.diffusion(*SETTINGS, "watch.images=3"), tiny.stripes()
    launch.files(tmp_path / "held", chosen, tiny.stripes(12))
    held = ("--validation", str(tmp_path / "held" / "data.npz"))
    ways = {"one": (1, ()), "two": (2, ()), "sharded": (2, ("--shard",))}
    for way, (processes, options) in ways.items():
        started = launch.train(
            tmp_path / f"{way}-files",
            chosen,
            source,
            tmp_path / way,
            *held,
            *options,
            processes=processes,
        )
        printed = launch.finish(started)
        assert "failed" not in printed
    last = {way: launch.log(tmp_path / way)[-1] for way in ways}
    for way in ("two", "sharded"):
        assert last[way].keys() == last["one"].keys()
        assert last[way] == pytest.approx(last["one"], rel=1e-3, abs=1e-4)
        names = [path.name for path in (tmp_path / way / PREVIEWS).iterdir()]
        assert names == ["step-0000002.png"]
        assert (tmp_path / way / "progress.png").exists()
    assert "validation/loss" in last["one"]
