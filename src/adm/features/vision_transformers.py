"""Images -> the class token of DINOv2, or CLIP's embedding of it, through timm.

DINOv2 (Oquab et al. 2023): Stein et al. (2023, "Exposing flaws of generative model evaluation
metrics") found that distances in its features agree better with human judgement than those in
Inception's; they used ViT-L/14.

CLIP (Radford et al. 2021): Jayasumana et al. (2024, "Rethinking FID") define CMMD by the image
embeddings of ViT-L/14 at 336 x 336. OpenAI trained it with x sigmoid(1.702 x) in place of GELU,
which is another network of timm than the one that its weights are named after.
"""

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from adm.extras import installing
from adm.features.contract import Extracted, Features, fingerprint_of, make_features
from adm.features.preprocess import rgb, smooth_bicubic

Colour = tuple[float, float, float]  # red, green and blue, in 0..1


@dataclass(frozen=True, kw_only=True)
class Network:
    """A published network, and the images that it was trained on.

    Attributes:
        timm: its name in timm.
        weights: the name of timm's repository on the Hugging Face hub.
        dim: D.
        size: side of the images, in pixels.
        mean, deviation: of their pixels.
        how: description of the preprocessing, which its fingerprint covers.
        settings: of timm's `create_model`, so that it returns the features.
    """

    timm: str
    weights: str
    dim: int
    size: int
    mean: Colour
    deviation: Colour
    how: str
    settings: Mapping[str, Any]

    @property
    def page(self) -> str:
        """Where its weights are."""
        return f"https://huggingface.co/timm/{self.weights}"


def _dinov2(width: str, dim: int) -> Network:
    timm = f"vit_{width}_patch14_dinov2.lvd142m"
    return Network(
        timm=timm,
        weights=timm,
        dim=dim,
        size=224,
        mean=(0.485, 0.456, 0.406),
        deviation=(0.229, 0.224, 0.225),
        how="dinov2 1: antialiased bicubic to 224 x 224, ImageNet's mean and deviation, "
        "class token",
        settings={"num_classes": 0, "img_size": 224, "global_pool": "token"},
    )


NETWORKS = {
    "dinov2-vits14": _dinov2("small", 384),
    "dinov2-vitb14": _dinov2("base", 768),
    "dinov2-vitl14": _dinov2("large", 1024),
    "dinov2-vitg14": _dinov2("giant", 1536),
    "clip": Network(
        timm="vit_large_patch14_clip_quickgelu_336.openai",
        weights="vit_large_patch14_clip_336.openai",
        dim=768,
        size=336,
        mean=(0.48145466, 0.4578275, 0.40821073),
        deviation=(0.26862954, 0.26130258, 0.27577711),
        how="clip 1: antialiased bicubic to 336 x 336, CLIP's mean and deviation, embedding",
        settings={"num_classes": 768},
    ),
}
FILE = "model.safetensors"
DEFAULT = "dinov2-vitl14"  # of the DINOv2


def transformer_features(
    name: str = DEFAULT, device: torch.device | str = "cpu", file: str | Path | None = None
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
            f"{name} needs the package timm, which is not installed; "
            f"{installing(name.partition('-')[0])}"
        ) from None
    page = NETWORKS[name].page
    path = _download(name, hub) if file is None else Path(os.path.expanduser(file))
    if not path.is_file() or path.suffix != ".safetensors":
        raise ValueError(f"no weights in {path}; give the {FILE} of {page}")
    weights = {"pretrained_cfg_overlay": {"file": str(path)}}
    try:
        network = architecture(name, timm, pretrained=True, **weights)
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} does not hold the weights of {name} ({reason}); give the {FILE} of {page}"
        ) from None
    return transformer_of(name, network, device)


def transformer_of(name: str, network: nn.Module, device: torch.device | str = "cpu") -> Features:
    """Features of any network of this shape: normalized RGB (B, 3, size, size) -> (B, D)."""
    published = NETWORKS[name]
    network = network.to(device).eval().requires_grad_(False)
    mean, deviation = (
        torch.tensor(each, device=device).reshape(3, 1, 1)
        for each in (published.mean, published.deviation)
    )

    def extract(images: Tensor) -> Extracted:
        x = smooth_bicubic(rgb(images, name), published.size) / 255
        return Extracted(network((x - mean) / deviation))

    # DINOv2's position embeddings are resampled from those of larger images, which versions of
    # torch round differently.
    state = {key: w for key, w in network.state_dict().items() if key != "pos_embed"}
    fingerprint = fingerprint_of(published.how, state)
    return make_features(name, published.dim, extract, fingerprint, device)


def architecture(name: str, timm: ModuleType, **settings: Any) -> nn.Module:
    """timm's network of this name, whose output is the features."""
    return timm.create_model(NETWORKS[name].timm, **{**NETWORKS[name].settings, **settings})


def _download(name: str, hub: ModuleType) -> Path:
    """The published file, in the cache of the hub's client."""
    published = NETWORKS[name]
    try:
        return Path(hub.hf_hub_download(f"timm/{published.weights}", FILE))
    except Exception as error:  # of many types, of the hub and the network
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"the weights of {name} cannot be downloaded ({reason}); connect, or download {FILE} "
            f"from {published.page} and open the features {name}:/PATH"
        ) from None
