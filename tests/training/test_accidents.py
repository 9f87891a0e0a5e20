"""a full disk, a signal while saving -> the last checkpoint whole, and words that help."""

import resource

import launch
import pytest
import tiny

from adm.models.load import load_diffusion

STEPS = ("train.steps=12", "train.anneal=false", "train.save_every_steps=5", "watch.images=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nothing happens to comes to."""
    folder = tmp_path_factory.mktemp("whole")
    launch.finish(launch.train(folder, tiny.diffusion(*STEPS), tiny.stripes(), folder / "run"))
    return launch.outcome(folder / "run")


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_checkpoint_before_it_whole(tmp_path, whole):
    run, recipe, source = tmp_path / "run", tiny.diffusion(*STEPS), tiny.stripes()
    launch.finish(launch.train(tmp_path, recipe, source, run, "--steps", "5"))
    size = (run / "checkpoints/step-0000005/optimizer.safetensors").stat().st_size
    # A quota on the size of a file, between the weights' and the moments': the save half succeeds.
    limit = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size - 1000}, {resource.RLIM_INFINITY}))\n"
    )
    printed = launch.finish(launch.train(tmp_path, recipe, source, run, before=limit), status=2)
    assert "step-0000010 was not written" in printed
    assert "step-0000005 is intact, and a new attempt resumes from it" in printed
    assert load_diffusion(run).trained_steps == 5
    assert not list(run.glob("checkpoints/.*"))
    launch.finish(launch.train(tmp_path, recipe, source, run))
    assert launch.outcome(run) == whole


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_save_waits_for_its_end(tmp_path, whole):
    run, recipe, source = tmp_path / "run", tiny.diffusion(*STEPS), tiny.stripes()
    signalled = (
        "import os, signal\n"
        "from adm.training import checkpoint\n"
        "write = checkpoint._write\n"
        "def half(path, *rest):\n"
        "    if path.name == 'raw.safetensors':\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    write(path, *rest)\n"
        "checkpoint._write = half\n"
    )
    printed = launch.finish(
        launch.train(tmp_path, recipe, source, run, before=signalled), status=128 + 15
    )
    assert "run the same command again to resume" in printed
    assert load_diffusion(run).trained_steps in (5, 6)
    launch.finish(launch.train(tmp_path, recipe, source, run))
    assert launch.outcome(run) == whole
