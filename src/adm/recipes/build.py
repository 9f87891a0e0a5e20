"""Recipe -> schedule, loss, network, objectives, learner: where names become functions.

What differs by the kind of network is decided here, and nowhere else.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from adm import diffusion, losses
from adm.diffusion import EDM, Parameterization, Schedule
from adm.distillation import Teach, student_of
from adm.images import UINT8
from adm.losses import TimestepImportance
from adm.networks import Classifier, Condition, UNet
from adm.processes import Devices
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, ProcessSettings, Recipe
from adm.spec import SettingError, out_of_range
from adm.training import objective as training
from adm.training.learner import Learner
from adm.training.levels import ByLoss, DrawLevels
from adm.training.objective import Objective

SCHEDULES = {
    "linear": diffusion.linear,
    "cosine": diffusion.cosine,
    "karras": diffusion.karras,
}
VARIANCES = {
    "fixed_small": diffusion.FIXED_SMALL,
    "fixed_large": diffusion.FIXED_LARGE,
    "learned": diffusion.LEARNED,
    "learned_range": diffusion.LEARNED_RANGE,
}
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def schedule(process: ProcessSettings) -> Schedule:
    """Return the schedule of the process that the network is trained on."""
    full = SCHEDULES[process.schedule](process.steps)
    return full.rescaled() if process.rescale_steps else full


def parameterization(process: ProcessSettings) -> Parameterization:
    """Return what the network predicts, and its variance.

    Raises:
        SettingError: the standard deviation of the data is neither given nor measured.
    """
    target = process.prediction
    if isinstance(target, EDM) and target.sigma_data is None:
        raise SettingError(
            "process.prediction",
            f"{target.name} needs the standard deviation of the data; give it, as in "
            f"{{process.prediction={target.name}:sigma_data=0.5}}",
        )
    return Parameterization(process.prediction, VARIANCES[process.variance])


def loss(recipe: DiffusionRecipe) -> losses.Loss:
    """Return the loss function that the recipe names."""
    steps = recipe.process.steps
    return {
        "simple": losses.simple,
        "hybrid": losses.hybrid(steps / 1000),  # lambda = 0.001 of a bound of T terms
        "vlb": losses.vlb(steps),
    }[recipe.loss]


def importance(recipe: Recipe) -> TimestepImportance | None:
    """Return a new sampler of levels by their losses; None for a recipe that draws otherwise."""
    if isinstance(recipe, DiffusionRecipe) and isinstance(recipe.levels, ByLoss):
        return TimestepImportance(recipe.process.steps)
    return None


def network(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe, with initial weights that depend on `train.seed` alone.

    Args:
        recipe: one that passes `check`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        if isinstance(recipe, ClassifierRecipe):
            return Classifier(recipe.classifier)
        return UNet(recipe.unet)


def learner(
    recipe: Recipe, network: nn.Module, devices: Devices, teach: Teach | None = None
) -> Learner:
    """Prepare a recipe's network for training.

    Args:
        teach: the teacher of a student; None for any other network.
    """
    losses, how = importance(recipe), recipe.distillation
    stages = objectives(recipe, devices.device, _levels(recipe, losses), teach)
    return Learner.of(
        network,
        lambda step: stages[0 if how is None else how.method.stage(step)],
        recipe.train,
        devices,
        losses,
    )


def _levels(recipe: Recipe, importance: TimestepImportance | None) -> DrawLevels | None:
    """Return what draws the levels of training; None for another network than a diffusion model."""
    if importance is not None:
        return importance.draw
    is_diffusion = isinstance(recipe, DiffusionRecipe)
    return recipe.levels.over(schedule(recipe.process)) if is_diffusion else None


def objectives(
    recipe: DiffusionRecipe | ClassifierRecipe,
    device: torch.device,
    levels: DrawLevels | None = None,
    teach: Teach | None = None,
) -> tuple[Objective, ...]:
    """Return the objective of every stage of the recipe's training; most recipes have one.

    Args:
        device: the device of the network, for autocast.
        levels: draws the noise levels of a diffusion model; uniform if None, as in validation.
        teach: the teacher of a student; None for any other network.
    """
    process, autocast = schedule(recipe.process), autocast_for(recipe.train.precision, device)
    if isinstance(recipe, ClassifierRecipe):
        return (training.classification(process, noised=recipe.noised, autocast=autocast),)
    reading = parameterization(recipe.process)
    if recipe.distillation is not None:
        assert teach is not None
        student = student_of(recipe.unet.conditions, reading, autocast)
        return recipe.distillation.objectives(process, teach, student)
    return (
        training.diffusion(
            process,
            reading,
            loss(recipe),
            labelled=recipe.unet.classes is not None,
            label_dropout=recipe.train.label_dropout,
            levels=levels,
            low_res=low_res_of(recipe),
            low_res_noise=recipe.data.low_res_noise,
            autocast=autocast,
        ),
    )


def conditions(recipe: DiffusionRecipe) -> tuple[Condition, ...]:
    """Return the further inputs that a U-Net needs: those of a student, or of a noisy upsampler."""
    if recipe.distillation is not None:
        return recipe.distillation.method.conditions
    return ("low_res",) if recipe.data.low_res_noise else ()


def low_res_of(recipe: DiffusionRecipe) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return the function that makes the input of an upsampler; None for other networks."""
    if recipe.data.low_res is None or recipe.data.paired:
        return None
    rounded = recipe.data.low_res_rounded and recipe.data.range == UINT8
    return training.area_mean(recipe.data.low_res, rounded=rounded)


def autocast_for(precision: str, device: torch.device) -> Callable[[], torch.autocast]:
    """Return a factory of autocast contexts of this precision; disabled in float32."""
    dtype = PRECISIONS.get(precision)
    return partial(torch.autocast, device.type, dtype, enabled=dtype is not None)


def check(recipe: Recipe) -> None:
    """Raise ValueError if two settings contradict each other."""
    size = tuple(recipe.data.size)
    if isinstance(recipe, ClassifierRecipe) and tuple(recipe.config.size) != size:
        raise ValueError(
            f"{recipe.section}.size={recipe.config.size} and data.size={recipe.data.size} differ; "
            "set both to the same"
        )
    recipe.config.check_size(recipe.data.size)
    _check_channels(recipe)
    schedule(recipe.process)
    if isinstance(recipe, DiffusionRecipe):
        _check_low_res(recipe)
        _check_distillation(recipe)


def outputs(recipe: DiffusionRecipe) -> int:
    """Return the number of output channels that a U-Net needs: twice as many to learn variance."""
    learned = VARIANCES[recipe.process.variance].learned
    return recipe.data.channels * (2 if learned else 1)


def _check_channels(recipe: Recipe) -> None:
    """Raise ValueError unless the network has the channels of the data; names every field."""
    channels, section = recipe.data.channels, recipe.section
    expected = {f"{section}.in_channels": (channels, recipe.config.in_channels)}
    if isinstance(recipe, DiffusionRecipe):
        expected["unet.out_channels"] = (outputs(recipe), recipe.unet.out_channels)
    wrong = {field: both for field, both in expected.items() if both[0] != both[1]}
    if not wrong:
        return
    needs = " and ".join(f"{field}={need}" for field, (need, _) in wrong.items())
    has = " and ".join(str(got) for _, got in wrong.values())
    why = f"data.channels={channels}"
    if isinstance(recipe, DiffusionRecipe):
        why += f" with {recipe.process.variance} variance"
    raise ValueError(f"{why} needs {needs}, got {has}; set them to that, or change data.channels")


def check_sampling(recipe: Recipe) -> None:
    """Raise ValueError if the recipe's sampling settings do not fit the process that it trains."""
    if not isinstance(recipe, DiffusionRecipe):
        return
    how, sampling = recipe.distillation, recipe.sample
    if (sampling.low_res_noise or 0) > recipe.data.low_res_noise:
        highest = f"at most data.low_res_noise={recipe.data.low_res_noise}"
        raise out_of_range("sample.low_res_noise", highest, sampling.low_res_noise)
    if how is None:
        try:
            sampling.grid.check(recipe.process.steps)
        except SettingError as error:
            field = "grid.steps" if error.field == "steps" else error.field
            raise SettingError(f"sample.{field}", error.sentence) from None
        return
    how.levels(schedule(recipe.process), sampling.grid.steps)
    if not isinstance(sampling.sampler, how.method.sampler):
        only = how.method.sampler.name
        raise SettingError(
            "sample.sampler",
            f"students by {how.method.name} distillation are sampled by {only}, and not by "
            f"{sampling.sampler.name}; set {{sample.sampler={only}}}",
        )


def _check_low_res(recipe: DiffusionRecipe) -> None:
    low, size = recipe.data.low_res, recipe.data.size
    if recipe.unet.super_resolution and low is None:
        raise ValueError(
            "an upsampler needs the size of its low-resolution images; set data.low_res=h,w"
        )
    if low is not None and not recipe.unet.super_resolution:
        raise ValueError(
            "data.low_res is for upsamplers; set it to null, or set unet.super_resolution=true"
        )
    if recipe.data.paired and low is None:
        raise SettingError(
            "data.paired", "{data.paired=True} needs {data.low_res}, the size of its other images"
        )
    if recipe.data.paired and recipe.data.crop == "random" and low != size:
        raise SettingError(
            "data.crop",
            f"images of {size} and conditions of {low} cannot be cropped alike at random; set "
            "{data.crop=centre}",
        )
    if low is not None and any(big % small for big, small in zip(size, low, strict=True)):
        raise ValueError(
            f"data.size={size} is not a multiple of data.low_res={low}; choose sizes such that "
            "every low-resolution pixel is the mean of whole pixels"
        )
    most = 0 if low is None else recipe.process.steps
    if recipe.data.low_res_noise > most:
        what = "0 without data.low_res" if low is None else f"at most process.steps={most}"
        raise out_of_range("data.low_res_noise", what, recipe.data.low_res_noise)


def _check_distillation(recipe: DiffusionRecipe) -> None:
    """Raise ValueError unless the network has the inputs that it needs, and can be distilled."""
    distillation, expected = recipe.distillation, conditions(recipe)
    if recipe.unet.conditions != expected:
        got = ",".join(recipe.unet.conditions) or "[]"
        named = ",".join(expected) or "[]"
        raise ValueError(
            f"unet.conditions={got} are the inputs of a distilled student, or of an upsampler with "
            f"data.low_res_noise, and this recipe needs {named}; set unet.conditions={named}"
        )
    if distillation is None:
        return
    if recipe.unet.super_resolution or recipe.unet.classes is None:
        what = "an upsampler" if recipe.unet.super_resolution else "a model without classes"
        raise ValueError(f"{what} cannot be distilled; give a class-conditional model as teacher")
    distillation.check(recipe.process.steps)
