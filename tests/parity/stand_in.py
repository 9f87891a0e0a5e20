"""a case's settings -> our process, parameterization and the stand-in for a network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from parity.goldens import located
from torch import Tensor

from adm import diffusion
from adm.diffusion import Parameterization, Schedule, Threshold, spacing

Case = Mapping[str, Any]

SCHEDULES = {"linear": diffusion.linear, "cosine": diffusion.cosine}
TARGETS = {
    "epsilon": diffusion.NOISE,
    "x0": diffusion.X_0,
    "x_prev": diffusion.PREVIOUS_MEAN,
}
VARIANCES = {
    "fixed_small": diffusion.FIXED_SMALL,
    "fixed_large": diffusion.FIXED_LARGE,
    "learned": diffusion.LEARNED,
    "learned_range": diffusion.LEARNED_RANGE,
}


def levels_of(total: int, section_counts: str | list[int]) -> list[int]:
    """The levels of a spacing of the released system: text, or the counts of equal sections."""
    if section_counts == "":
        return list(range(1, total + 1))
    if isinstance(section_counts, str):
        if section_counts.startswith("ddim"):
            return spacing.strided(total, int(section_counts.removeprefix("ddim")))
        section_counts = [int(count) for count in section_counts.split(",")]
    if not section_counts:
        raise ValueError("no section")
    size, extra = divmod(total, len(section_counts))  # the first ones are one level longer
    levels, start = list[int](), 0
    for i, count in enumerate(section_counts):
        length = size + (i < extra)
        levels += [start + level for level in spacing.even(length, count)] if count else []
        start += length
    return levels


def schedule_of(case: Case) -> Schedule:
    """The process of a case; every table is computed once."""
    counts = case.get("timestep_respacing", case.get("section_counts", ""))
    return _schedule(
        case["schedule"],
        case["num_timesteps"],
        counts if isinstance(counts, str) else tuple(counts),
        bool(case.get("rescale_timesteps", False)),
    )


@lru_cache(maxsize=64)
def _schedule(kind: str, total: int, counts: str | tuple[int, ...], rescale: bool) -> Schedule:
    full = SCHEDULES[kind](total)
    full = full.rescaled() if rescale else full
    return full.respaced(levels_of(total, counts if isinstance(counts, str) else list(counts)))


def parameterization_of(case: Case) -> Parameterization:
    return Parameterization(TARGETS[case["mean_type"]], VARIANCES[case["var_type"]])


def threshold_of(case: Case) -> Threshold | None:
    """The function of x_0: the case's own first, then the clip."""
    moved, clipped = case.get("denoised_fn", False), case["clip_denoised"]
    if not moved:
        return diffusion.clip if clipped else None

    def threshold(x_0: Tensor) -> Tensor:
        x_0 = 0.8 * x_0 + 0.05
        return diffusion.clip(x_0) if clipped else x_0

    return threshold


@lru_cache(maxsize=1)
def constants() -> dict[str, float]:
    return json.loads(located("process/constants.json").read_text())


@dataclass
class StandIn:
    """The analytic network of a case; records the timesteps that it receives.

    Attributes:
        label: (B,) for networks and gradients that are given labels.
        timesteps: timesteps of each call of the network.
        gradient_timesteps: the same of the gradient.
    """

    case: Case
    label: Tensor | None = None
    timesteps: list[Tensor] = field(default_factory=list)
    gradient_timesteps: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor, step: Tensor) -> Tensor:
        self.timesteps.append(step)
        c, tau = constants(), step.float().reshape(-1, 1, 1, 1)
        a, wave = (c["a"], c["c"]) if self.case["mean_type"] == "epsilon" else (c["a2"], c["c2"])
        out = x * (1 - a * torch.exp(-tau / c["b"])) + wave * torch.sin(c["d"] * x + tau / c["e"])
        if self.case["labels_passed"]:
            out = out + c["f"] * (self._label() - c["g"])
        if not VARIANCES[self.case["var_type"]].learned:
            return out
        shift = c["n"] if self.case["var_type"] == "learned" else 0.0
        return torch.cat([out, c["h"] * torch.cos(c["i"] * x - tau / c["j"]) - shift], dim=1)

    def gradient(self, x: Tensor, step: Tensor) -> Tensor:
        self.gradient_timesteps.append(step)
        c, tau = constants(), step.float().reshape(-1, 1, 1, 1)
        pull = c["k"] * (c["l"] * (self._label() - 1) - x) * torch.exp(-tau / c["m"])
        self.gradients.append(pull)
        return pull

    def _label(self) -> Tensor:
        return self.label.float().reshape(-1, 1, 1, 1)
