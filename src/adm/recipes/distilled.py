"""A guided sampler's recipe -> Recipes of its students, which take few steps."""

from dataclasses import replace

from adm.distillation import ConsistencyTuning, Distillation, Trajectory
from adm.recipes.emoji import emoji
from adm.recipes.schema import DiffusionRecipe, WatchSettings
from adm.recipes.small import fashion
from adm.samplers import Distilled, Karras, LogSNR, Sampling
from adm.training.optimizers import Muon
from adm.training.settings import TrainSettings

# The levels of a teacher. A student of N steps visits every (16 / N)-th of them.
LEVELS = LogSNR(steps=16, start=980, end=3)
# Those of its trajectories, of order 2: a smooth map is learned sooner (docs/howto/distil.md).
COARSE = Karras(steps=8, start=980, end=3)


def fashion_distilled() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by trajectory distillation: 2 or 4 steps.

    Command: adm train fashion-distilled --teacher fashion --out runs/fast
    Time: 36 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: in 4 steps a distance of 5.8 at scale 1, of 2,500 images at infinite N in features of
    EfficientNet-Lite0. `fashion-fast` was trained on for 620 steps; see docs/howto/distil.md.
    """
    how = Distillation(method=Trajectory(order=2), grid=COARSE, steps=(2, 4), interval=(1, 700))
    student = _student(fashion(), "fashion-distilled", how, steps=4)
    return replace(student, train=_along_trajectories(student.train, steps=920))


def emoji_distilled() -> DiffusionRecipe:
    """A student of `emoji`, its classifier and its weak model, by trajectory distillation: 4 steps.

    Command: adm train emoji-distilled --teacher emoji --data emoji --out runs/fast
    Time: 82 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: `emoji-fast`; 10,000 samples at scale 2 have a Fréchet distance of 34.4 at infinite N in
    features of EfficientNet-Lite0. See docs/howto/distil.md.
    """
    grid = replace(COARSE, start=990, end=20)  # where `emoji` itself starts and ends
    how = Distillation(method=Trajectory(order=2), grid=grid, steps=(4,), weak_scale=1.5)
    student = _student(emoji(), "emoji-distilled", how, steps=4)
    return replace(
        student,
        # It is trained towards the teacher's own images: there is nothing to overfit.
        unet=replace(student.unet, dropout=0.0),
        train=replace(_along_trajectories(student.train, steps=1600), optimizer=Muon()),
    )


def fashion_consistency() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by easy consistency tuning: 1, 2 or 4 steps.

    Command: adm train fashion-consistency --teacher fashion --out runs/consistency
    Time: 17 minutes on 2 CPU cores (AMX), as two processes.
    Result: see docs/howto/distil.md.
    """
    method = ConsistencyTuning(stage_steps=125)  # so that the eighth stage is the last
    how = Distillation(method=method, grid=LEVELS, steps=(1, 2, 4))
    student = _student(fashion(), "fashion-consistency", how, steps=2)
    return replace(student, train=_briefly(student.train, steps=1000))


def _student(base: DiffusionRecipe, name: str, how: Distillation, steps: int) -> DiffusionRecipe:
    """Return the recipe of a student of `base` that is sampled in `steps` steps by default."""
    method = how.method
    return replace(
        base,
        name=name,
        unet=replace(base.unet, conditions=method.conditions),
        distillation=how,
        train=replace(base.train, learning_rate=2e-4, label_dropout=0.0, save_every_steps=50),
        sample=Sampling(sampler=method.sampler(), grid=Distilled(steps=steps), precision="auto"),
        watch=WatchSettings(validation_images=64),  # the teacher samples each of them
    )


def _along_trajectories(train: TrainSettings, steps: int) -> TrainSettings:
    """Return the settings of a training whose images cost eight evaluations of the teacher."""
    return replace(
        train,
        steps=steps,
        batch_size=32,
        learning_rate=3e-4,
        warmup_steps=50,
        ema_decay=0.995,
    )


def _briefly(train: TrainSettings, steps: int) -> TrainSettings:
    """Return the settings of a training whose images cost a few evaluations of the teacher."""
    return replace(train, steps=steps, batch_size=64, warmup_steps=30, ema_decay=0.99)
