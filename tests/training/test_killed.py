"""a run killed, signalled or out of space -> a whole checkpoint, and the same outcome at last."""

import resource
import signal

import launch
import pytest
import tiny

from adm.models.load import load_diffusion
from adm.store.locks import FILE

SETTINGS = (
    "train.steps=14",
    "train.save_every_steps=3",
    "unet.dropout=0.1",
    "levels=by-loss",
    "train.ema_others=0.9",
    "watch.images=0",
    "watch.every_steps=7",
    "watch.validation_images=8",
)


@pytest.mark.slow
def test_a_run_that_is_killed_ends_like_an_uninterrupted_one(tmp_path):
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes()
    options = ("--hold-out", "0.2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    launch.finish(launch.train(tmp_path / "a", recipe, source, whole, *options))
    for step in (5, 12):  # after a checkpoint, and in the step whose log is a checkpoint's last
        killed = launch.at_step(step, launch.itself("SIGKILL"))
        process = launch.train(tmp_path / "b", recipe, source, broken, *options, before=killed)
        launch.finish(process, status=-signal.SIGKILL)
    printed = launch.finish(launch.train(tmp_path / "b", recipe, source, broken, *options))
    assert "continuing" in printed
    assert launch.outcome(broken) == launch.outcome(whole)
    assert not (broken / FILE).exists()  # the lock that each kill had left


STEPS = ("train.steps=12", "train.anneal=false", "train.save_every_steps=5", "watch.images=0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcome of an uninterrupted run."""
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
        "write = checkpoint.save_model\n"
        "def half(path, *rest):\n"
        "    if path.name == 'raw.safetensors':\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    write(path, *rest)\n"
        "checkpoint.save_model = half\n"
    )
    printed = launch.finish(
        launch.train(tmp_path, recipe, source, run, before=signalled), status=128 + 15
    )
    assert "run the same command again to resume" in printed
    assert load_diffusion(run).trained_steps in (5, 6)
    launch.finish(launch.train(tmp_path, recipe, source, run))
    assert launch.outcome(run) == whole
