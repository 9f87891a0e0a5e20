"""typed, frozen configuration: everything that makes a run what it is, and its form as JSON.

A recipe is complete: no setting is chosen anywhere else, so that a checkpoint which carries its
recipe can be sampled, continued and compared without being told anything.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from adm.networks import ClassifierConfig, UNetConfig
from adm.samplers import Sampling
from adm.samplers.words import upgraded

PositiveInt = Annotated[int, Field(gt=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The images a network is made for.

    Attributes:
        source: where they come from, unless `--data` says otherwise.
        size: (H, W) in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        flip: mirror half of the images at random.
        crop: the centre, or a random part of 80% to 100% of the shorter side.
        low_res: (h, w) of what an upsampler starts from; no image is low when None.
        low_res_rounded: train an upsampler on low images rounded to 8 bits, as it will meet them
            when it samples; the released ones were trained on unrounded means.
    """

    source: str
    size: tuple[PositiveInt, PositiveInt]
    channels: PositiveInt
    flip: bool = False
    crop: Literal["centre", "random"] = "centre"
    low_res: tuple[PositiveInt, PositiveInt] | None = None
    low_res_rounded: bool = True


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """The diffusion process, and what the network predicts of it."""

    schedule: Literal["linear", "cosine"]
    steps: Annotated[int, Field(ge=2)]
    prediction: Literal["noise", "x_0", "velocity", "previous_mean"] = "noise"
    variance: Literal["fixed_small", "fixed_large", "learned", "learned_range"] = "learned_range"
    rescale_steps: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How weights are found.

    Attributes:
        steps: optimizer steps in all.
        batch_size: images a step.
        learning_rate: its peak.
        warmup_steps: over which it rises from 0.
        anneal: whether it then falls in a straight line to 0 at the last step, or stays.
        ema_decay: of the weights' average, a step; reached gradually (see `training.ema`).
        ema_others: decays of further averages, kept beside the model's own.
        ema_widths: relative widths of power-function averages, stored at every checkpoint so that
            an average of any width can be made afterwards (see `training.posthoc`).
        gradient_clip: largest norm of the gradient; None for no limit.
        label_dropout: share of images trained without their label.
        precision: of the network's arithmetic; weights, averages and losses are float32 always,
            and norms and softmax sum in float32. float16 scales the loss.
        give_up_after: steps in a row that are not finite, after which the run stops.
        checkpoint_activations: compute the features twice and hold them once.
        save_every_steps: between checkpoints; the first is early, the last at the end.
        keep_last: checkpoints kept, of the newest.
        keep_best: keep the one of the best validation too.
        keep_every_steps: keep those at multiples of this for ever.
    """

    steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    anneal: bool = False
    ema_decay: Probability = 0.9999
    ema_others: tuple[Probability, ...] = ()
    ema_widths: tuple[Annotated[float, Field(gt=0, lt=0.28)], ...] = ()
    gradient_clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 1.0
    label_dropout: Probability = 0.0
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    give_up_after: PositiveInt = 10
    checkpoint_activations: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    save_every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 2
    keep_best: bool = True
    keep_every_steps: PositiveInt | None = None


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is looked at while a network trains; nothing of it changes what is learned.

    Attributes:
        every_steps: between looks; as often as checkpoints are saved when None.
        images: of a preview's grid; 0 for none.
        validation_images: held out, and as many training images to compare with; 0 for none.
    """

    every_steps: PositiveInt | None = None
    images: Annotated[int, Field(ge=0)] = 32
    validation_images: Annotated[int, Field(ge=0)] = 1000


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe:
    """A diffusion model.

    Attributes:
        loss: L_simple, L_hybrid or L_vlb.
        importance: draw levels by their recent losses and not uniformly (for L_vlb).
        sample: how the model is sampled unless told otherwise.
    """

    name: str
    data: DataSettings
    process: ProcessSettings
    unet: UNetConfig
    train: TrainSettings
    loss: Literal["simple", "hybrid", "vlb"] = "hybrid"
    importance: bool = False
    sample: Sampling = field(default_factory=Sampling)
    watch: WatchSettings = field(default_factory=WatchSettings)
    kind: Literal["diffusion"] = "diffusion"

    @property
    def config(self) -> UNetConfig:
        """The configuration of its network."""
        return self.unet


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """A classifier of noisy images, or of clean ones when `noised` is false."""

    name: str
    data: DataSettings
    process: ProcessSettings
    classifier: ClassifierConfig
    train: TrainSettings
    noised: bool = True
    watch: WatchSettings = field(default_factory=WatchSettings)
    kind: Literal["classifier"] = "classifier"

    @property
    def config(self) -> ClassifierConfig:
        """The configuration of its network."""
        return self.classifier


Recipe = DiffusionRecipe | ClassifierRecipe
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(
    Annotated[DiffusionRecipe | ClassifierRecipe, Field(discriminator="kind")]
)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain JSON values."""
    return _ADAPTER.dump_python(recipe, mode="json")


def from_json(values: dict[str, Any]) -> Recipe:
    """Plain JSON values -> a recipe; the inverse of `to_json`.

    Raises:
        ValueError: a value is missing, of the wrong type, out of range, or unknown.
    """
    if isinstance(values.get("sample"), dict):
        values = values | {"sample": upgraded(values["sample"])}
    try:
        recipe = _ADAPTER.validate_python(values)
    except ValidationError as error:
        # Of a field of several types, the one that was meant lacks nothing.
        first = min(error.errors(), key=lambda e: e["type"] == "missing")
        if first["type"] == "value_error":
            raise ValueError(first["msg"].removeprefix("Value error, ")) from None
        if not first["loc"]:  # not even of a kind
            raise ValueError(
                "a recipe is of kind diffusion or classifier, and this is none; `adm recipes "
                "fashion` shows what one looks like"
            ) from None
        # Of the path, the kind in front and the names of classes were never written by the user.
        parts = [str(part) for part in first["loc"][1:]]
        where = ".".join(part for part in parts if part == part.lower())
        raise ValueError(f"{where}: {first['msg']}; got {first['input']!r}") from None
    unknown = _unknown(values, to_json(recipe))
    if unknown:
        raise ValueError(f"unknown setting {unknown}; `adm train RECIPE --dry-run` lists them")
    return recipe


def _unknown(given: Any, kept: Any, path: str = "") -> str | None:
    """The first key that was given and not kept: validation drops what it does not know."""
    if not isinstance(given, dict):
        return None
    for key, value in given.items():
        here = f"{path}.{key}" if path else str(key)
        if not isinstance(kept, dict) or key not in kept:
            return here
        if found := _unknown(value, kept[key], here):
            return found
    return None
