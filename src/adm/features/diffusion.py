"""uint8 images -> innermost features of a diffusion model, of the images with noise added.

What a network learns in order to remove noise, without any label, discriminates between images
(Baranchuk et al. 2022, section 3). The model receives no label, even if it is class-conditional.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adm.diffusion.process import diffuse
from adm.features.contract import Extracted, Features, check_shape, fingerprint_of, make_features
from adm.images import to_float
from adm.limits import MOST_LEVELS
from adm.models.load import load_any
from adm.models.pair import check_from_noise
from adm.models.paths import SHIPPED
from adm.models.trained import DiffusionModel
from adm.networks.unet import embedded
from adm.samplers.noise import ImageNoise
from adm.spec import Checked, parse

KIND = "diffusion"
LEVEL = 100
HOW = "diffusion 1: x / 127.5 - 1 at the size it was trained on, one noise for all images"


@dataclass(frozen=True)
class AddedNoise(Checked):
    """The noise that is added to an image.

    It is a function of seed and level alone, the same for all images: features of an image depend
    on nothing else, equal images have equal features, and similar images similar ones.

    Attributes:
        level: the noise level, in 1..T of the model.
        seed: random seed of the noise.
    """

    level: Annotated[int, Field(ge=1, le=MOST_LEVELS)] = LEVEL
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    name: ClassVar[str] = "noise"


def diffusion_features(spec: str, device: torch.device | str = "cpu") -> Features:
    """The spatial mean of the features behind the middle block of a diffusion model's encoder.

    Args:
        spec: the model, a file, a run folder or a shipped name; then, after an @, settings of
            `AddedNoise`: `fashion`, `runs/a@level=50`, `fashion@level=50,seed=1`.

    Raises:
        ValueError: there is no such model, it is an upsampler or a classifier, or a setting is
            unknown or out of range.
    """
    model, noise = _parse(spec)
    loaded = _load(model, device)
    network, schedule, shape = loaded.network, loaded.schedule, loaded.shape
    if noise.level > schedule.last:
        raise ValueError(
            f"level must be in 1..{schedule.last}, the levels of {loaded.path}, got {noise.level}"
        )
    stem = loaded.path.stem if loaded.path.parent == SHIPPED else loaded.recipe.name
    name = f"{KIND}:{stem}@{','.join(f'{key}={value}' for key, value in _settings(noise).items())}"
    added = ImageNoise(noise.seed, [0], shape, device)(noise.level)

    def extract(images: Tensor) -> Extracted:
        check_shape(name, images, shape)
        x_0 = to_float(images)
        x_t = diffuse(schedule, x_0, added.expand_as(x_0), noise.level)
        inputs = loaded.parameterization.inputs(schedule, x_t, noise.level)
        embedding = embedded(network, inputs.timestep, None, None)
        return Extracted(network.encoder(inputs.x_t, embedding)[-1].mean(dim=(2, 3)))

    width = network.config.widths[-1]
    signal = schedule.alpha_bar[noise.level].item()
    facts = f"Noise(level={noise.level}, seed={noise.seed}), {signal!r}"
    weights = {
        key: value
        for key, value in network.state_dict().items()
        if key.startswith(("encoder.", "step_embedding."))
    }
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    factor = loaded.parameterization.inputs(schedule, one, noise.level).x_t.item()
    facts += "" if factor == 1 else f", x_t times {factor!r}"
    how = f"{HOW} ({facts}, {schedule.timesteps[noise.level].item():g})"
    return make_features(name, width, extract, fingerprint_of(how, weights), device)


def _load(model: str, device: torch.device | str) -> DiffusionModel:
    """Load a diffusion model that starts from noise, or raise ValueError."""
    loaded = load_any(model, device)
    if not isinstance(loaded, DiffusionModel):
        raise ValueError(
            f"{loaded.path} is a classifier, whose features are opened by its path alone; leave "
            f"out {KIND}: before it, and the settings after the @"
        )
    check_from_noise(loaded)
    return loaded


def _parse(spec: str) -> tuple[str, AddedNoise]:
    """Split a spec into the model and the noise."""
    model, at, settings = spec.rpartition("@")
    if not at or "=" not in settings:
        return spec, AddedNoise()
    return model, parse({"noise": AddedNoise}, f"noise:{settings}", "features")


def _settings(noise: AddedNoise) -> dict[str, int]:
    """Return the settings in a name: the level, and a seed other than 0."""
    return {key: value for key, value in asdict(noise).items() if key == "level" or value}
