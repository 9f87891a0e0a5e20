"""Chain -> GIF: the images of a contact sheet at every step, from noise to samples."""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from adm.generation.diffusion import DiffusionGenerator
from adm.generation.generator import OnStep
from adm.generation.job import Chain, Images, Job
from adm.generation.sheet import MOST_OF_CLASS, drawn, layout
from adm.images import to_uint8
from adm.pictures import gif

MOST_IMAGES, MOST_FRAMES = 64, 40
PIXELS = 1 << 18  # of all tiles of a frame; noise is hardly compressed
WHOLE, LAST = 4000, 2500  # milliseconds of all frames but the last, and of the last
SHORTEST, LONGEST = 60, 400  # milliseconds of a frame


def animation(
    chain: Chain, on_step: OnStep | None = None, most_of_class: int = MOST_OF_CLASS
) -> bytes:
    """Sample some images of a job again, and draw x_t at every step.

    Without guidance or labels, too, the images are those of the job: they depend on the seed and
    their indices. They may differ by rounding, but the last frame holds the images of the job
    themselves. Of a cascade, the last job is shown. Long samplings are shown in `MOST_FRAMES`
    evenly spaced steps.

    Args:
        chain: the job with its images, and for a cascade the first job with its images.
        on_step: called after every step with the network evaluations that it took.
        most_of_class: most images of a class.

    Returns:
        The bytes of an animated GIF.

    Raises:
        ValueError: the generator is not a `DiffusionGenerator`, and has no steps to show.
    """
    job, images = chain[0]
    check_animated(job)
    plan = layout(job, MOST_IMAGES, most_of_class)
    assert isinstance(job.generator, DiffusionGenerator)
    last = job.generator.steps
    shown = {round(i * last / (MOST_FRAMES - 1)) for i in range(MOST_FRAMES)}
    if last < MOST_FRAMES:
        shown = set(range(last + 1))

    def frame(x: Tensor) -> Image.Image:
        picture = drawn(plan, x, PIXELS)
        return picture if job.generator.shape[0] > 2 else picture.convert("L")

    steps = enumerate(_noisy(chain, plan.indices, on_step))
    frames = [frame(x) for step, x in steps if step in shown and step < last]
    duration = min(LONGEST, max(SHORTEST, WHOLE // len(frames) // 10 * 10))
    return gif([*frames, frame(images[plan.indices])], [duration] * len(frames) + [LAST])


def cost(job: Job, most_of_class: int = MOST_OF_CLASS) -> int:
    """Return the number of network evaluations that `animation` takes."""
    indices = layout(job, MOST_IMAGES, most_of_class).indices
    return len(indices) * job.generator.evaluations


def check_animated(job: Job) -> None:
    """Raise ValueError unless the job samples step by step."""
    if not isinstance(job.generator, DiffusionGenerator):
        raise ValueError(
            f"{type(job.generator).__name__} has no denoising to show; give the job of a diffusion "
            "model, or leave animate=True out"
        )


def _noisy(chain: Chain, indices: list[int], on_step: OnStep | None) -> Iterator[Tensor]:
    """Yield the noise that sampling starts from, and x_t after every step.

    All batches advance together, so that only one step of the images is in memory.

    Yields:
        (len(indices), C, H, W) uint8 on the CPU.
    """
    job, labels = chain[0][0], chain[0][0].label_tensor
    generator = job.generator
    assert isinstance(generator, DiffusionGenerator)
    low_res = _low_res(chain)
    size = generator.block
    batches = [indices[i : i + size] for i in range(0, len(indices), size)]

    def chosen(all_: Images | None, batch: list[int]) -> Tensor | None:
        return None if all_ is None else all_[batch]

    lows = [chosen(low_res, batch) for batch in batches]
    noises = [generator.noise(batch, low) for batch, low in zip(batches, lows, strict=True)]
    yield torch.cat([to_uint8(noise.start()).cpu() for noise in noises])
    runs = [
        generator.trajectory(chosen(labels, batch), batch, low)
        for batch, low in zip(batches, lows, strict=True)
    ]
    for step, states in enumerate(zip(*runs, strict=True), start=1):
        yield torch.cat([to_uint8(state.x).cpu() for state in states])
        if on_step is not None:
            on_step(len(indices) * generator.evaluated(step))


def _low_res(chain: Chain) -> Images | None:
    """Return the images that the last job of a cascade, or an upsampler, starts from."""
    if len(chain) > 1:
        return chain[1][1]
    start = chain[0][0].low_res
    assert not isinstance(start, Job)  # its images would be in the chain
    return None if start is None else start.images
