"""Recipe, Devices -> seconds of an optimizer step; seconds -> text."""

import time

import torch

from adm.distillation import Teach
from adm.processes import Devices
from adm.recipes import build, stages
from adm.recipes.schema import Recipe
from adm.training.batches import blank
from adm.training.microbatch import tried
from adm.training.players import RunState, idle
from adm.training.spread import share

TRIAL = 8  # images of a trial, whose time is scaled to those of a step


def seconds_per_step(recipe: Recipe, devices: Devices, teach: Teach | None = None) -> float:
    """Estimate the seconds of a step by the forward and backward pass of a few images.

    A network of the recipe is built for it, and discarded. Takes about twice the time of `TRIAL`
    images; the run that follows is not affected.

    Args:
        teach: the teacher of a student.
    """
    mine = len(share(recipe.train.batch_size, devices))
    count = max(1, min(TRIAL, mine)) * recipe.parts
    device = devices.device
    networks = {name: net.to(device).train() for name, net in build.networks(recipe).items()}
    turn = stages.turn_of(recipe, networks, device, teach=teach)
    # The last step: a student by consistency tuning changes its objective on the way.
    state = RunState({n: idle(net) for n, net in networks.items()}, step=recipe.train.steps - 1)
    batch = blank(count, (recipe.data.channels, *recipe.data.size)).to(device)
    seconds = 0.0
    for _ in range(2):  # the first trial also compiles kernels and allocates memory
        started = time.perf_counter()
        turn(state, batch, tried)
        if device.type != "cpu":
            torch.get_device_module(device).synchronize()
        seconds = time.perf_counter() - started
    return seconds * mine / count


def duration(seconds: float) -> str:
    """Return a time in the two units that tell most: `48 s`, `12 min`, `1 h 30 min`, `3 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min"
    return f"{hours // 24} d {hours % 24} h"
