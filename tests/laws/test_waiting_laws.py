"""Steps of a sampler on another device -> no copy between devices, and no value is read.

Either would make the CPU wait for all that the device computes. The meta device stands in for a
GPU: its tensors have a device and no values.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from adm.diffusion import (
    EDM,
    FIXED_LARGE,
    FIXED_SMALL,
    LEARNED_RANGE,
    NOISE,
    PREVIOUS_MEAN,
    VELOCITY,
    X_0,
    Parameterization,
    cosine,
    denoiser,
    process,
)
from adm.guidance import classifier_gradient
from adm.samplers import SAMPLERS

SCHEDULE = cosine(20).respaced(range(2, 20, 3))
META = torch.device("meta")
COPIES = ("aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense", "aten::nonzero")


class NoWaiting(TorchDispatchMode):
    """Raise AssertionError for an operation that reads a device's values, or copies from one."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        to = [kwargs["device"]] if kwargs.get("device") is not None else []
        devices = {torch.device(d).type for d in (*(t.device for t in tensors), *to)}
        if func._schema.name in COPIES and devices - {"cpu"}:
            one = devices == {"meta"} and func._schema.name in COPIES[:2]
            assert one, f"{func} waits for {devices}"
        return func(*args, **kwargs)


def steps(name: str, target: Any, variance: Any, guided: bool) -> Iterator[Any]:
    x = torch.empty(2, 3, 4, 4, device=META)
    parameterization = Parameterization(target, variance)
    wide = 2 if variance.learned else 1

    def output(x: Tensor, timestep: Tensor) -> Tensor:
        assert timestep.device == META
        assert timestep.shape == (2,)
        return torch.cat([x] * wide, dim=1) * timestep[:, None, None, None]

    def logits(x: Tensor, timestep: Tensor) -> Tensor:
        return x.mean((2, 3)) * timestep[:, None]

    label = torch.zeros(2, dtype=torch.long, device=META)
    gradient = classifier_gradient(logits, SCHEDULE, label) if guided else None
    denoise = denoiser(output, SCHEDULE, parameterization)
    noise = lambda level, draw=0: torch.empty(2, 3, 4, 4, device=META)  # noqa: E731
    return SAMPLERS[name]()(denoise, x, SCHEDULE, noise, gradient)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("variance", [FIXED_SMALL, FIXED_LARGE, LEARNED_RANGE])
@pytest.mark.parametrize("target", [NOISE, X_0, VELOCITY, PREVIOUS_MEAN, EDM(sigma_data=0.5)])
@pytest.mark.parametrize("name", ["ddim", "ancestral"])
def test_no_step_waits_for_the_device(name: str, target: Any, variance: Any, guided: bool) -> None:
    with torch.no_grad(), NoWaiting():
        *_, last = steps(name, target, variance, guided)
    assert last.x.device == META
    assert last.level == 0


def test_the_stand_in_finds_a_copy_and_a_value_that_is_read() -> None:
    for wait in (lambda: torch.ones(2).to(META), lambda: bool(torch.ones(1, device=META))):
        with pytest.raises((AssertionError, RuntimeError)), NoWaiting():
            wait()


def test_levels_on_a_device_are_looked_up_in_tables_that_were_copied_once() -> None:
    x, levels = torch.empty(2, 3, 4, 4, device=META), torch.tensor([1, 2], device=META)
    process.diffuse(SCHEDULE, x, x, levels)
    SCHEDULE.timestep(levels, x)
    with NoWaiting():
        again = process.diffuse(SCHEDULE, x, x, levels)
        assert SCHEDULE.timestep(levels, x).device == META
    assert again.shape == x.shape


def test_values_are_those_of_the_tables() -> None:
    x, levels = torch.ones(3, 1, 1, 1), torch.tensor([1, 4, 6])
    for number, level in enumerate(levels.tolist()):
        assert torch.equal(SCHEDULE.timestep(level, x), SCHEDULE.timesteps[level].expand(3))
        assert SCHEDULE.timestep(levels, x)[number] == SCHEDULE.timesteps[level]
        diffused = process.diffuse(SCHEDULE, x, x, levels)[number]
        assert torch.equal(process.diffuse(SCHEDULE, x, x, level)[number], diffused)
