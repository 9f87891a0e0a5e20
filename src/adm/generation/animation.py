"""Job, its images -> GIF: those of a contact sheet at every step, from noise to samples."""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from adm.generation.generator import OnStep
from adm.generation.job import Job
from adm.generation.sheet import draw, layout
from adm.images import to_uint8
from adm.pictures import gif

MOST_IMAGES, MOST_FRAMES = 64, 40
PIXELS = 1 << 18  # of all tiles of a frame; noise is hardly compressed
WHOLE, LAST = 4000, 2500  # milliseconds of all frames but the last, and of the last
SHORTEST, LONGEST = 60, 400  # milliseconds of a frame


def animation(job: Job, images: Tensor, on_step: OnStep | None = None) -> bytes:
    """Sample some images of a job again, and draw x_t at every step.

    The frames may differ from the job's images by rounding, but the last one shows these images
    themselves. Of a cascade, the upsampler's steps are shown; of long samplings, `MOST_FRAMES`
    evenly spaced steps.

    Args:
        images: (N, C, H, W) uint8, those of the job.
        on_step: called after every step with the network evaluations that it took.

    Returns:
        The bytes of an animated GIF.
    """
    plan = layout(job, MOST_IMAGES)
    last = job.generator.steps
    shown = shown_steps(last)

    def frame(x: Tensor) -> Image.Image:
        picture = draw(plan, x, PIXELS)
        return picture if job.generator.shape[0] > 2 else picture.convert("L")

    steps = enumerate(_noisy(job, plan.indices, on_step))
    frames = [frame(x) for step, x in steps if step in shown and step < last]
    durations = [duration(len(frames)) // 10 * 10] * len(frames)  # in steps of GIF
    return gif([*frames, frame(images[plan.indices])], [*durations, LAST])


def shown_steps(last: int) -> set[int]:
    """Return the steps of 0..last that are shown: all, or `MOST_FRAMES` evenly spaced ones."""
    if last < MOST_FRAMES:
        return set(range(last + 1))
    return {round(i * last / (MOST_FRAMES - 1)) for i in range(MOST_FRAMES)}


def duration(frames: int) -> int:
    """Return the milliseconds of each of some frames; the last one is shown for `LAST`."""
    return min(LONGEST, max(SHORTEST, WHOLE // frames))


def cost(job: Job) -> int:
    """Return the number of network evaluations that `animation` takes."""
    indices = layout(job, MOST_IMAGES).indices
    return len(indices) * job.generator.evaluations


def _noisy(job: Job, indices: list[int], on_step: OnStep | None) -> Iterator[Tensor]:
    """Yield x_t from which sampling starts, and after every step.

    All batches advance together, so that only one step of the images is in memory.

    Yields:
        (len(indices), C, H, W) uint8 on the CPU.
    """
    generator, size = job.generator, job.generator.block
    batches = [indices[i : i + size] for i in range(0, len(indices), size)]
    starts = [generator.x_start(batch, job.inputs_of(batch)) for batch in batches]
    yield torch.cat([to_uint8(start).cpu() for start in starts])
    runs = [
        generator.trajectory(job.labels_of(batch), batch, job.inputs_of(batch)) for batch in batches
    ]
    for step, states in enumerate(zip(*runs, strict=True), start=1):
        yield torch.cat([to_uint8(state.x).cpu() for state in states])
        if on_step is not None:
            on_step(len(indices) * generator.evaluations_of(step))
