"""Released flags <-> UNetConfig or ClassifierConfig.

The flags are those of the guided-diffusion scripts, `--num_channels 256 --class_cond True ...`, as
strings or typed values. A network built without the scripts has the same names, and in addition
`attention_downsample_factors`, `out_channels` and `num_classes`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from adm.diffusion import X_0
from adm.networks import ClassifierConfig, HeadCount, HeadWidth, UNetConfig
from adm.networks.classifier import Pool
from adm.recipes.schema import ProcessSettings

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


def read_flags(given: Mapping[str, Any]) -> Flags:
    """Parse flags of any of the released scripts.

    Raises:
        ValueError: a flag is unknown or its value cannot be parsed; names the first such flag.
    """
    values = dict(given)
    if given.get("kind") == "classifier" or any(n.startswith("classifier_") for n in given):
        renamed = {
            CLASSIFIER_NAMES.get(name, name.removeprefix("classifier_")): value
            for name, value in given.items()
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


def config_from_flags(given: Mapping[str, Any]) -> UNetConfig | ClassifierConfig:
    """Return the configuration of the network that these flags build.

    Args:
        given: names and values, as strings or typed; the others have the released defaults.
            `kind="classifier"`, `pool` or any `classifier_*` flag gives a classifier, and
            `large_size` an upsampler.

    Raises:
        ValueError: a flag is unknown or cannot be parsed, or the image size has no default
            multipliers.
    """
    flags = read_flags(given)
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
        asked = flags.attention_downsample_factors
    else:
        size = flags.large_size or flags.image_size
        asked = tuple(sorted(size // resolution for resolution in flags.attention_resolutions))
    # The released network ignores factors that no resolution has.
    levels = [2**level for level in range(len(_multipliers(flags)))]
    return tuple(factor for factor in asked if factor in levels)


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
        "attention_resolutions": ",".join(str(size // each) for each in config.attention_factors),
        "num_res_blocks": config.depth,
        "num_channels": config.channels,
        "resblock_updown": config.resampling == "biggan",
        "use_scale_shift_norm": config.adaptive_norm,
    }
    if isinstance(config, ClassifierConfig):  # whose script knows heads of 64 channels alone
        names = {own: script for script, own in CLASSIFIER_NAMES.items()}
        own = {names.get(name, f"classifier_{name}"): value for name, value in flags.items()}
        return _as_flags({"image_size": size} | own | {"classifier_pool": config.pool})
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
            "channel_mult": ",".join(f"{each:g}" for each in config.multipliers),
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
