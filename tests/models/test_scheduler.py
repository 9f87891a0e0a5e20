"""Process <-> scheduler of diffusers: ours come back, and what differs is refused by its name."""

from dataclasses import replace
from typing import Any

import pytest

from adm.diffusion import EDM, NOISE, PREVIOUS_MEAN, VELOCITY, X_0
from adm.models.convert.scheduler import (
    betas_of,
    has_betas,
    process_of,
    read_scheduler,
    scheduler_of,
)
from adm.recipes.schema import ProcessSettings
from adm.spec import SettingError

LINEAR = ProcessSettings(schedule="linear", steps=20)


def read(values: dict[str, Any]) -> ProcessSettings:
    scheduler = read_scheduler(values)
    return process_of(scheduler, betas_of(scheduler), learned=True)


@pytest.mark.parametrize("steps", [20, 1000])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("prediction", [NOISE, X_0, VELOCITY])
def test_a_process_comes_back(schedule: Any, steps: int, prediction: Any) -> None:
    process = ProcessSettings(schedule=schedule, steps=steps, prediction=prediction)
    assert read(scheduler_of(process)) == process


def test_of_a_rescaled_process_the_levels_with_whole_timesteps_are_left() -> None:
    process = ProcessSettings(schedule="cosine", steps=4000, rescale_steps=True)
    betas = betas_of(read_scheduler(scheduler_of(process)))
    assert len(betas) == 1000
    assert has_betas(process, betas)
    assert not has_betas(replace(process, steps=1000, rescale_steps=False), betas)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": PREVIOUS_MEAN}, "prediction must be noise, x_0 or velocity"),
        ({"prediction": EDM(sigma_data=0.5)}, "prediction must be noise"),
        ({"variance": "learned"}, "variance must be fixed_small"),
        ({"schedule": "karras"}, "schedule must be linear or cosine"),
        ({"rescale_steps": True, "steps": 50}, "multiple of 1000, and this one has 50"),
    ],
)
def test_a_process_that_diffusers_lacks_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        scheduler_of(replace(LINEAR, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta_end": 0.012}, "those of no process of ours"),
        ({"trained_betas": [0.1, 0.2]}, "those of no process of ours"),
        ({"beta_schedule": None}, "beta_schedule"),
        ({"beta_schedule": "scaled_linear"}, "scaled_linear"),
        ({"prediction_type": "flow"}, "prediction_type='flow'"),
        ({"rescale_betas_zero_snr": True}, "none of our processes has"),
    ],
)
def test_a_scheduler_of_another_process_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(scheduler_of(LINEAR) | changes)
