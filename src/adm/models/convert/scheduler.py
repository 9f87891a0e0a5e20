"""ProcessSettings <-> configuration of a DDPMScheduler of diffusers.

A UNet2DModel receives whole timesteps from 0 to T - 1, and so does ours unless they are rescaled.
Then a scheduler has only the levels whose timesteps are whole: of 4000 every fourth, which is a
process of T = 1000.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion import NOISE, VELOCITY, X_0, Schedule, Target
from adm.diffusion.schedule import cosine
from adm.limits import MOST_CHARACTERS, MOST_LEVELS
from adm.recipes import build
from adm.recipes.schema import ProcessSettings
from adm.shown import shown
from adm.spec import SettingError, out_of_range
from adm.store.parsed import as_type

PREDICTIONS: dict[str, Target] = {"epsilon": NOISE, "sample": X_0, "v_prediction": VELOCITY}
SCHEDULES: tuple[Literal["linear", "cosine"], ...] = ("linear", "cosine")
VARIANCES = ("fixed_small", "fixed_large", "learned_range")
WHOLE = 1000  # timesteps of a process whose timesteps are rescaled
CLOSE = 1e-4  # relative difference of betas in float32 and float64
FEWEST = 20  # levels of a linear schedule, so that no beta exceeds 1
Beta = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """The process in a scheduler's configuration, with the defaults of DDPMScheduler."""

    num_train_timesteps: Annotated[int, Field(ge=2, le=MOST_LEVELS)] = 1000
    beta_schedule: Name = "linear"
    beta_start: Beta = 0.0001
    beta_end: Beta = 0.02
    trained_betas: Annotated[tuple[Beta, ...], Field(max_length=MOST_LEVELS)] | None = None
    prediction_type: Name = "epsilon"
    variance_type: Name | None = None
    rescale_betas_zero_snr: bool = False


def scheduler_of(process: ProcessSettings) -> dict[str, Any]:
    """Return the configuration of the DDPMScheduler of a process."""
    kinds = [kind for kind, target in PREDICTIONS.items() if target == process.prediction]
    if not kinds:
        what = "noise, x_0 or velocity, which the schedulers of diffusers know"
        raise out_of_range("process.prediction", what, process.prediction.name)
    if process.variance not in VARIANCES:
        what = f"{', '.join(VARIANCES[:-1])} or {VARIANCES[-1]}: that of diffusers is no logarithm"
        raise out_of_range("process.variance", what, process.variance)
    if process.schedule not in SCHEDULES:
        raise out_of_range("process.schedule", " or ".join(SCHEDULES), process.schedule)
    schedule = whole_levels(process)
    steps = schedule.last
    if steps < process.steps:
        betas: dict[str, Any] = {"trained_betas": schedule.beta[1:].tolist()}
    elif process.schedule == "cosine":
        betas = {"beta_schedule": "squaredcos_cap_v2"}
    else:
        betas = {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    return {
        "num_train_timesteps": steps,
        **betas,
        "prediction_type": kinds[0],
        "variance_type": process.variance,
        "clip_sample": True,
        # That of the released DDIM: equal steps, the only ones in diffusers' DDIM, and none from
        # level T, where the signal of the cosine schedule is so weak that guidance saturates.
        "timestep_spacing": "leading",
    }


def whole_levels(process: ProcessSettings) -> Schedule:
    """Return the process of the levels whose timesteps are whole numbers from 0."""
    schedule = build.schedule(process)
    if not process.rescale_steps or process.steps == WHOLE:
        return schedule
    if process.steps % WHOLE:
        raise SettingError(
            "process.rescale_steps",
            "the timesteps of diffusers are whole numbers: a process that rescales them must have "
            f"a multiple of {WHOLE}, and this one has {process.steps}",
        )
    return schedule.respaced(range(1, process.steps + 1, process.steps // WHOLE))


def read_scheduler(values: dict[str, Any]) -> SchedulerConfig:
    """Return the settings of a scheduler's file; raise ValueError if it is none of DDPM's."""
    if not values.keys() & {"beta_schedule"} and not values.get("trained_betas"):
        raise ValueError("it has no betas; give a model of DDPM's process, as of DDPMScheduler")
    return as_type(SchedulerConfig, values)


def betas_of(scheduler: SchedulerConfig) -> Tensor:
    """Return beta of each level, (T,) float64."""
    kind, steps = scheduler.beta_schedule, scheduler.num_train_timesteps
    if scheduler.rescale_betas_zero_snr:
        raise ValueError("rescale_betas_zero_snr=true, which none of our processes has")
    if scheduler.trained_betas is not None:
        return torch.tensor(scheduler.trained_betas, dtype=torch.float64)
    if kind == "linear":
        ends = scheduler.beta_start, scheduler.beta_end
        return torch.linspace(*ends, steps, dtype=torch.float64)
    if kind == "squaredcos_cap_v2":
        return cosine(steps).beta[1:]
    raise ValueError(
        f"beta_schedule={shown(kind)}, which none of our processes has; it must be linear or "
        "squaredcos_cap_v2"
    )


def has_betas(process: ProcessSettings, betas: Tensor) -> bool:
    """Return whether these are the betas of a process, in float32."""
    exact = whole_levels(process).beta[1:]
    return len(exact) == len(betas) and torch.allclose(betas, exact, rtol=CLOSE, atol=CLOSE**2)


def process_of(scheduler: SchedulerConfig, betas: Tensor, learned: bool) -> ProcessSettings:
    """Return the process of ours that has these betas.

    Args:
        learned: whether the network has outputs for the variance.

    Raises:
        ValueError: there is none.
    """
    if scheduler.prediction_type not in PREDICTIONS:
        known = ", ".join(PREDICTIONS)
        raise ValueError(f"prediction_type={shown(scheduler.prediction_type)}, not one of {known}")
    default = "learned_range" if learned else "fixed_small"
    variance = (scheduler.variance_type or default).replace("small_log", "small")  # the same
    if variance not in VARIANCES:
        raise ValueError(f"variance_type={shown(variance)}, not one of {', '.join(VARIANCES)}")
    for kind in SCHEDULES:
        process = ProcessSettings(
            schedule=kind,
            steps=len(betas),
            prediction=PREDICTIONS[scheduler.prediction_type],
            variance=variance,
        )
        if (kind == "cosine" or len(betas) >= FEWEST) and has_betas(process, betas):
            return process
    raise ValueError(
        "its betas are those of no process of ours: linear from 0.1 / T to 20 / T, or cosine"
    )
