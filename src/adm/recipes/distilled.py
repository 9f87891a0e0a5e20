"""Fashion-MNIST's guided sampler -> Recipes of students that take few steps."""

from dataclasses import replace

from adm.distillation import ConsistencyTuning, Distillation, Method, Progressive, Trajectory
from adm.recipes.schema import DiffusionRecipe, WatchSettings
from adm.recipes.small import fashion
from adm.samplers import DDIM, Consistency, Distilled, Karras, LogSNR, Sampling
from adm.training.settings import TrainSettings

# The levels of a teacher. A student of N steps visits every (16 / N)-th of them.
LEVELS = LogSNR(steps=16, start=980, end=3)


def fashion_distilled() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by trajectory distillation: 2 or 4 steps.

    Command: adm train fashion-distilled --teacher fashion --out runs/fast
    Time: 36 minutes, two processes on 2 CPU cores (AVX-512 bf16).
    Result: `fashion-fast`; see docs/howto/distil.md.
    """
    student = _student(
        "fashion-distilled",
        Trajectory(order=2),
        steps=(2, 4),
        sample=Sampling(sampler=DDIM(), grid=Distilled(steps=4), precision="auto"),
    )
    how = student.distillation
    assert how is not None
    grid = Karras(steps=8, start=980, end=3)
    train = replace(
        student.train,
        steps=920,
        batch_size=32,  # each image costs 8 guided evaluations of the teacher
        learning_rate=3e-4,
        warmup_steps=50,
        ema_decay=0.995,
    )
    return replace(student, distillation=replace(how, grid=grid, interval=(1, 700)), train=train)


def fashion_progressive() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by progressive distillation: 8 steps.

    Each of its steps replaces four of the teacher's 32. Students of 4, 2 and 1 steps have the
    student of twice as many as their teacher, and `distillation.method=progressive:factor=2`.

    Command: adm train fashion-progressive --teacher fashion --out runs/progressive-8
    Time: 17 minutes on 2 CPU cores (AMX), as two processes.
    Result: see docs/howto/distil.md.
    """
    student = _student(
        "fashion-progressive",
        Progressive(factor=4),
        steps=(8,),
        sample=Sampling(sampler=DDIM(), grid=Distilled(steps=8), precision="auto"),
    )
    how = student.distillation
    assert how is not None
    grid = replace(LEVELS, steps=32)
    train = _briefly(student.train, steps=700)
    return replace(student, distillation=replace(how, grid=grid), train=train)


def fashion_consistency() -> DiffusionRecipe:
    """A student of `fashion` and its classifier, by easy consistency tuning: 1, 2 or 4 steps.

    Command: adm train fashion-consistency --teacher fashion --out runs/consistency
    Time: 17 minutes on 2 CPU cores (AMX), as two processes.
    Result: see docs/howto/distil.md.
    """
    student = _student(
        "fashion-consistency",
        ConsistencyTuning(stage_steps=125),  # so that the eighth stage is the last
        steps=(1, 2, 4),
        sample=Sampling(sampler=Consistency(), grid=Distilled(steps=2), precision="auto"),
    )
    return replace(student, train=_briefly(student.train, steps=1000))


def _student(
    name: str, method: Method, steps: tuple[int, ...], sample: Sampling
) -> DiffusionRecipe:
    base = fashion()
    return replace(
        base,
        name=name,
        unet=replace(base.unet, conditions=method.conditions),
        distillation=Distillation(method=method, grid=LEVELS, steps=steps),
        train=replace(base.train, learning_rate=2e-4, label_dropout=0.0, save_every_steps=50),
        sample=sample,
        watch=WatchSettings(validation_images=64),  # the teacher samples each of them
    )


def _briefly(train: TrainSettings, steps: int) -> TrainSettings:
    """Return the settings of a training whose images cost a few evaluations of the teacher."""
    return replace(train, steps=steps, batch_size=64, warmup_steps=30, ema_decay=0.99)
