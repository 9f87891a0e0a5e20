"""Sampling in "auto" precision, model -> Sampling in the precision that is fastest on this machine.

A precision is measured once, and stored in the user's cache: the same command gives the same images
when it is repeated or resumed, and processes that run at the same time agree.
"""

import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, get_args

import torch

from adm.app.notices import notice
from adm.distillation import conditions
from adm.generation.blocks import block_size
from adm.models.trained import DiffusionModel
from adm.processor import described, lacks_half_precision
from adm.samplers import Sampling
from adm.samplers.settings import Precision
from adm.store.files import user_cache, write_json
from adm.store.hashes import sha256_of
from adm.store.parsed import cached_json

AUTO = "auto"
WHOLE: Precision = "float32"
GAIN = 1.15  # how many times as fast half precision must be
ERROR = 0.01  # largest relative difference of its output, in the root mean square
ROUNDS, PATIENCE_S = 5, 2.0  # forward passes of each precision; fewer once they take so long
Clock: TypeAlias = Callable[[], float]  # -> seconds


def concrete(sampling: Sampling, model: DiffusionModel) -> Sampling:
    """Return the settings with a precision that is not "auto".

    Ranks on one machine agree, as they find the same precision in the cache.
    """
    if sampling.precision != AUTO:
        return sampling
    if candidates(model.device) == (WHOLE,):
        return replace(sampling, precision=WHOLE)
    found = stored(model) or decided(model)
    return replace(sampling, precision=found)


def decided(model: DiffusionModel) -> Precision:
    """Measure, store and return the fastest precision."""
    found, said = measured(model)
    for other in candidates(model.device):
        if other != found:
            model.release(other)
    notice(f"precision {found} is the fastest here for {model.name}: {said}")
    earlier = stored(model)  # of a process that has measured at the same time
    if earlier is not None:
        return earlier
    with suppress(OSError):  # a cache that cannot be written to costs a measurement
        cache_file(model).parent.mkdir(parents=True, exist_ok=True)
        write_json(cache_file(model), {"precision": found, "measured": said})
    return found


def stored(model: DiffusionModel) -> Precision | None:
    """Return the precision in the cache; None if there is none, or the file is damaged."""
    with suppress(OSError):
        kept = (cached_json(cache_file(model)) or {}).get("precision")
        return next((known for known in get_args(Precision) if known == kept != AUTO), None)
    return None


def measured(model: DiffusionModel, clock: Clock | None = None) -> tuple[Precision, str]:
    """Return the fastest precision whose output is near that of float32, and the times.

    Half precision is chosen only if it is at least `GAIN` times as fast.

    Args:
        clock: by default the processor's time on a CPU, which other work on the machine affects
            least, and elapsed time on another device.
    """
    clock = clock or (time.process_time if model.device.type == "cpu" else time.perf_counter)
    runs: dict[Precision, Callable[[], torch.Tensor]] = {
        precision: _run(model, precision) for precision in candidates(model.device)
    }
    now = partial(_now, model.device, clock)
    outputs: dict[Precision, torch.Tensor] = {}
    seconds: dict[Precision, float] = {}
    for precision, run in runs.items():  # which also loads the kernels
        started = now()
        outputs[precision] = run()
        seconds[precision] = now() - started
    near: list[Precision] = []
    for p in candidates(model.device):
        if p == WHOLE or _error(outputs[p], outputs[WHOLE]) <= ERROR:
            near.append(p)
    if near == [WHOLE]:
        return WHOLE, "the others are not near it"
    if sum(seconds.values()) < PATIENCE_S:  # otherwise loading kernels took a small part of it
        seconds = fastest({p: runs[p] for p in near}, now, clock)
    said = ", ".join(f"{p} {seconds[p] * 1e3:.0f} ms" for p in near)
    best = min(near, key=lambda p: seconds[p] * (1 if p == WHOLE else GAIN))
    return best, f"{said} a step"


def fastest(
    runs: dict[Precision, Callable[[], Any]], now: Clock, clock: Clock
) -> dict[Precision, float]:
    """Return the shortest time of each function, called in turn, in seconds."""
    seconds = dict.fromkeys(runs, float("inf"))
    began = clock()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = now()
            run()
            seconds[name] = min(seconds[name], now() - started)
        if clock() - began > PATIENCE_S:
            break
    return seconds


def candidates(device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions that a device is measured in.

    On "meta" there is nothing to measure, and a CPU without instructions for bfloat16 would take
    minutes for a step of a large network.
    """
    if device.type == "meta" or (device.type == "cpu" and lacks_half_precision()):
        return (WHOLE,)
    return (WHOLE, "bfloat16") if device.type == "cpu" else (WHOLE, "float16", "bfloat16")


def cache_file(model: DiffusionModel) -> Path:
    """Return the file of a machine, a device, a version of torch and a network's configuration."""
    device = model.device
    where = described() if device.type == "cpu" else ""
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    key = {
        "machine": [platform.node(), platform.machine(), where, device.type],
        "torch": [torch.__version__, torch.get_num_threads()],
        "network": asdict(model.network.config),
        "shape": [block_size(model.shape, device), *model.shape],
    }
    return user_cache("precision") / f"{sha256_of(json.dumps(key).encode())[:32]}.json"


def _run(model: DiffusionModel, precision: Precision) -> Callable[[], torch.Tensor]:
    """Return a forward pass of one block."""
    config, device = model.network.config, model.device
    batch = block_size(model.shape, device)
    drawn = torch.randn(batch, *model.shape, generator=torch.Generator().manual_seed(0))
    x = drawn.to(device)
    level = model.schedule.timestep(model.schedule.last, x)
    label = None if config.classes is None else torch.arange(batch, device=device) % config.classes
    low = None
    if model.low_shape is not None:
        low = torch.zeros(batch, *model.low_shape, device=device)
    given = conditions(config.conditions, model.schedule, x, 0, 1.0)  # of a student

    @torch.no_grad()
    def run() -> torch.Tensor:
        return model.prepared(precision)(x, level, label, low, given)

    return run


def _error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the relative difference in the root mean square; infinity if a value is not finite."""
    error = float((got - wanted).norm() / wanted.norm().clamp(min=1e-30))
    return error if error == error else float("inf")


def _now(device: torch.device, clock: Clock) -> float:
    """The time when the device has finished what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return clock()
