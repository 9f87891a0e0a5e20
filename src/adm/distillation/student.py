"""Network, labels, scales -> Jump: the denoiser of a student, which receives the next level."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from adm.diffusion import Denoise, Level, Parameterization, Prediction, Schedule, process
from adm.diffusion.transfer import send
from adm.networks import Condition
from adm.samplers import Sampler
from adm.samplers.interval import Interval, visited_within
from adm.spec import Checked
from adm.training.batches import Draws
from adm.training.objective import Objective

Jump: TypeAlias = Callable[[Tensor, Level, Level], Prediction]  # x_t, level, next level
# network, process, labels (B,), scales (B,) -> the student
Student: TypeAlias = Callable[[nn.Module, Schedule, Tensor, Tensor], Jump]
# process, labels (B,), scales (B,), which of its levels are guided (None for all) -> the guided
# denoiser of the teacher
Teach: TypeAlias = Callable[[Schedule, Tensor, Tensor, Interval | None], Denoise]


@dataclass(frozen=True, eq=False)
class Lesson:
    """The inputs of every method of distillation.

    Attributes:
        process: the process that the teacher was trained on.
        levels: the levels of it that the teacher may visit, ascending.
        steps: the numbers of steps that the student learns to sample in.
        scales: lowest and highest guidance scale.
        teach: the teacher.
        student: the student.
        interval: lowest and highest level of the process at which the teacher is guided; None for
            all.
    """

    process: Schedule
    levels: Sequence[float]
    steps: tuple[int, ...]
    scales: tuple[float, float]
    teach: Teach
    student: Student
    interval: Interval | None = None

    @cached_property
    def schedule(self) -> Schedule:
        """The process that visits all of the levels."""
        return self.process.visiting(self.levels)

    def teacher(self, levels: Sequence[float]) -> Callable[[Tensor, Tensor], Denoise]:
        """Return the teacher of labels and scales, (B,) each, on the process of these levels.

        Args:
            levels: of the process that the teacher was trained on, ascending.
        """
        schedule = self.process.visiting(levels)
        inside = visited_within(self.interval, levels)
        return lambda labels, scales: self.teach(schedule, labels, scales, inside)

    def draw_scales(self, draws: Draws, like: Tensor) -> Tensor:
        """Return the guidance scale of each image, uniform in the range; (B,) as `like`."""
        low, high = self.scales
        return send(torch.from_numpy(low + (high - low) * draws.scale), like.device, like.dtype)


class Method(Checked):
    """A method of distillation with its parameters.

    Attributes:
        conditions: the inputs of a student besides those of its teacher.
        sampler: the sampler of its students, without parameters.
        noised: whether the student is trained at levels that are drawn for each image.
    """

    conditions: ClassVar[tuple[Condition, ...]]
    sampler: ClassVar[type[Sampler]]
    noised: ClassVar[bool] = True

    def stage(self, step: int) -> int:
        """Return the stage of an optimizer step."""
        return 0

    @abstractmethod
    def stages(self, lesson: Lesson) -> tuple[Objective, ...]:
        """Return the objective of every stage."""


def student_of(
    names: Sequence[Condition],
    parameterization: Parameterization,
    autocast: Callable[[], torch.autocast],
) -> Student:
    """Return the student that interprets a network with these conditions.

    Args:
        names: the conditions of its configuration.
        autocast: context of the network's forward pass.
    """

    def student(network: nn.Module, schedule: Schedule, labels: Tensor, scales: Tensor) -> Jump:
        def jump(x_t: Tensor, level: Level, following: Level) -> Prediction:
            values = conditions(names, schedule, x_t, following, scales)
            with autocast():
                seen = parameterization.inputs(schedule, x_t, level)
                raw = network(*seen, labels, None, values)
            return parameterization.predict(schedule, raw.float(), x_t, level)

        return jump

    return student


def conditions(
    names: Sequence[Condition],
    schedule: Schedule,
    x_t: Tensor,
    following: Level,
    scales: float | Tensor,
    low_res: Tensor | None = None,
) -> Tensor | None:
    """Return (B, K) conditions of a network, in the order of their names; None if it has none.

    Args:
        following: the level that the step leads to.
        scales: guidance scale, a number or (B,).
        low_res: (B,) timestep of the noise on the low-resolution images, of an upsampler.
    """
    if not names:
        return None
    columns: list[Tensor] = []
    for name in names:
        if name == "next":
            columns.append(schedule.timestep(following, x_t))
        elif name == "low_res":
            assert low_res is not None
            columns.append(low_res)
        elif isinstance(scales, Tensor):
            columns.append(scales.to(x_t.device, torch.float32))
        else:  # filled in on the device: a copy would wait for what it computes
            columns.append(torch.full((len(x_t),), float(scales), device=x_t.device))
    return torch.stack(columns, dim=1)


def step_to(schedule: Schedule, prediction: Prediction, level: Level) -> Tensor:
    """Return x_s by a step of DDIM: the point with this x_0 and this noise at level s."""
    return process.diffuse(schedule, prediction.x_0, prediction.noise, level)
