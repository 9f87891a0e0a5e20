"""Shapes of released names, flags -> recipe of a custom checkpoint; or what the shapes leave open.

The names and shapes of weights determine widths, depth, where attention is, the classes and the
outputs. They do not determine heads, image size and process, which are given as the flags that the
network was trained with.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adm.diffusion import NOISE, X_0
from adm.models.convert.flags import UNSET, Flags, config_from_flags, read_flags
from adm.models.convert.released import visible_settings
from adm.networks import Shapes, UNetConfig
from adm.recipes.paper import Trained, as_released, imagenet
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, ProcessSettings, Recipe
from adm.spec import SettingError

SCHEDULES = ("linear", "cosine")
HEADS = "num_heads or num_head_channels"
# No file says how it was trained.
UNKNOWN = as_released(Trained(1, 1, 1e-4))


def recipe_from_flags(path: Path, shapes: Shapes, given: Mapping[str, Any]) -> tuple[Recipe, Flags]:
    """Return the recipe of a checkpoint in the released format, and the flags of its network.

    Args:
        path: of the checkpoint, for its name.
        shapes: of its weights, by released name.
        given: flags that it was trained with; those that follow from the shapes may be left out.

    Raises:
        ValueError: a flag is unknown, or the weights are not of a released network.
        SettingError: a flag is missing; names the values that fit.
    """
    seen = visible_flags(shapes)
    if given.keys() & {"num_heads", "classifier_num_heads"}:
        seen |= {"num_head_channels": UNSET}  # which the classifier's script sets
    flags = read_flags(seen | dict(given))
    if missing := open_flags(seen, given):
        listed = "; ".join(f"{name} ({values})" for name, values in missing.items())
        raise SettingError("flags", f"complete: the weights in {path} leave open {listed}")
    config = config_from_flags(seen | dict(given))
    size = flags.large_size or flags.image_size
    low = flags.small_size
    data = replace(imagenet(size), low_res=None if low is None else (low, low))
    if flags.noise_schedule not in SCHEDULES:
        raise SettingError("flags", f"with noise_schedule {_some(SCHEDULES)}", flags.noise_schedule)
    process = ProcessSettings(
        schedule="cosine" if flags.noise_schedule == "cosine" else "linear",
        steps=flags.diffusion_steps,
        prediction=X_0 if flags.predict_xstart else NOISE,
        variance="learned_range" if flags.learn_sigma else "fixed_large",
        rescale_steps=flags.rescale_timesteps,
    )
    if not isinstance(config, UNetConfig):
        return ClassifierRecipe(
            name=path.stem, data=data, process=process, classifier=config, train=UNKNOWN
        ), flags
    return DiffusionRecipe(
        name=path.stem, data=data, process=process, unet=config, train=UNKNOWN
    ), flags


def visible_flags(shapes: Shapes) -> dict[str, Any]:
    """Return the flags that the shapes of a released network determine.

    Raises:
        ValueError: the names are not those of a released network.
    """
    seen: dict[str, Any] = visible_settings(shapes)
    encoder = _numbers(shapes, r"input_blocks\.(\d+)\.")
    blocks = {n for n in encoder if f"input_blocks.{n}.0.out_layers.3.weight" in shapes}
    plain = {*range(1, max(encoder))} - blocks  # which halve the size, with weights or without
    attends = {n for n in encoder if f"input_blocks.{n}.1.qkv.weight" in shapes}
    deep = _depth(shapes, encoder, plain, attends)
    levels = (max(encoder) + 1) // (deep + 1)
    starts = [1 + level * (deep + 1) for level in range(levels)]
    width = {n: shapes[f"input_blocks.{n}.0.out_layers.3.weight"][0] for n in starts}
    channels, images, outputs = seen["channels"], seen["input channels"], seen["outputs"]
    upsampler = seen["kind"] == "U-Net" and images == 6 and outputs in (3, 6)
    images = images // 2 if upsampler else images
    flags: dict[str, Any] = {
        "num_channels": channels,
        "num_res_blocks": deep,
        "channel_mult": tuple(width[n] / channels for n in starts),
        "attention_downsample_factors": tuple(
            2**level for level, n in enumerate(starts) if n in attends
        ),
        "use_scale_shift_norm": bool(seen["AdaGN"]),
        "resblock_updown": not plain and levels > 1,
        "conv_resample": bool(seen["learned resampling"]),
        "in_channels": images,
    }
    if seen["kind"] == "classifier":
        pool = {"pool": "attention"} if "out.2.positional_embedding" in shapes else {}
        return flags | {"kind": "classifier", "out_channels": outputs} | pool
    return flags | {
        "kind": "superres" if upsampler else "unet",
        "out_channels": outputs,
        "learn_sigma": outputs == 2 * images,
        "num_classes": seen["label classes"],
    }


def _depth(shapes: Shapes, encoder: set[int], plain: set[int], attends: set[int]) -> int:
    """Return the residual blocks of a level of the encoder."""
    if plain:  # what halves the size, after the blocks of a level
        return min(plain) - 1
    # Blocks that halve the size look like the others, but none has attention.
    if attends:
        first = min(attends)
        return next(n for n in range(first, max(encoder) + 2) if n not in attends) - first
    for n in sorted(_numbers(shapes, r"output_blocks\.(\d+)\.")):  # those that double it
        if f"output_blocks.{n}.1.in_layers.2.weight" in shapes:
            return n
    wider = [n for n in encoder if f"input_blocks.{n}.0.skip_connection.weight" in shapes]
    return math.gcd(*(n - 1 for n in wider), max(encoder) + 1) - 1


def open_flags(seen: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """Return the flags that neither shapes nor user determine, with the values that fit."""
    smallest = int(seen["num_channels"] * min(seen["channel_mult"]))
    reduction = 2 ** (len(seen["channel_mult"]) - 1)
    sides = [side for side in (32, 64, 128, 256, 512) if side % reduction == 0]
    widths = [width for width in (16, 32, 64, 128) if smallest % width == 0]
    counts = [count for count in (1, 2, 4, 8) if smallest % count == 0]
    fitting = {
        HEADS: f"{_some(counts)} heads, or {_some(widths)} channels each",
        "image_size": _some(sides),
        "diffusion_steps": "1000 or 4000",
        "noise_schedule": _some(SCHEDULES),
    }
    if seen["kind"] == "superres":
        sizes = fitting.pop("image_size")
        fitting |= {"large_size": sizes, "small_size": "a half or a quarter of it"}
    if seen["kind"] == "classifier" and "pool" not in seen:
        fitting["pool"] = "adaptive, spatial or spatial_v2"
    known = {name.removeprefix("classifier_") for name in given}
    known |= {HEADS} if known & {"num_heads", "num_head_channels"} else set()
    return {name: values for name, values in fitting.items() if name not in known}


def _numbers(shapes: Shapes, pattern: str) -> set[int]:
    return {int(match[1]) for name in shapes if (match := re.match(pattern, name))}


def _some(values: Sequence[int | str]) -> str:
    return " or ".join(map(str, values))
