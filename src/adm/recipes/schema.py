"""Recipe <-> JSON: the typed, frozen configuration of a run.

A recipe is complete: no setting is chosen anywhere else, so that a checkpoint, which contains its
recipe, can be sampled, resumed and compared without further settings.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from adm.distillation import Distillation
from adm.limits import (
    MOST_AVERAGES,
    MOST_BATCH,
    MOST_CHANNELS,
    MOST_CHARACTERS,
    MOST_LEVELS,
    MOST_SIDE,
    MOST_STEPS,
    MOST_TEXT,
)
from adm.networks import ClassifierConfig, UNetConfig
from adm.parsed import LONGEST_REASON
from adm.samplers import Sampling
from adm.samplers.words import upgraded
from adm.shown import printable, short, shown

PositiveInt = Annotated[int, Field(gt=0, le=MOST_STEPS)]
Side = Annotated[int, Field(gt=0, le=MOST_SIDE)]
Images = Annotated[int, Field(ge=0, le=MOST_BATCH)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The training images.

    Attributes:
        source: the default data spec.
        size: (H, W) in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        flip: mirror half of the images at random.
        crop: the centre, or at random 80% to 100% of the shorter side.
        low_res: (h, w) of the images that an upsampler enlarges; None for other models.
        low_res_rounded: train an upsampler on low-resolution images rounded to 8 bits, as they are
            in sampling; the released ones were trained on unrounded means.
    """

    source: Annotated[str, Field(max_length=MOST_TEXT)]
    size: tuple[Side, Side]
    channels: Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
    flip: bool = False
    crop: Literal["centre", "random"] = "centre"
    low_res: tuple[Side, Side] | None = None
    low_res_rounded: bool = True


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """The diffusion process, and what the network predicts."""

    schedule: Literal["linear", "cosine"]
    steps: Annotated[int, Field(ge=2, le=MOST_LEVELS)]
    prediction: Literal["noise", "x_0", "velocity", "previous_mean"] = "noise"
    variance: Literal["fixed_small", "fixed_large", "learned", "learned_range"] = "learned_range"
    rescale_steps: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of the training loop.

    Attributes:
        steps: total optimizer steps.
        batch_size: images per step, over all ranks.
        learning_rate: its peak.
        warmup_steps: steps of its linear rise from 0.
        anneal: whether it then decays linearly to 0 at the last step, or stays constant.
        ema_decay: of the average of the weights, per step; reached gradually (see `training.ema`).
        ema_others: decays of further averages, stored beside the model's own.
        ema_widths: relative widths of power-function averages, stored at every checkpoint so that
            an average of any width can be reconstructed later (see `training.posthoc`).
        gradient_clip: largest norm of the gradient; None for no limit.
        label_dropout: fraction of images trained without their label.
        precision: of the network's arithmetic. Weights, averages and losses are always float32, and
            norms and softmax accumulate in float32. float16 uses loss scaling.
        give_up_after: consecutive steps with non-finite values after which the run stops.
        checkpoint_activations: recompute activations in the backward pass to save memory.
        save_every_steps: interval of checkpoints; there is an early one, and one at the end.
        keep_last: number of the latest checkpoints to keep.
        keep_best: whether to keep the checkpoint of the best validation too.
        keep_every_steps: also keep all checkpoints at multiples of this.
    """

    steps: PositiveInt
    batch_size: Annotated[int, Field(gt=0, le=MOST_BATCH)]
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    anneal: bool = False
    ema_decay: Probability = 0.9999
    ema_others: Annotated[tuple[Probability, ...], Field(max_length=MOST_AVERAGES)] = ()
    ema_widths: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=0.28)], ...], Field(max_length=MOST_AVERAGES)
    ] = ()
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
    """What is monitored during training, without any effect on the weights.

    Attributes:
        every_steps: interval of previews and validation; that of checkpoints when None.
        images: number of images in a preview; 0 for no previews.
        validation_images: number of held-out images, and of training images that they are compared
            with; 0 for no validation.
    """

    every_steps: PositiveInt | None = None
    images: Images = 32
    validation_images: Images = 1000


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe:
    """A diffusion model.

    Attributes:
        loss: L_simple, L_hybrid or L_vlb.
        importance: draw levels by their recent losses instead of uniformly (for L_vlb).
        distillation: how it is distilled from a teacher; None for a model that is trained on data
            alone, by `loss`.
        sample: the default settings of sampling.
    """

    name: Name
    data: DataSettings
    process: ProcessSettings
    unet: UNetConfig
    train: TrainSettings
    loss: Literal["simple", "hybrid", "vlb"] = "hybrid"
    importance: bool = False
    distillation: Distillation | None = None
    sample: Sampling = field(default_factory=Sampling)
    watch: WatchSettings = field(default_factory=WatchSettings)
    kind: Literal["diffusion"] = "diffusion"

    @property
    def config(self) -> UNetConfig:
        """The configuration of its network."""
        return self.unet

    @property
    def section(self) -> str:
        """The name of the field that holds it."""
        return "unet"

    @property
    def makes(self) -> str:
        """What the recipe trains, for messages."""
        return "a diffusion model"

    @property
    def noised(self) -> bool:
        """Whether the network is trained at noise levels that are drawn for each image."""
        return self.distillation is None or self.distillation.method.name != "trajectory"


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """A classifier of noisy images, or of clean ones when `noised` is false."""

    name: Name
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

    @property
    def section(self) -> str:
        """The name of the field that holds it."""
        return "classifier"

    @property
    def makes(self) -> str:
        """What the recipe trains, for messages."""
        return "a classifier"


Recipe = DiffusionRecipe | ClassifierRecipe
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(
    Annotated[DiffusionRecipe | ClassifierRecipe, Field(discriminator="kind")]
)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON values."""
    return _ADAPTER.dump_python(recipe, mode="json")


def from_json(values: Any) -> Recipe:
    """Return the recipe of JSON values; the inverse of `to_json`.

    Raises:
        ValueError: a value is missing, of the wrong type, out of range, or unknown.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a recipe is a JSON object, got {shown(values)}")
    if isinstance(values.get("sample"), dict):
        values = values | {"sample": upgraded(values["sample"])}
    try:
        recipe = _ADAPTER.validate_python(values)
    except ValidationError as error:
        # For a field of several types, the alternative that was meant lacks no field.
        first = min(error.errors(), key=lambda e: e["type"] == "missing")
        if first["type"] == "value_error":
            raise ValueError(first["msg"].removeprefix("Value error, ")) from None
        if not first["loc"]:  # without a valid kind
            raise ValueError(
                "a recipe needs the field kind, which is diffusion or classifier; `adm recipes "
                "fashion` shows an example"
            ) from None
        # Drop what pydantic adds to the path: the kind in front, and the names of classes.
        parts = [str(part) for part in first["loc"][1:]]
        where = ".".join(part for part in parts if part == part.lower())
        reason = short(printable(first["msg"]), LONGEST_REASON)
        raise ValueError(f"{where}: {reason}; got {shown(first['input'])}") from None
    unknown = _unknown(values, to_json(recipe))
    if unknown:
        unknown = short(printable(unknown))
        raise ValueError(f"unknown setting {unknown}; `adm recipes NAME` shows all settings")
    return recipe


def _unknown(given: Any, kept: Any, path: str = "") -> str | None:
    """The first given key that validation dropped, because it is unknown."""
    if not isinstance(given, dict):
        return None
    for key, value in given.items():
        here = f"{path}.{key}" if path else str(key)
        if not isinstance(kept, dict) or key not in kept:
            return here
        if found := _unknown(value, kept[key], here):
            return found
    return None
