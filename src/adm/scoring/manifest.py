"""Installed packages, sampling manifest -> parts of the manifest of a Report."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = {"adm": "ablated-diffusion", "torch": "torch", "numpy": "numpy", "pillow": "pillow"}
OPTIONAL = ("torch-fidelity", "timm", "torchvision")  # packages that features may come from


def versions() -> dict[str, str]:
    """Return package -> version of the installed packages that can affect a score."""
    installed = {name: version(package) for name, package in PACKAGES.items()}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            installed[name] = version(name)
    return {**installed, "python": platform.python_version()}


def omit_labels(manifest: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a sampling manifest without labels, which the report counts by class."""
    if manifest is None:
        return None
    return {key: value for key, value in manifest.items() if key not in ("labels", "classes")}
