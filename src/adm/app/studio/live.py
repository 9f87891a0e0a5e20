"""Job, emit -> its images, and at every step the guided estimate of x_0."""

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from adm.app.studio import pictures
from adm.app.studio.worker import Emit
from adm.generation.animation import LAST, duration, shown_steps
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import Generator
from adm.generation.job import Job
from adm.images import to_uint8
from adm.samplers import State

See: TypeAlias = Callable[[Sequence[int], State], None]  # indices of a block, their state


def observe(generator: Generator, see: See) -> Generator:
    """Return a generator of the same images, which shows every state before it goes on.

    It is the generator itself but for its trajectory, so that images are computed in the same
    blocks and are the same bytes.

    Args:
        see: may raise, which ends the sampling.
    """

    def trajectory(
        labels: Tensor | None, indices: Sequence[int], inputs: Tensor | None = None
    ) -> Iterator[State]:
        for state in generator.trajectory(labels, indices, inputs):
            see(indices, state)
            yield state

    observed = copy(generator)
    object.__setattr__(observed, "trajectory", trajectory)  # it is frozen
    return observed


class Clock:
    """Counts the steps of a job, and its time.

    Attributes:
        step: of the present block.
    """

    def __init__(self, job: Job) -> None:
        self.began, self.step, self.steps = time.perf_counter(), 0, job.generator.steps

    def read(self) -> dict[str, Any]:
        """Return the step and the seconds so far, as JSON values."""
        return {
            "step": self.step,
            "steps": self.steps,
            "seconds": round(time.perf_counter() - self.began, 3),
        }


def show(
    job: Job, requested: range, emit: Emit, describe: Callable[[int, Tensor], dict[str, Any]]
) -> None:
    """Sample images of a job, and emit every step and every image.

    Args:
        requested: the indices of the images.
        describe: index, image -> JSON values of the event of an image.
    """
    clock, size = Clock(job), job.generator.block

    def see(indices: Sequence[int], state: State) -> None:
        clock.step += 1
        # Others of a block repeat one of those that are requested.
        places = [place for place, index in enumerate(indices) if index % size == place]
        estimate = to_uint8(state.prediction.x_0[places]).cpu()
        shown = {"places": [requested.index(indices[place]) for place in places]}
        emit("step", {**shown, **clock.read(), "strip": pictures.strip(estimate)})

    observed = replace(job, generator=observe(job.generator, see))
    for start in range(0, len(requested), size):
        span, clock.step = requested[start : start + size], 0
        images = observed.images(span)
        clock.step = clock.steps
        for index, image in zip(span, images, strict=True):
            place = requested.index(index)
            emit("image", {"place": place, "index": index, **describe(index, image)})
    emit("done", clock.read())


def film(job: Job, index: int, emit: Emit) -> dict[str, Any]:
    """Sample one image again, and return its trajectory from noise, as JSON values.

    Of many steps some are shown, evenly spaced. The last frame is the image itself.
    """
    place, clock = index % job.generator.block, Clock(job)
    last = clock.steps
    shown = shown_steps(last)
    start = job.generator.x_start([index], job.inputs_of([index]))[0]
    noisy, estimates, levels = [to_uint8(start).cpu()], list[Tensor](), list[float]()

    def see(indices: Sequence[int], state: State) -> None:
        clock.step += 1
        emit("progress", {"what": "sampling it again", "done": clock.step, "of": last})
        if clock.step in shown:
            noisy.append(to_uint8(state.x[place]).cpu())
            estimates.append(to_uint8(state.prediction.x_0[place]).cpu())
            levels.append(level(job, state))

    (image,) = replace(job, generator=observe(job.generator, see)).images([index])
    noisy[-1] = image
    return {
        "noise": pictures.exact(noisy[0]),
        "film": pictures.animate(noisy, [duration(len(noisy))] * (len(noisy) - 1) + [LAST]),
        "noisy": pictures.strip(torch.stack(noisy[1:])),
        "estimates": pictures.strip(torch.stack(estimates)),
        "levels": levels,
    }


def level(job: Job, state: State) -> float:
    """Return the level of a state, of the process that the model was trained on."""
    generator = job.generator
    if not state.level or not isinstance(generator, DiffusionGenerator):
        return 0
    return generator.sampling.grid.visited(generator.model.schedule)[state.level - 1]
