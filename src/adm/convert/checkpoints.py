"""released file -> which of the 15 it is, and its weights under our names.

What the released flags say of each file (https://github.com/openai/guided-diffusion). All diffusion
models predict the noise and a variance within the learned range, on 1000 steps.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from adm.convert.released import (
    Config,
    Shapes,
    differences,
    import_state,
    released_shapes,
    shapes_of,
)
from adm.networks import ClassifierConfig, HeadCount, HeadWidth, UNetConfig


@dataclass(frozen=True, kw_only=True)
class Released:
    """One released file.

    Attributes:
        config: its network.
        size: side of its images in pixels.
        schedule, steps: of the process it was trained on. A classifier's files name none: it goes
            with the model that it guides.
        legacy_attention_order: how its attention's rows are laid out.
        classifier: the file that guides it.
    """

    config: Config
    size: int
    schedule: Literal["linear", "cosine"] | None = "linear"
    steps: int = 1000
    legacy_attention_order: bool = True
    classifier: str | None = None


class Loaded(NamedTuple):
    """A released file, read.

    Attributes:
        names: every released file of this architecture; one, unless they cannot be told apart.
        released: what it is.
        state: our name -> tensor.
    """

    names: tuple[str, ...]
    released: Released
    state: dict[str, Tensor]


_64 = UNetConfig(
    channels=192,
    multipliers=(1, 2, 3, 4),
    depth=3,
    attention_factors=(2, 4, 8),
    heads=HeadWidth(64),
    dropout=0.1,
    out_channels=6,
    classes=1000,
)
_128 = UNetConfig(
    channels=256,
    multipliers=(1, 1, 2, 3, 4),
    depth=2,
    attention_factors=(4, 8, 16),
    heads=HeadCount(4),
    out_channels=6,
    classes=1000,
)
_256 = replace(
    _128, multipliers=(1, 1, 2, 2, 4, 4), attention_factors=(8, 16, 32), heads=HeadWidth(64)
)
_512 = replace(_256, multipliers=(0.5, 1, 1, 2, 2, 4, 4), attention_factors=(16, 32, 64))
_256_UNLABELLED = replace(_256, classes=None)
_LSUN = replace(_256_UNLABELLED, dropout=0.1)
_64_TO_256 = replace(_256, channels=192, heads=HeadCount(4), super_resolution=True)
_128_TO_512 = replace(_64_TO_256, attention_factors=(16, 32), heads=HeadWidth(64))
_CLASSIFIER_128 = ClassifierConfig(
    channels=128,
    multipliers=(1, 1, 2, 3, 4),
    depth=2,
    attention_factors=(4, 8, 16),
    heads=HeadWidth(64),
    classes=1000,
    size=(128, 128),
)
_CLASSIFIER_64 = replace(
    _CLASSIFIER_128,
    multipliers=(1, 2, 3, 4),
    depth=4,
    attention_factors=(2, 4, 8),
    size=(64, 64),
)
_CLASSIFIER_256 = replace(
    _CLASSIFIER_128,
    multipliers=(1, 1, 2, 2, 4, 4),
    attention_factors=(8, 16, 32),
    size=(256, 256),
)
_CLASSIFIER_512 = replace(
    _CLASSIFIER_128,
    multipliers=(0.5, 1, 1, 2, 2, 4, 4),
    attention_factors=(16, 32, 64),
    size=(512, 512),
)

RELEASED: dict[str, Released] = {
    "64x64_diffusion.pt": Released(
        config=_64,
        size=64,
        schedule="cosine",
        legacy_attention_order=False,
        classifier="64x64_classifier.pt",
    ),
    "128x128_diffusion.pt": Released(config=_128, size=128, classifier="128x128_classifier.pt"),
    "256x256_diffusion.pt": Released(config=_256, size=256, classifier="256x256_classifier.pt"),
    "256x256_diffusion_uncond.pt": Released(
        config=_256_UNLABELLED, size=256, classifier="256x256_classifier.pt"
    ),
    "512x512_diffusion.pt": Released(config=_512, size=512, classifier="512x512_classifier.pt"),
    "lsun_bedroom.pt": Released(config=_LSUN, size=256),
    "lsun_cat.pt": Released(config=_LSUN, size=256),
    "lsun_horse.pt": Released(config=_LSUN, size=256),
    "lsun_horse_nodropout.pt": Released(config=_256_UNLABELLED, size=256),
    "64_256_upsampler.pt": Released(config=_64_TO_256, size=256),
    "128_512_upsampler.pt": Released(config=_128_TO_512, size=512),
    "64x64_classifier.pt": Released(config=_CLASSIFIER_64, size=64, schedule=None),
    "128x128_classifier.pt": Released(config=_CLASSIFIER_128, size=128, schedule=None),
    "256x256_classifier.pt": Released(config=_CLASSIFIER_256, size=256, schedule=None),
    "512x512_classifier.pt": Released(config=_CLASSIFIER_512, size=512, schedule=None),
}


def recognise(shapes: Shapes) -> tuple[str, ...]:
    """Which released files have exactly these names and shapes.

    The unconditional ImageNet model and the four LSUN models share theirs, and differ in dropout
    alone, which sampling never sees; so the answer may name several. Heads do not show: a network
    of somebody's own that differs in them alone is taken for the released one.

    Raises:
        ValueError: none has; names the nearest and the settings in which it differs.
    """
    got = {name: tuple(shape) for name, shape in shapes.items()}
    if found := tuple(name for name in RELEASED if _wanted(name) == got):
        return found
    nearest = min(RELEASED, key=lambda name: len(differences(got, _wanted(name))))
    differing = differences(got, _wanted(nearest)) or [
        "some tensors are missing or of another shape"
    ]
    raise ValueError(
        f"no released file has these weights; next to {nearest}, {'; '.join(differing)}; "
        "give the flags they were trained with"
    )


def _wanted(name: str) -> dict[str, tuple[int, ...]]:
    return released_shapes(RELEASED[name].config)


def load_released(path: Path, described: Released | None = None) -> Loaded:
    """Read a released file, or one of the same kind, without running anything it holds.

    Args:
        path: a `.pt` file with a state dict.
        described: what it is, where it is not one of the 15 (see `convert.flags`).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds code or something else than weights, or the weights of
            another network.
    """
    state = read_tensors(path)
    if described is None:
        names = recognise(shapes_of(state))
        # The name of the file decides between those that share their shapes.
        names = (path.name,) if path.name in names else names
        described = RELEASED[names[0]]
    else:
        names = ()
    return Loaded(
        names, described, import_state(state, described.config, described.legacy_attention_order)
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name -> tensor from a file that `torch.save` wrote, memory-mapped where its format allows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds anything else than a flat dictionary of tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the path of a .pt file")
    try:
        with warnings.catch_warnings():  # of pickle protocols, ahead of the refusal
            warnings.simplefilter("ignore")
            held = torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise ValueError(f"{path} is damaged or no .pt file; fetch it again") from None
        raise ValueError(
            f"{path} holds more than weights and would run code when opened, which is refused; "
            "ask its author for the plain state dict"
        ) from None
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(f"{path} is damaged or no .pt file ({reason}); fetch it again") from None
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise ValueError(f"{path} holds {_kind(held)}; give a plain state dict, name -> tensor")
    return held


def _kind(held: object) -> str:
    def parts() -> Iterator[str]:
        yield type(held).__name__
        if isinstance(held, dict):
            yield f"of {', '.join(map(str, list(held)[:3]))}"

    return " ".join(parts())
