"""DiffusionModel, Sampling -> Sampling with known levels and a concrete precision."""

import time
from dataclasses import replace
from functools import cache

import torch

from adm.models.trained import DiffusionModel
from adm.samplers import ClassifierGuide, Distilled, GradientGuide, Levels, Sampling
from adm.samplers.settings import Precision
from adm.spec import SettingError, out_of_range

SIDE, ROUNDS = 768, 5  # of the matrices, and products of each precision, of which the best counts
GAIN = 1.5  # how many times as fast half precision must be


def resolve(model: DiffusionModel, sampling: Sampling) -> Sampling:
    """Return the settings with their levels and precision resolved, as manifests record them.

    Distilled levels are those that a student has learned, and the precision "auto" is the fastest
    one on the model's device.

    Raises:
        SettingError: no such levels are known, or the student was not distilled for the settings.
    """
    grid = sampling.grid
    if model.student:
        grid = _of_student(model, sampling)
    elif isinstance(grid, Distilled):
        grid.visited(model.schedule)  # refuses
    precision = sampling.precision
    if precision == "auto":
        precision = fastest_precision(model.device)
    return replace(sampling, grid=grid, precision=precision)


def _of_student(model: DiffusionModel, sampling: Sampling) -> Levels:
    """Return the levels of a student; raise SettingError if it was not distilled for them."""
    distillation, grid = model.recipe.distillation, sampling.grid
    assert distillation is not None
    low, high = distillation.scales
    for each in sampling.in_turn:
        if not low <= each.scale <= high:
            allowed = f"from {low:g} to {high:g}, for which this model is distilled"
            raise out_of_range("scale", allowed, each.scale)
        plain = tuple(ClassifierGuide(scale=guide.scale) for guide in each.by(ClassifierGuide))
        if tuple(guide for guide in each.guide if not isinstance(guide, GradientGuide)) != plain:
            raise SettingError("guide", "a distilled model takes a scale alone; leave {} out")
    if sampling.sampler != distillation.method.sampler():
        name = distillation.method.sampler.name
        raise SettingError("sampler", f"this model is distilled for {name}; leave {{}} out")
    if not sampling.use_labels:
        raise SettingError(
            "use_labels", "this model is distilled with labels; leave {use_labels=False} out"
        )
    levels = distillation.levels(model.schedule, grid.steps)
    if not isinstance(grid, Distilled) and tuple(grid.visited(model.schedule)) != levels:
        raise SettingError("grid", "a distilled model visits its own levels; leave {} out")
    return Levels(levels=levels)


@cache
def fastest_precision(device: torch.device) -> Precision:
    """Return the fastest precision of networks: float16 on an accelerator, else by measurement.

    On a CPU it is bfloat16 where a product of matrices is much faster in it, as with AVX-512 bf16
    or AMX, and otherwise float32.
    """
    if device.type == "meta":
        return "float32"
    if device.type != "cpu":
        return "float16"
    gain = _seconds_of_product(torch.float32) / _seconds_of_product(torch.bfloat16)
    return "bfloat16" if gain >= GAIN else "float32"


def _seconds_of_product(dtype: torch.dtype) -> float:
    """Return the processor time of a product of matrices, which other processes affect least."""
    matrix = torch.ones(SIDE, SIDE, dtype=dtype)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        torch.mm(matrix, matrix)
        best = min(best, time.process_time() - began)
    return best
