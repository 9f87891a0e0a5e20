"""Images -> the class token of DINOv2 (Oquab et al. 2023), through timm.

Stein et al. (2023, "Exposing flaws of generative model evaluation metrics") found that distances in
these features agree better with human judgement than those in Inception's; they used ViT-L/14.
"""

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from adm.extras import installing
from adm.features.contract import Extracted, Features, fingerprint_of, make_features
from adm.features.preprocess import rgb, smooth_bicubic

SIZE = 224  # 16 x 16 patches
NETWORKS = {  # our name -> timm's, and D
    "dinov2-vits14": ("vit_small_patch14_dinov2.lvd142m", 384),
    "dinov2-vitb14": ("vit_base_patch14_dinov2.lvd142m", 768),
    "dinov2-vitl14": ("vit_large_patch14_dinov2.lvd142m", 1024),
    "dinov2-vitg14": ("vit_giant_patch14_dinov2.lvd142m", 1536),
}
FILE = "model.safetensors"
DEFAULT = "dinov2-vitl14"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as trained
HOW = "dinov2 1: antialiased bicubic to 224 x 224, ImageNet's mean and deviation, class token"


def dinov2_features(
    name: str = DEFAULT, file: str | Path | None = None, device: torch.device | str = "cpu"
) -> Features:
    """One of the published networks.

    Args:
        name: one of `NETWORKS`.
        file: the `model.safetensors` of timm's repository on the Hugging Face hub; by default it is
            downloaded from there, and cached by the hub's client.

    Raises:
        ValueError: timm is not installed, there is no such network, or no such weights.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; the networks are {', '.join(NETWORKS)}")
    try:
        timm, hub = (importlib.import_module(each) for each in ("timm", "huggingface_hub"))
    except ImportError:
        raise ValueError(
            f"{name} needs the package timm, which is not installed; {installing('dinov2')}"
        ) from None
    path = _download(name, hub) if file is None else Path(os.path.expanduser(file))
    if not path.is_file() or path.suffix != ".safetensors":
        raise ValueError(f"no weights in {path}; give the {FILE} of {_page(name)}")
    weights = {"pretrained_cfg_overlay": {"file": str(path)}}
    try:
        network = architecture(name, timm, pretrained=True, **weights)
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} does not hold the weights of {name} ({reason}); "
            f"give the {FILE} of {_page(name)}"
        ) from None
    return dinov2_of(name, network, device)


def dinov2_of(name: str, network: nn.Module, device: torch.device | str = "cpu") -> Features:
    """Features of any network of this shape: normalized RGB (B, 3, 224, 224) -> (B, D)."""
    network = network.to(device).eval().requires_grad_(False)
    mean = torch.tensor(MEAN, device=device).reshape(3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=device).reshape(3, 1, 1)

    def extract(images: Tensor) -> Extracted:
        x = smooth_bicubic(rgb(images, name), SIZE) / 255
        return Extracted(network((x - mean) / deviation))

    # Position embeddings are resampled from those of larger images, which versions of torch round
    # differently.
    state = {key: w for key, w in network.state_dict().items() if key != "pos_embed"}
    return make_features(name, NETWORKS[name][1], extract, fingerprint_of(HOW, state), device)


def architecture(name: str, timm: ModuleType, **settings: Any) -> nn.Module:
    """timm's network of this name, whose output is its normalized class token."""
    return timm.create_model(
        NETWORKS[name][0], num_classes=0, img_size=SIZE, global_pool="token", **settings
    )


def _download(name: str, hub: ModuleType) -> Path:
    """The published file, in the cache of the hub's client."""
    try:
        return Path(hub.hf_hub_download(f"timm/{NETWORKS[name][0]}", FILE))
    except Exception as error:  # of many types, of the hub and the network
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"the weights of {name} cannot be downloaded ({reason}); connect, or download {FILE} "
            f"from {_page(name)} and open the features {name}:/PATH"
        ) from None


def _page(name: str) -> str:
    return f"https://huggingface.co/timm/{NETWORKS[name][0]}"
