"""Name -> ValueError unless it is one of the recipes', without loading torch."""

from difflib import get_close_matches

# The keys of `adm.recipes.RECIPES`, whose configurations need torch.
NAMES = (
    "fashion",
    "fashion-classifier",
    "fashion-judge",
    "digits",
    "digits-classifier",
    "fashion-upsampler",
    "digits-upsampler",
    "fashion-distilled",
    "fashion-progressive",
    "fashion-consistency",
    "photos",
    "photos-classifier",
    "photos-upsampler",
    "emoji",
    "emoji-classifier",
    "emoji-judge",
    "emoji-upsampler",
    "fashion-biggan",
    "emoji-biggan",
    "biggan-128",
    "biggan-deep-128",
    "biggan-deep-256",
    "64x64-diffusion",
    "128x128-diffusion",
    "256x256-diffusion",
    "256x256-diffusion-uncond",
    "512x512-diffusion",
    "lsun-bedroom",
    "lsun-cat",
    "lsun-horse",
    "lsun-horse-nodropout",
    "64-256-upsampler",
    "128-512-upsampler",
    "64x64-classifier",
    "128x128-classifier",
    "256x256-classifier",
    "512x512-classifier",
    "imagenet128-ablated",
    "64x64-diffusion-nodropout",
    "128x128-classifier-before-upsampling",
    "64-256-upsampler-small-batch",
    "ablation-base",
    "ablation-depth4",
    "ablation-4-heads",
    "ablation-attention-32-16-8",
    "ablation-biggan",
    "ablation-rescale",
    "ablation-attention-base",
    "ablation-heads-2",
    "ablation-heads-4",
    "ablation-heads-8",
    "ablation-head-width-32",
    "ablation-head-width-128",
    "ablation-head-width-64",
    "ablation-addition",
)


def unknown(name: str) -> ValueError:
    """Return the error of a name that no recipe has; names similar ones."""
    near = " or ".join(get_close_matches(name, NAMES)) or "one that `adm recipes` lists"
    return ValueError(f"no recipe {name!r}; did you mean {near}?")
