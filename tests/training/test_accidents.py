"""a full disk, a signal while saving, a NaN -> the last checkpoint whole, and words that help."""

import json
import resource

import launch
import pytest
import tiny

from adm.models.load import load_diffusion
from adm.training import checkpoint

STEPS = ("train.steps=30", "train.anneal=false", "train.save_every_steps=5", "watch.images=0")


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_the_checkpoint_before_it_whole(tmp_path):
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
    launch.finish(launch.train(tmp_path / "b", recipe, source, tmp_path / "whole"))
    assert launch.outcome(run) == launch.outcome(tmp_path / "whole")


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_save_waits_for_its_end(tmp_path):
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
    launch.finish(launch.train(tmp_path / "b", recipe, source, tmp_path / "whole"))
    assert launch.outcome(run) == launch.outcome(tmp_path / "whole")


POISON = """
from adm.training import loop, update
calls = []
def poisoned(player, objective, batch, how):
    def spoilt(network, part):
        outcome = objective(network, part)
        calls.append(part)
        if len(calls) >= FIRST:
            KIND
        return outcome
    return update.update(player, spoilt, batch, how)
loop.update = poisoned
"""
FORWARD = (
    "loss = outcome.loss.clone(); loss[1] = float('nan')\n"
    "            outcome = outcome._replace(loss=loss, shown={**outcome.shown, 'loss': loss})"
)
GRADIENT = "outcome.loss.register_hook(lambda g: g * float('inf'))"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["forward", "gradient"])
def test_steps_that_are_not_finite_end_the_run_with_names(kind, tmp_path):
    recipe = tiny.diffusion(*STEPS, "train.give_up_after=3")
    poison = POISON.replace("FIRST", "8").replace(
        "KIND", FORWARD if kind == "forward" else GRADIENT
    )
    run = tmp_path / "run"
    process = launch.train(tmp_path, recipe, tiny.stripes(), run, before=poison)
    printed = launch.finish(process, status=2)
    told = "output is not finite" if kind == "forward" else "its gradient is not"
    assert "step 10" in printed
    assert told in printed
    assert checkpoint.read_numbers(checkpoint.latest(run)).step == 5
    report = json.loads((run / "failure.json").read_text())
    assert report["step"] == 10
    assert report["skipped"] == kind
    assert len({w["image"] for w in report["worst"]}) == recipe.train.batch_size
    lines = launch.log(run)
    assert all(f"skipped_{kind}" not in line for line in lines[:7])
    assert all(f"skipped_{kind}" in line for line in lines[7:])
    if kind == "forward":
        assert report["worst"][0]["loss"] == "nan"


def test_data_smaller_than_a_batch_are_refused_with_the_counts(tmp_path):
    with pytest.raises(ValueError, match=r"train\.batch_size must be at most 3"):
        tiny.steps(tiny.diffusion(), tiny.stripes(3), tmp_path)
