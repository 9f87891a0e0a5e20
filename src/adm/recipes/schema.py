"""Recipe <-> JSON: the typed, frozen configuration of a run.

A recipe is complete: no setting is chosen anywhere else, so that a checkpoint, which contains its
recipe, can be sampled, resumed and compared without further settings.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from adm.diffusion import NOISE, TARGETS, Target
from adm.distillation import Distillation
from adm.images import RANGES, UINT8, Range
from adm.limits import MOST_BATCH, MOST_CHANNELS, MOST_CHARACTERS, MOST_LEVELS, MOST_SIDE, MOST_TEXT
from adm.networks import ClassifierConfig, UNetConfig
from adm.samplers import Sampling
from adm.shown import printable, short, shown
from adm.spec import SettingError, SpecOf, assign, out_of_range, refusal
from adm.training.levels import LEVELS, LevelDistribution, Uniform
from adm.training.settings import PositiveInt, Probability, TrainSettings

Side = Annotated[int, Field(gt=0, le=MOST_SIDE)]
Images = Annotated[int, Field(ge=0, le=MOST_BATCH)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The training images.

    Attributes:
        source: the default data spec.
        size: (H, W) in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        range: of the values of the images that are read and of the samples that are written, which
            the network has as -1 to 1.
        flip: mirror half of the images at random.
        crop: the centre, or at random 80% to 100% of the shorter side.
        low_res: (h, w) of the images that a model is conditioned on: those that an upsampler
            enlarges, or the other images of pairs; None for other models.
        paired: the images come in pairs, and the model is conditioned on the other one of each,
            instead of the image itself at `low_res`. `adm train --condition` sets it.
        low_res_rounded: train an upsampler on low-resolution images rounded to 8 bits, as they are
            in sampling; the released ones were trained on unrounded means, and so are those of
            another range.
        low_res_noise: the highest level of the noise that is added to them in training, an input of
            the upsampler; 0 for none. `sample.low_res_noise` is the level in sampling.
    """

    source: Annotated[str, Field(max_length=MOST_TEXT)]
    size: tuple[Side, Side]
    channels: Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
    range: Annotated[Range, SpecOf(RANGES)] = UINT8
    flip: bool = False
    crop: Literal["centre", "random"] = "centre"
    low_res: tuple[Side, Side] | None = None
    paired: bool = False
    low_res_rounded: bool = True
    low_res_noise: Annotated[int, Field(ge=0, le=MOST_LEVELS)] = 0


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """The diffusion process, and what the network predicts."""

    schedule: Literal["linear", "cosine", "karras"]
    steps: Annotated[int, Field(ge=2, le=MOST_LEVELS)]
    prediction: Annotated[Target, SpecOf(TARGETS)] = NOISE
    variance: Literal["fixed_small", "fixed_large", "learned", "learned_range"] = "learned_range"
    rescale_steps: bool = False


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is monitored during training, without any effect on the weights.

    Attributes:
        every_steps: interval of previews and validation; that of checkpoints when None.
        images: number of images in a preview; 0 for no previews.
        validation_images: number of held-out images, and of training images that they are compared
            with; 0 for no validation.
        score_every_steps: interval at which samples of a diffusion model are scored, and after the
            last step. When None, the least multiple of `train.save_every_steps` that costs no more
            than `score_share`; a run that cannot afford three scorings has none.
        score_share: largest cost of all scorings, as a share of that of all steps; 0 for no scores.
        score_images: number of these samples.
        features: of these scores, by a name that comes with the package, as `adm help features`
            lists them; the first that is installed when None.
    """

    every_steps: PositiveInt | None = None
    images: Images = 32
    validation_images: Images = 1000
    score_every_steps: PositiveInt | None = None
    score_share: Probability = 0.03
    score_images: Annotated[int, Field(ge=200, le=50_000)] = 1000
    features: Name | None = None


class BaseRecipe:
    """What all recipes have in common.

    Attributes:
        section: name of the field that configures the network.
        makes: what the recipe trains, for messages.
        distillation: how it is distilled from a teacher; None for a model that is trained on data.
    """

    section: ClassVar[str]
    makes: ClassVar[str]
    distillation: Distillation | None = None


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe(BaseRecipe):
    """A diffusion model.

    Attributes:
        loss: L_simple, L_hybrid or L_vlb.
        levels: how the noise level of each training image is drawn.
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
    levels: Annotated[LevelDistribution, SpecOf(LEVELS)] = field(default_factory=Uniform)
    distillation: Distillation | None = None
    sample: Sampling = field(default_factory=Sampling)
    watch: WatchSettings = field(default_factory=WatchSettings)
    kind: Literal["diffusion"] = "diffusion"
    section: ClassVar[str] = "unet"
    makes: ClassVar[str] = "a diffusion model"

    @property
    def config(self) -> UNetConfig:
        return self.unet

    @property
    def noised(self) -> bool:
        """Whether the network is trained at noise levels that are drawn for each image."""
        return self.distillation is None or self.distillation.method.noised


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(BaseRecipe):
    """A classifier of noisy images, or of clean ones when `noised` is false."""

    name: Name
    data: DataSettings
    process: ProcessSettings
    classifier: ClassifierConfig
    train: TrainSettings
    noised: bool = True
    watch: WatchSettings = field(default_factory=WatchSettings)
    kind: Literal["classifier"] = "classifier"
    section: ClassVar[str] = "classifier"
    makes: ClassVar[str] = "a classifier"

    @property
    def config(self) -> ClassifierConfig:
        return self.classifier


Recipe = DiffusionRecipe | ClassifierRecipe
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(
    Annotated[DiffusionRecipe | ClassifierRecipe, Field(discriminator="kind")],
    config=ConfigDict(extra="forbid"),
)


def assignments(settings: Iterable[str]) -> dict[str, str]:
    """Return path -> value of settings such as `unet.dropout=0.1`; the last of a path counts.

    Raises:
        SettingError: a setting has another form.
    """
    values = dict[str, str]()
    for setting in settings:
        path, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise out_of_range("set", "a field and a value, as in unet.dropout=0.1", setting)
        if path in ("kind", "name"):
            raise SettingError(path, "{} is the recipe's own; set another field")
        values[path] = value
    return values


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return a recipe with fields set, as `unet.dropout=0.1` or `sample.grid=karras:steps=10`.

    Raises:
        SettingError: a setting has another form, a field is unknown, or cannot have the value.
    """
    remaining = assignments(settings)
    while remaining:
        refused = list[ValueError]()
        for path, value in remaining.items():  # some must agree, and are given in any order
            try:
                recipe = assign(recipe, path, value)
            except ValueError as error:
                refused.append(error)
            else:
                del remaining[path]
                break
        else:
            raise refused[0]
    return recipe


def from_json(values: Any) -> Recipe:
    """Return the recipe of JSON values; the inverse of `adm.spec.to_json`.

    Raises:
        ValueError: a value is missing, of the wrong type, out of range, or unknown.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a recipe is a JSON object, got {shown(values)}")
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    if not errors[0]["loc"]:
        raise out_of_range("kind", "diffusion or classifier", values.get("kind"))
    for entry in errors:
        entry["loc"] = entry["loc"][1:]  # without the kind
    unknown = [entry["loc"] for entry in errors if entry["type"] == "unexpected_keyword_argument"]
    if unknown:
        # Without the names of the classes that pydantic has tried.
        path = [*filter(str.islower, map(str, unknown[-1][:-1])), str(unknown[-1][-1])]
        name = short(printable(".".join(path)))
        raise ValueError(f"unknown setting {name}; `adm recipes NAME` shows all settings")
    raise refusal(errors)
