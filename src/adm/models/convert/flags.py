"""Released flags <-> UNetConfig or ClassifierConfig; shapes, flags -> recipe of a checkpoint.

The flags are those of the guided-diffusion scripts, `--num_channels 256 --class_cond True ...`, as
strings or typed values. A network built without the scripts has the same names, and in addition
`attention_downsample_factors`, `out_channels` and `num_classes`.

The names and shapes of weights determine widths, depth, where attention is, the classes and the
outputs. They leave open heads, image size and process, for which flags are needed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from adm.diffusion import NOISE, X_0
from adm.models.convert.released import visible_settings
from adm.networks import ClassifierConfig, HeadCount, HeadWidth, Shapes, UNetConfig
from adm.networks.classifier import Pool
from adm.recipes.paper import as_released, imagenet
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, ProcessSettings, Recipe
from adm.shown import shown_path
from adm.spec import SettingError, literal, out_of_range, written

IMAGENET_CLASSES = 1000
UNSET = -1  # how the released flags say "not given"

# The scripts choose the multipliers by image size if the flag is empty.
MULTIPLIERS: dict[int, tuple[float, ...]] = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}
UPSAMPLER_MULTIPLIERS = MULTIPLIERS | {512: MULTIPLIERS[256]}

# Defaults of the classifier's script, and its names of the flags that it shares.
CLASSIFIER_DEFAULTS: dict[str, Any] = {
    "attention_resolutions": "32,16,8",
    "num_head_channels": 64,
    "pool": "attention",
    "resblock_updown": True,
}
CLASSIFIER_NAMES = {"classifier_width": "num_channels", "classifier_depth": "num_res_blocks"}


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [part for part in value.split(",") if part.strip()]
    return value


Numbers = Annotated[tuple[float, ...], BeforeValidator(_split)]
WholeNumbers = Annotated[tuple[int, ...], BeforeValidator(_split)]


class Flags(BaseModel):
    """Every released flag that describes a model, with the default of the released scripts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["unet", "superres", "classifier"] | None = None
    image_size: int = 64
    large_size: int | None = None
    small_size: int | None = None
    in_channels: int = 3
    out_channels: int | None = None
    num_channels: int = 128
    num_res_blocks: int = 2
    num_heads: int = 4
    num_heads_upsample: int = UNSET
    num_head_channels: int = UNSET
    attention_resolutions: WholeNumbers = (16, 8)
    attention_downsample_factors: WholeNumbers | None = None
    channel_mult: Numbers = ()
    conv_resample: bool = True
    dropout: float = 0.0
    class_cond: bool = False
    num_classes: int | None = None
    use_scale_shift_norm: bool = True
    resblock_updown: bool = False
    use_new_attention_order: bool = False
    pool: Pool | None = None
    use_fp16: bool = False
    use_checkpoint: bool = False
    learn_sigma: bool = False
    diffusion_steps: int = 1000
    noise_schedule: str = "linear"
    timestep_respacing: str = ""
    use_kl: bool = False
    predict_xstart: bool = False
    rescale_timesteps: bool = False
    rescale_learned_sigmas: bool = False

    @property
    def upsamples(self) -> bool:
        return self.kind == "superres" or self.large_size is not None


def read_flags(flags: Mapping[str, Any]) -> Flags:
    """Parse flags of any of the released scripts.

    Raises:
        ValueError: a flag is unknown or its value cannot be parsed; names the first such flag.
    """
    values = dict(flags)
    if flags.get("kind") == "classifier" or any(n.startswith("classifier_") for n in flags):
        renamed = {
            CLASSIFIER_NAMES.get(name, name.removeprefix("classifier_")): value
            for name, value in flags.items()
        }
        values = CLASSIFIER_DEFAULTS | renamed
    try:
        return Flags.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"flag {where}: got {first['input']!r}, {first['msg'].lower()}; "
            "give the flags that the model was trained with"
        ) from None


def network_of(flags: Flags) -> UNetConfig | ClassifierConfig:
    """Return the configuration of the network that these flags build.

    `kind="classifier"`, `pool` or any `classifier_*` flag gives a classifier, and `large_size` an
    upsampler.

    Raises:
        ValueError: the image size has no default multipliers.
    """
    resampling = "convolution" if flags.conv_resample else "plain"
    counted = flags.num_head_channels == UNSET
    heads = HeadCount(flags.num_heads) if counted else HeadWidth(flags.num_head_channels)
    shared: dict[str, Any] = {
        "in_channels": flags.in_channels,
        "channels": flags.num_channels,
        "multipliers": _multipliers(flags),
        "depth": flags.num_res_blocks,
        "attention_factors": _attention_factors(flags),
        "heads": heads,
        "resampling": "biggan" if flags.resblock_updown else resampling,
        "adaptive_norm": flags.use_scale_shift_norm,
        "dropout": flags.dropout,
    }
    if flags.pool is not None or flags.kind == "classifier":
        return ClassifierConfig(
            **shared,
            classes=flags.out_channels or IMAGENET_CLASSES,
            size=(flags.image_size, flags.image_size),
            pool=flags.pool or "attention",
        )
    decoder_heads = flags.num_heads_upsample not in (UNSET, flags.num_heads)
    return UNetConfig(
        **shared,
        out_channels=flags.out_channels or flags.in_channels * (2 if flags.learn_sigma else 1),
        classes=IMAGENET_CLASSES if flags.class_cond else flags.num_classes,
        super_resolution=flags.upsamples,
        # The released network ignores this flag if the width of a head is set.
        decoder_heads=(HeadCount(flags.num_heads_upsample) if decoder_heads and counted else None),
    )


def _multipliers(flags: Flags) -> tuple[float, ...]:
    if flags.channel_mult:
        return flags.channel_mult
    size = flags.large_size or flags.image_size
    known = UPSAMPLER_MULTIPLIERS if flags.upsamples else MULTIPLIERS
    if size not in known:
        raise ValueError(
            f"images of size {size} have no default multipliers; "
            f"set channel_mult, or use one of {', '.join(map(str, sorted(known)))}"
        )
    return known[size]


def _attention_factors(flags: Flags) -> tuple[int, ...]:
    if flags.attention_downsample_factors is not None:
        factors = flags.attention_downsample_factors
    else:
        size = flags.large_size or flags.image_size
        factors = tuple(sorted(size // resolution for resolution in flags.attention_resolutions))
    # The released network ignores factors that no resolution has.
    levels = [2**level for level in range(len(_multipliers(flags)))]
    return tuple(factor for factor in factors if factor in levels)


def script_flags(
    config: UNetConfig | ClassifierConfig,
    process: ProcessSettings | None,
    size: int,
    low_res: int | None,
    legacy_attention_order: bool,
) -> str:
    """Return the flags by which the released scripts build a network; inverts `read_flags`.

    Args:
        process: of a diffusion model; a classifier has no flags for one.
        size: side of the images; the scripts know square ones alone.
        low_res: side of the images that an upsampler enlarges.
    """
    flags: dict[str, Any] = {
        "attention_resolutions": ",".join(str(size // n) for n in config.attention_factors),
        "num_res_blocks": config.depth,
        "num_channels": config.channels,
        "resblock_updown": config.resampling == "biggan",
        "use_scale_shift_norm": config.adaptive_norm,
    }
    if isinstance(config, ClassifierConfig):  # whose script knows heads of 64 channels alone
        names = {ours: script for script, ours in CLASSIFIER_NAMES.items()}
        renamed = {names.get(name, f"classifier_{name}"): value for name, value in flags.items()}
        return _as_flags({"image_size": size} | renamed | {"classifier_pool": config.pool})
    assert process is not None
    heads = config.heads
    sizes = {"image_size": size} if low_res is None else {"large_size": size, "small_size": low_res}
    return _as_flags(
        sizes
        | flags
        | (
            {"num_head_channels": heads.channels_per_head}
            if isinstance(heads, HeadWidth)
            else {"num_heads": heads.heads}
        )
        | {
            "channel_mult": ",".join(f"{multiplier:g}" for multiplier in config.multipliers),
            "use_new_attention_order": not legacy_attention_order,
            "dropout": config.dropout,
            "class_cond": config.classes is not None,
            "learn_sigma": config.out_channels == 2 * config.in_channels,
            "predict_xstart": process.prediction == X_0,
            "diffusion_steps": process.steps,
            "noise_schedule": process.schedule,
            "rescale_timesteps": process.rescale_steps,
        }
    )


def _as_flags(flags: Mapping[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in flags.items())


SCHEDULES = ("linear", "cosine")
HEADS = "num_heads or num_head_channels"
# A checkpoint does not state how it was trained.
UNKNOWN = as_released(1, 1, 1e-4)


def recipe_from_flags(
    path: Path, shapes: Shapes, chosen: Mapping[str, Any]
) -> tuple[Recipe, Flags]:
    """Return the recipe of a checkpoint in the released format, and the flags of its network.

    Args:
        path: of the checkpoint, for its name.
        shapes: of its weights, by released name.
        chosen: flags that it was trained with; those that follow from the shapes may be left out.

    Raises:
        ValueError: a flag is unknown, or the weights are not of a released network.
        SettingError: a flag is missing; names the values that fit.
    """
    try:
        inferred = visible_flags(shapes)
    except (LookupError, TypeError, ArithmeticError) as error:  # or a tensor has no such side
        named = f", such as {error.args[0]}" if isinstance(error, KeyError) else ""
        raise ValueError(
            f"{path} lacks weights of a released network{named}, or some have another shape; give "
            "the whole state dict"
        ) from None
    seen, visible = read_flags(inferred), set(inferred)
    if chosen.keys() & {"num_heads", "classifier_num_heads"}:
        inferred |= {"num_head_channels": UNSET}  # which the classifier's script sets
    flags = read_flags(inferred | dict(chosen))
    fit = {name: getattr(seen, name) for name in chosen.keys() & visible}
    wrong = [name for name in sorted(fit) if getattr(flags, name) != fit[name]]
    if wrong:
        listed = ", ".join(f"{name} {written(fit[name])}" for name in wrong)
        what = f"the weights in {literal(shown_path(path))} have {listed}, not what {{}} says"
        raise SettingError("flags", what)
    if missing := open_flags(inferred, chosen):
        listed = "; ".join(f"{name} ({values})" for name, values in missing.items())
        what = f"the weights in {literal(shown_path(path))} leave open {listed}; give them in {{}}"
        raise SettingError("flags", what)
    config = network_of(flags)
    size = flags.large_size or flags.image_size
    low = flags.small_size
    data = replace(imagenet(size), low_res=None if low is None else (low, low))
    if flags.noise_schedule not in SCHEDULES:
        raise out_of_range("flags.noise_schedule", _some(SCHEDULES), flags.noise_schedule)
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


def open_flags(inferred: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, str]:
    """Return the flags that neither shapes nor user determine, with the values that fit."""
    smallest = int(inferred["num_channels"] * min(inferred["channel_mult"]))
    reduction = 2 ** (len(inferred["channel_mult"]) - 1)
    sides = [side for side in (32, 64, 128, 256, 512) if side % reduction == 0]
    widths = [width for width in (16, 32, 64, 128) if smallest % width == 0]
    counts = [count for count in (1, 2, 4, 8) if smallest % count == 0]
    fitting = {
        HEADS: f"{_some(counts)} heads, or {_some(widths)} channels each",
        "image_size": _some(sides),
        "diffusion_steps": "1000 or 4000",
        "noise_schedule": _some(SCHEDULES),
    }
    if inferred["kind"] == "superres":
        sizes = fitting.pop("image_size")
        fitting |= {"large_size": sizes, "small_size": "a half or a quarter of it"}
    if inferred["kind"] == "classifier" and "pool" not in inferred:
        fitting["pool"] = "adaptive, spatial or spatial_v2"
    known = {name.removeprefix("classifier_") for name in chosen}
    known |= {HEADS} if known & {"num_heads", "num_head_channels"} else set()
    return {name: values for name, values in fitting.items() if name not in known}


def _numbers(shapes: Shapes, pattern: str) -> set[int]:
    return {int(match[1]) for name in shapes if (match := re.match(pattern, name))}


def _some(values: Sequence[int | str]) -> str:
    return " or ".join(map(str, values))
