"""model, classifier, labels, low-resolution images, seed -> images."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adm.diffusion import Schedule, clip
from adm.guidance.gradients import Gradient
from adm.images import ROUNDING, to_float
from adm.models.load import ClassifierModel, DiffusionModel, check_pair
from adm.recipes.build import SPACINGS
from adm.samplers import SAMPLERS, ImageNoise, State

# Added to the number of an image that is made larger: its noise has nothing to do with the noise
# that a model may have made it from under the same seed.
UPSAMPLED = 2**48


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """Everything besides the models that makes samples what they are.

    Attributes:
        sampler: `ancestral` (Algorithm 1) or `ddim` (Algorithm 2).
        steps: evaluations of the network an image, from 2 up to `start`.
        spacing: which levels they are at; see `adm.diffusion.spacing`.
        start: the noisiest level visited, T when None. Pure noise stands in for x_t there.
        eta: of DDIM; see `adm.samplers.ddim`.
        clip_again: of DDIM; keep x_0 in range after guidance too.
        at_mean: of ancestral sampling; see `adm.samplers.ancestral`.
        scale: of the classifier's gradient; 0 leaves the classifier out.
        use_labels: tell the diffusion model the class; otherwise only the classifier knows.
        seed: with an image's index, the source of all its noise.
        rounding: to 8 bits; `truncated` is what the released system does.
    """

    sampler: str = "ddim"
    steps: int = 25
    spacing: str = "even"
    start: int | None = None
    eta: float = 0.0
    clip_again: bool = False
    at_mean: bool = False
    scale: float = 0.0
    use_labels: bool = True
    seed: int = 0
    rounding: str = "nearest"


def check(
    settings: SamplingSettings,
    model: DiffusionModel,
    guide: ClassifierModel | None,
    low_res: Sequence[int] | None = None,
) -> None:
    """Raise ValueError for settings that this model cannot be sampled with.

    Args:
        low_res: (C, h, w) of the images that an upsampler is to start from.
    """
    for field, table in (("sampler", SAMPLERS), ("spacing", SPACINGS), ("rounding", ROUNDING)):
        if getattr(settings, field) not in table:
            raise ValueError(
                f"{field} {getattr(settings, field)!r} is unknown; use {' or '.join(table)}"
            )
    start = noisiest(model, settings)
    if not 2 <= start <= model.schedule.last:
        raise ValueError(f"start must be a level in 2..{model.schedule.last}, got {start}")
    if not 2 <= settings.steps <= start:
        raise ValueError(f"steps must be in 2..{start}, got {settings.steps}")
    if not 0 <= settings.seed < 2**64:
        raise ValueError(f"seed must be in 0..2^64 - 1, got {settings.seed}")
    if not torch.isfinite(torch.tensor(settings.scale)):
        raise ValueError(f"scale must be a finite number, got {settings.scale}")
    if not 0 <= settings.eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {settings.eta}")
    takes = inspect.signature(SAMPLERS[settings.sampler]).parameters
    for name, value in options(settings).items():
        if value and name not in takes:
            raise ValueError(
                f"{name} means nothing to the {settings.sampler} sampler; leave it out, or choose "
                "another sampler"
            )
    if settings.scale and guide is None:
        raise ValueError(f"scale {settings.scale} needs a classifier; give one with --classifier")
    _check_low_res(model, low_res)
    if guide is not None:
        check_pair(model, guide)
    spaced(model, settings)


def _check_low_res(model: DiffusionModel, got: Sequence[int] | None) -> None:
    wanted = low_shape(model)
    if wanted is None and got is not None:
        raise ValueError(
            f"{model.path.name} is no upsampler and takes no low-resolution images; leave them "
            "out, or give an upsampler"
        )
    if wanted is not None and got is None:
        raise ValueError(
            f"{model.path.name} is an upsampler and starts from images of {_size(wanted)}; give "
            "them as low_res, or to `adm upsample`"
        )
    if wanted is not None and got is not None and tuple(got) != wanted:
        raise ValueError(
            f"{model.path.name} starts from images of {_size(wanted)} and got {_size(got)}; "
            "give images of that size"
        )


def low_shape(model: DiffusionModel) -> tuple[int, int, int] | None:
    """(C, h, w) of the images that an upsampler starts from; None of any other model."""
    data = model.recipe.data
    return None if data.low_res is None else (data.channels, *data.low_res)


def _size(shape: Sequence[int]) -> str:
    channels, *sides = shape
    return f"{'x'.join(map(str, sides))} with {channels} channel{'s' if channels > 1 else ''}"


def noisiest(model: DiffusionModel, settings: SamplingSettings) -> int:
    """The level that sampling starts from."""
    return model.schedule.last if settings.start is None else settings.start


def spaced(model: DiffusionModel, settings: SamplingSettings) -> Schedule:
    """The model's process with the levels that these settings keep."""
    keep = SPACINGS[settings.spacing](noisiest(model, settings), settings.steps)
    return model.schedule.respaced(keep)


def options(settings: SamplingSettings) -> dict[str, Any]:
    """The settings that belong to one sampler or another, under the names of its parameters."""
    return {
        "eta": settings.eta,
        "restrain_again": clip if settings.clip_again else None,
        "at_mean": settings.at_mean,
    }


def trajectory(
    model: DiffusionModel,
    labels: Tensor | None,
    images: Sequence[int],
    settings: SamplingSettings,
    guide: ClassifierModel | None = None,
    low_res: Tensor | None = None,
) -> Iterator[State]:
    """Sample one batch, step by step.

    Args:
        labels: (B,) int64, or None for an unconditional batch. A network without classes hears
            of none, and only `guide` steers towards them.
        images: global index of each image, which its noise is a function of.
        guide: a noisy classifier of the same classes and process.
        low_res: (B, C, h, w) uint8, what an upsampler starts from.

    Yields:
        State after every step; the last one's `x` are the images in [-1, 1].

    Raises:
        ValueError: a scale without labels.
    """
    schedule = spaced(model, settings)
    numbers = images if low_res is None else [UPSAMPLED + image for image in images]
    noise = ImageNoise(settings.seed, numbers, model.shape, model.device)
    gradient: Gradient | None = None
    if guide is not None and settings.scale:
        if labels is None:
            raise ValueError(f"scale {settings.scale} needs labels to steer towards; give one each")
        gradient = guide.gradient(labels, settings.scale, schedule)
    told = settings.use_labels and model.network.config.classes is not None
    low = None if low_res is None else to_float(low_res.to(model.device))
    denoise = model.denoise(labels if told else None, schedule, clip, low)
    sampler = SAMPLERS[settings.sampler]
    takes = inspect.signature(sampler).parameters
    own = {name: value for name, value in options(settings).items() if name in takes}
    with torch.no_grad():
        yield from sampler(denoise, noise.start(), schedule, noise, gradient, **own)


def generate(
    model: DiffusionModel,
    labels: Tensor | None,
    settings: SamplingSettings,
    guide: ClassifierModel | None = None,
    *,
    images: Sequence[int],
    batch_size: int = 64,
    on_step: Callable[[int], None] | None = None,
    low_res: Tensor | None = None,
) -> Iterator[Tensor]:
    """Sample any number of images, a batch at a time.

    Args:
        labels: (N,) int64, or None.
        images: N global indices.
        on_step: called after every step with the number of images that took it.
        low_res: (N, C, h, w) uint8, what an upsampler starts from.

    Yields:
        (B, C, H, W) uint8 on the CPU, in order.

    Raises:
        ValueError: settings that the model cannot be sampled with; before any work.
    """
    check(settings, model, guide, None if low_res is None else low_res.shape[1:])
    if low_res is not None and (len(low_res) != len(images) or low_res.dtype != torch.uint8):
        raise ValueError(
            f"low_res is {low_res.dtype} of {len(low_res)} images, expected uint8 of {len(images)}"
        )
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        chosen = images[part]
        ours = None if labels is None else labels[part].to(model.device)
        low = None if low_res is None else low_res[part]
        x = torch.empty(0)
        for state in trajectory(model, ours, chosen, settings, guide, low):
            x = state.x
            if on_step is not None:
                on_step(len(chosen))
        yield ROUNDING[settings.rounding](x).cpu()
