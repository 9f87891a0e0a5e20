"""a run killed at any moment and started again -> the files of a run that never was."""

import random
import signal
import time

import launch
import pytest
import tiny

from adm.store.locks import FILE

KILLS = 2
SETTINGS = (
    "train.steps=40",
    "train.save_every_steps=3",
    "unet.dropout=0.1",
    "levels=by-loss",
    "train.ema_others=0.9",
    "train.ema_widths=0.1",
    "watch.images=0",
    "watch.every_steps=20",
    "watch.validation_images=8",
)


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_as_if_it_had_not_been(tmp_path):
    recipe, source = tiny.diffusion(*SETTINGS), tiny.stripes()
    options = ("--hold-out", "0.2")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    launch.finish(launch.train(tmp_path / "a", recipe, source, whole, *options))
    chance = random.Random("diffusion")
    for _ in range(KILLS):
        process = launch.train(tmp_path / "b", recipe, source, broken, *options)
        _wait_for_steps(process, broken, chance.randint(1, 9))
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    printed = launch.finish(launch.train(tmp_path / "b", recipe, source, broken, *options))
    assert "continuing" in printed
    assert launch.outcome(broken) == launch.outcome(whole)
    assert not (broken / FILE).exists()  # the lock that each kill had left


def _wait_for_steps(process, run, count):
    """Until the process has taken so many steps of its own, wherever it began."""
    first, deadline = None, time.monotonic() + launch.START_S
    while process.running and time.monotonic() < deadline:
        time.sleep(0.002)
        if not (run / "log.jsonl").exists():
            continue
        lines = (run / "log.jsonl").read_bytes().count(b"\n")
        if first is None or lines < first:  # it cuts off what the one before wrote in vain
            first = lines
        if lines >= first + count:
            return
