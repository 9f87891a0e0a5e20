"""A guided sampler's recipe -> Recipes of its students, which take few steps."""

from dataclasses import replace
from typing import Any

from adm.distillation import ConsistencyTuning, Distillation, Trajectory
from adm.recipes.emoji import emoji
from adm.recipes.schema import DiffusionRecipe, WatchSettings
from adm.recipes.small import fashion
from adm.samplers import Distilled, Karras, LogSNR, Sampling
from adm.training.optimizers import Muon

# The levels of a teacher. A student of N steps visits every (16 / N)-th of them.
LEVELS = LogSNR(steps=16, start=980, end=3)
# Those of its trajectories, of order 2: a smooth map is learned sooner (docs/howto/distil.md).
COARSE = Karras(steps=8, start=980, end=3)
# Of a training whose images cost eight evaluations of the teacher each.
COSTLY: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 3e-4,
    "warmup_steps": 50,
    "ema_decay": 0.995,
}


def fashion_distilled() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by trajectory distillation: 2 or 4 steps.

    Command: adm train fashion-distilled --teacher fashion --out runs/fast
    Time: 36 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: in 4 steps a distance of 5.8 at scale 1, of 2,500 images at infinite N in features of
    EfficientNet-Lite0. `fashion-fast` was trained on for 620 steps; see docs/howto/distil.md.
    """
    how = Distillation(method=Trajectory(order=2), grid=COARSE, steps=(2, 4), interval=(1, 700))
    return _student(fashion(), "fashion-distilled", how, 4, steps=920, **COSTLY)


def emoji_distilled() -> DiffusionRecipe:
    """A student of `emoji`, its classifier and its weak model, by trajectory distillation: 4 steps.

    Command: adm train emoji-distilled --teacher emoji --data emoji --out runs/fast
    Time: 82 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: `emoji-fast`; 10,000 samples at scale 2 have a Fréchet distance of 34.4 at infinite N in
    features of EfficientNet-Lite0. See docs/howto/distil.md.
    """
    grid = replace(COARSE, start=990, end=20)  # where `emoji` itself starts and ends
    how = Distillation(method=Trajectory(order=2), grid=grid, steps=(4,), weak_scale=1.5)
    student = _student(emoji(), "emoji-distilled", how, 4, steps=1600, optimizer=Muon(), **COSTLY)
    # It is trained towards the teacher's own images: there is nothing to overfit.
    return replace(student, unet=replace(student.unet, dropout=0.0))


def fashion_consistency() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by easy consistency tuning: 1, 2 or 4 steps.

    Command: adm train fashion-consistency --teacher fashion --out runs/consistency
    Time: 17 minutes on 2 CPU cores (AMX), as two processes.
    Result: see docs/howto/distil.md.
    """
    method = ConsistencyTuning(stage_steps=125)  # so that the eighth stage is the last
    how = Distillation(method=method, grid=LEVELS, steps=(1, 2, 4))
    train: dict[str, Any] = {"batch_size": 64, "warmup_steps": 30, "ema_decay": 0.99}
    return _student(fashion(), "fashion-consistency", how, 2, steps=1000, **train)


def _student(
    base: DiffusionRecipe, name: str, how: Distillation, sampled: int, **train: Any
) -> DiffusionRecipe:
    """Return the recipe of a student of `base`, with settings of its training.

    Args:
        sampled: the steps in which it is sampled by default.
    """
    method = how.method
    usual = {"learning_rate": 2e-4, "label_dropout": 0.0, "save_every_steps": 50}
    return replace(
        base,
        name=name,
        unet=replace(base.unet, conditions=method.conditions),
        distillation=how,
        train=replace(base.train, **usual | train),
        sample=Sampling(sampler=method.sampler(), grid=Distilled(steps=sampled), precision="auto"),
        watch=WatchSettings(validation_images=64),  # the teacher samples each of them
    )
