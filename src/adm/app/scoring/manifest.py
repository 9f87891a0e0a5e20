"""Labels, installed packages, sampling manifest -> parts of the manifest of a Report."""

import platform
from collections import Counter
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

PACKAGES = {"adm": "ablated-diffusion", "torch": "torch", "numpy": "numpy", "pillow": "pillow"}
OPTIONAL = ("torch-fidelity", "timm", "torchvision")  # packages that features may come from


def label_counts(labels: np.ndarray | None, classes: tuple[str, ...]) -> dict[str, int] | None:
    """Return class name -> number of images; None without labels. Equal names are one class."""
    if labels is None:
        return None
    counts = Counter(dict.fromkeys(classes, 0))
    for name, count in zip(classes, np.bincount(labels, minlength=len(classes)), strict=True):
        counts[name] += int(count)
    return dict(counts)


def versions() -> dict[str, str]:
    """Return package -> version of the installed packages that can affect a score."""
    found = {name: version(package) for name, package in PACKAGES.items()}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return {**found, "python": platform.python_version()}


def omit_labels(made: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a sampling manifest without labels, which the report counts by class."""
    if made is None:
        return None
    return {key: value for key, value in made.items() if key not in ("labels", "classes")}
