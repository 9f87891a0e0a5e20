"""labels, installed packages, sample folder -> parts of a report's manifest, as JSON."""

import platform
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

PACKAGES = {"adm": "ablated-diffusion", "torch": "torch", "numpy": "numpy", "pillow": "pillow"}
OPTIONAL = ("torch-fidelity", "timm", "torchvision")  # that features may come from


def label_counts(labels: np.ndarray | None, classes: tuple[str, ...]) -> dict[str, int] | None:
    """Class name -> number of images; None for a single class. Equal names are one class."""
    if labels is None:
        return None
    counts = Counter(dict.fromkeys(classes, 0))
    for name, count in zip(classes, np.bincount(labels, minlength=len(classes)), strict=True):
        counts[name] += int(count)
    return dict(counts)


def versions() -> dict[str, str]:
    """Package -> version, of the packages that can change a score and are installed."""
    found = {name: version(package) for name, package in PACKAGES.items()}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**found, "python": platform.python_version()}


def described(made: dict[str, Any] | None) -> dict[str, Any] | None:
    """A sampling manifest without the labels, which the report counts by class."""
    if made is None:
        return None
    return {key: value for key, value in made.items() if key not in ("labels", "classes")}
