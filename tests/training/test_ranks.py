"""the same run on one process and on two -> the same losses; resumed on another number too."""

import launch
import pytest
import tiny
import torch

from adm.recipes.schema import override

SETTINGS = (
    "train.steps=8",
    "train.anneal=false",
    "train.save_every_steps=4",
    "train.precision=float32",
    "watch.images=0",
)
CLOSE = {"rtol": 2e-4, "atol": 1e-6}  # sums over processes round in another order

pytestmark = pytest.mark.slow


def recipe_of(kind):
    own = ("unet.dropout=0.2", "levels=by-loss") if kind == "diffusion" else ()
    return tiny.KINDS[kind](*SETTINGS, *own)


def test_a_run_of_two_processes_is_watched_and_resumes_with_one(tmp_path):
    recipe, source = recipe_of("diffusion"), tiny.stripes()
    run = tmp_path / "two"
    tiny.steps(recipe, source, tmp_path / "one")
    recipe = override(recipe, ["watch.images=3", "watch.validation_images=10"])
    _, validation = launch.files(tmp_path / "validation", recipe, tiny.stripes(12))
    words = ("--validation", str(validation))
    started = launch.train(tmp_path / "b", recipe, source, run, "--steps", "4", *words, processes=2)
    output = launch.finish(started)
    assert "failed" not in output
    assert "strides" not in output  # a warning from every rank
    assert [path.name for path in (run / "previews").iterdir()] == ["step-0000004.png"]
    again = launch.train(tmp_path / "b", recipe, source, run, "--validation", str(validation))
    assert "continuing" in launch.finish(again)
    assert len(launch.losses(run, "validation/loss")) == 2
    torch.testing.assert_close(launch.losses(run), launch.losses(tmp_path / "one"), **CLOSE)


@pytest.mark.parametrize("at", [3, 8])
def test_a_signal_to_one_process_stops_all_and_at_the_end_none(at, tmp_path):
    # While Python shuts down, a thread of the connections may abort a finished process.
    before = (
        "import atexit, os, signal\n"
        "atexit.register(print, 'taken down')\n"
        "from adm.training import log\n"
        "write = log.write\n"
        "def interrupt(lines, done, shown):\n"
        "    write(lines, done, shown)\n"
        f"    if done == {at} and os.environ['RANK'] == '1':\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "log.write = interrupt\n"
    )
    recipe, source = recipe_of("classifier"), tiny.stripes()
    run = tmp_path / "run"
    started = launch.train(tmp_path, recipe, source, run, before=before, processes=2)
    output = launch.finish(started)
    assert "Traceback" not in output
    assert ("done; next" in output) == (at == 8)
    assert at == 3 or "taken down" not in output
    assert ("saved; run the same command again to resume" in output) == (at == 3)
    assert len(launch.losses(run)) == at


OTHERS = {
    "recipe": "sys.argv += ['--set', 'train.learning_rate=0.5']",
    "data": "sys.argv[sys.argv.index('--data') + 1] = {other!r}",
    "version": "run.version = lambda _: '0.0.9'",
}


@pytest.mark.parametrize("what", OTHERS)
def test_processes_that_disagree_are_refused(what, tmp_path):
    _, other = launch.files(tmp_path / "other", recipe_of("diffusion"), tiny.stripes(24))
    before = (
        "import os, sys\n"
        "from adm.runs import run\n"
        f"if os.environ['RANK'] == '1':\n"
        f"    {OTHERS[what].format(other=str(other))}\n"
    )
    recipe, run = recipe_of("diffusion"), tmp_path / "run"
    started = launch.train(tmp_path, recipe, tiny.stripes(), run, processes=2, before=before)
    printed = launch.finish(started, status=2)
    assert "adm: processes [1] have another recipe, data or version than process 0" in printed
    assert "terminate called" not in printed


def test_a_process_that_never_starts_is_reported_in_time(tmp_path):
    before = (
        "import os, datetime\n"
        "from adm import processes\n"
        "processes.START = datetime.timedelta(seconds=2)\n"
        "os.environ['RANK'] == '1' and os._exit(0)\n"
    )
    recipe, run = recipe_of("diffusion"), tmp_path / "run"
    started = launch.train(tmp_path, recipe, tiny.stripes(), run, processes=2, before=before)
    printed = launch.finish(started, status=2)
    assert "adm: process 0 of 2 could not meet the others (Timed out" in printed
    assert "clients joined.); check that all of them run" in printed


def test_a_process_that_does_not_answer_ends_the_others_in_time(tmp_path):
    before = (
        "import os, time\n"
        "import adm.processes as devices\n"
        "devices.PATIENCE_S = 2.0\n"
        "if os.environ['RANK'] == '1':\n"
        "    devices.self_test = lambda *_: time.sleep(10_000)\n"
    )
    recipe, run = recipe_of("diffusion"), tmp_path / "run"
    started = launch.train(tmp_path, recipe, tiny.stripes(), run, processes=2, before=before)
    assert "process 0 of 2 had no answer from the others in 2 s" in launch.finish(started, status=2)
