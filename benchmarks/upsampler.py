"""Upsampler, images -> table of its errors and of those of interpolation.

    python benchmarks/upsampler.py runs/fashion-upsampler --data fashion-mnist --images 500

Test images are reduced as in training, to area means rounded to 8 bits, and upsampled again. PSNR
is that of the mean squared error of an image. `means` is the difference between the area means of
the result and the small image, in pixel values of 255. `detail` is the standard deviation of the
difference between neighbouring pixels of all images.
"""

import argparse

import torch
from torch import Tensor
from torch.nn import functional as F

from adm.data import open_source
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.resolve import resolve
from adm.images import to_float, to_uint8
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.training.objective import area_mean

LEVELS = 127.5  # in a unit of [-1, 1]


def upsampled(model: DiffusionModel, low: Tensor, labels: Tensor, steps: int, seed: int) -> Tensor:
    sampling = resolve(model, model.recipe.sample.change(steps=steps, seed=seed))
    class_labels = labels if model.recipe.unet.classes is not None else None
    return DiffusionGenerator(model, sampling).images(class_labels, range(len(low)), low)


def psnr(images: Tensor, originals: Tensor) -> Tensor:
    """Return the (N,) PSNR in decibels of (N, C, H, W) uint8 images."""
    error = (images.float() - originals.float()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / error.clamp(min=1e-2))


def detail(images: Tensor) -> float:
    return float((images[..., 1:].float() - images[..., :-1].float()).std())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = load_diffusion(args.model)
    shape, size = model.low_shape, model.recipe.data.size
    assert shape is not None, "give an upsampler"
    source = open_source(args.data, split="test", size=size, channels=shape[0])
    originals, labels = source.batch(range(min(args.images, len(source))))
    means = area_mean((shape[1], shape[2]), rounded=False)
    low = to_uint8(means(to_float(originals)))
    steps = args.steps or model.recipe.sample.grid.steps
    ways = {
        f"upsampler, {steps} steps": upsampled(model, low, labels, steps, args.seed),
        "bicubic": to_uint8(F.interpolate(to_float(low), size, mode="bicubic")),
        "nearest": to_uint8(F.interpolate(to_float(low), size, mode="nearest")),
        "originals": originals,
    }
    print(f"{len(originals)} test images of {source.name}, seed {args.seed}, ", end="")
    print(f"after {model.trained_steps} steps of training\n")
    print("| made by | PSNR (dB) | its standard error | means | detail |\n|---|--:|--:|--:|--:|")
    for name, images in ways.items():
        decibels = psnr(images, originals)
        error = float(decibels.std()) / len(decibels) ** 0.5
        apart = float((means(to_float(images)) - to_float(low)).abs().mean()) * LEVELS
        shown = "" if name == "originals" else f"{float(decibels.mean()):.2f}"
        print(f"| {name} | {shown} | {error:.2f} | {apart:.2f} | {detail(images):.1f} |")


if __name__ == "__main__":
    main()
