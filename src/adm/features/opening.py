"""Feature spec string of a caller -> Features."""

import os
from difflib import get_close_matches
from pathlib import Path

import torch

from adm.features.builtin import PUBLISHED, table
from adm.features.classifier import classifier
from adm.features.contract import Features
from adm.features.diffusion import KIND, diffusion
from adm.features.dinov2 import DEFAULT, NETWORKS, dinov2
from adm.features.function import function
from adm.features.inception import inception
from adm.shown import shown


def open_features(spec: str, device: torch.device | str = "cpu") -> Features:
    """Open a feature extractor that the caller of this process gives.

    It may import a module and open a path, so never pass it a name that was read from a file;
    `recorded_features` opens that.

    Args:
        spec: `inception`, `inception+download` or `inception:/weights.pth`; `efficientnet-lite0`;
            `dinov2`, or one of its sizes as in `dinov2-vits14`, or `dinov2-vits14:/weights`;
            a classifier that `adm train` trained, by file, run folder or shipped name;
            `diffusion:MODEL` or `diffusion:MODEL@level=100`, a diffusion model; or
            `module:function`.

    Raises:
        ValueError: none of these, or a package or file is missing; the message says how to get it.
    """
    name, _, rest = spec.partition(":")
    if spec in PUBLISHED:
        return table()[spec](device)
    if name in ("inception", "inception+download"):
        return inception(rest or None, device, download=name != "inception")
    if rest and name == KIND:
        return diffusion(rest, device)
    if rest and (name == "dinov2" or name in NETWORKS):
        return dinov2(DEFAULT if name == "dinov2" else name, rest, device)
    if spec in table() or (spec and Path(os.path.expanduser(spec)).exists()):
        return classifier(spec, device)
    if name and rest:
        return function(spec, device)
    near = get_close_matches(spec, table()) or PUBLISHED
    raise ValueError(
        f"no features {shown(spec)}; give {' or '.join(near)}, a classifier's file, "
        "diffusion:MODEL or MODULE:FUNCTION. Features of your own are opened as MODULE:FUNCTION or "
        "FILE.py:FUNCTION, and a classifier by its file; the name that a reference stores does not "
        "open them"
    )
