"""Name -> Features that come with this package, from a table.

A name in a file is looked up here and nowhere else: it is never a path to open, nor a module to
import. `adm.features.opening` opens what a caller gives.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TypeAlias

import torch

from adm.features.classifier import classifier
from adm.features.contract import Features
from adm.features.dinov2 import DEFAULT, NETWORKS, dinov2
from adm.features.efficientnet_lite0 import efficientnet_lite0
from adm.features.inception import inception
from adm.models.paths import SHIPPED
from adm.shown import shown

PUBLISHED = ("inception", "efficientnet-lite0", "dinov2", *NETWORKS)

Open: TypeAlias = Callable[[torch.device | str], Features]


@cache
def table() -> dict[str, Open]:
    """Return name -> function that opens the features on a device."""
    found: dict[str, Open] = {
        file.stem: partial(classifier, file) for file in sorted(SHIPPED.glob("*.safetensors"))
    }
    found |= {name: partial(_dinov2, name) for name in NETWORKS}
    return found | {
        "inception": lambda device: inception(device=device),
        "efficientnet-lite0": efficientnet_lite0,
        "dinov2": partial(_dinov2, DEFAULT),
    }


def recorded_features(name: str, place: str, device: torch.device | str = "cpu") -> Features:
    """Open the features that a file records that it was made with.

    Args:
        name: what the file says.
        place: the file, for the error.

    Raises:
        ValueError: they do not come with this package, or a package or its weights are missing.
    """
    opener = table().get(name)
    if opener is None:
        raise ValueError(
            f"{place} was made with the features {shown(name)}, which do not come with this "
            "package, and no file names code to run or a model to open; pass "
            "features='MODULE:FUNCTION', FILE.py:FUNCTION or the file of a classifier, the one "
            "that it was made with, whose fingerprint is compared"
        )
    return opener(device)


def _dinov2(name: str, device: torch.device | str) -> Features:
    return dinov2(name, device=device)
