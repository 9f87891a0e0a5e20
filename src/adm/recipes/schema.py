"""Recipe <-> JSON: the typed, frozen configuration of a run.

A recipe is complete: no setting is chosen anywhere else, so that a checkpoint, which contains its
recipe, can be sampled, resumed and compared without further settings.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

from adm.adversarial import Adversarial, LatentSampling
from adm.distillation import Distillation
from adm.networks import ClassifierConfig, UNetConfig
from adm.networks.biggan import BigGANConfig
from adm.recipes.settings import (
    DataSettings,
    Name,
    ProcessSettings,
    WatchSettings,
)
from adm.samplers import Sampling
from adm.shown import printable, short, shown
from adm.spec import SettingError, assign, refusal
from adm.training.settings import TrainSettings


class BaseRecipe:
    """What all recipes say of themselves.

    Attributes:
        section: name of the field that configures the network.
        makes: what the recipe trains, for messages.
        distillation: how it is distilled from a teacher; None for a model that is trained on data.
        divisible: whether the images of a step may be divided into micro-batches.
        parts: number of equal parts, of a step each, that a turn divides its batch into.
    """

    section: ClassVar[str]
    makes: ClassVar[str]
    distillation: Distillation | None = None
    divisible: ClassVar[bool] = True

    @property
    def config(self) -> UNetConfig | ClassifierConfig | BigGANConfig:
        """The configuration of its network."""
        return getattr(self, self.section)

    @property
    def parts(self) -> int:
        return 1


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe(BaseRecipe):
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


@dataclass(frozen=True, kw_only=True)
class GANRecipe(BaseRecipe):
    """A generator and the discriminator that it is trained against (Brock et al. 2019).

    Attributes:
        gan: the two networks.
        adversarial: how they learn; `train.learning_rate` is the generator's.
        sample: the default settings of sampling.
    """

    name: Name
    data: DataSettings
    gan: BigGANConfig
    adversarial: Adversarial
    train: TrainSettings
    sample: LatentSampling = field(default_factory=LatentSampling)
    watch: WatchSettings = field(default_factory=WatchSettings)
    kind: Literal["gan"] = "gan"
    section: ClassVar[str] = "gan"
    makes: ClassVar[str] = "a GAN"
    divisible: ClassVar[bool] = False

    @property
    def config(self) -> BigGANConfig:
        return self.gan

    @property
    def parts(self) -> int:
        return self.adversarial.discriminator_steps


Recipe = DiffusionRecipe | ClassifierRecipe | GANRecipe
_ADAPTER: TypeAdapter[Recipe] = TypeAdapter(
    Annotated[DiffusionRecipe | ClassifierRecipe | GANRecipe, Field(discriminator="kind")]
)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON values."""
    return _ADAPTER.dump_python(recipe, mode="json")


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return a recipe with fields set, as `unet.dropout=0.1` or `sample.grid=karras:steps=10`.

    Raises:
        SettingError: a setting has another form, a field is unknown, or cannot have the value.
    """
    given = dict[str, str]()
    for setting in settings:
        path, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise SettingError("set", "a field and a value, as in unet.dropout=0.1", setting)
        if path in ("kind", "name"):
            raise SettingError(path, "that of the recipe; set another field", value)
        given[path] = value
    while given:
        path, recipe = _first_set(recipe, given)
        del given[path]
    return recipe


def _first_set(recipe: Recipe, given: dict[str, str]) -> tuple[str, Recipe]:
    """Set the first field that can be: some must agree, and are given in any order."""
    refused = list[ValueError]()
    for path, value in given.items():
        try:
            return path, assign(recipe, path, value)
        except ValueError as error:
            refused.append(error)
    raise refused[0]


def from_json(values: Any) -> Recipe:
    """Return the recipe of JSON values; the inverse of `to_json`.

    Raises:
        ValueError: a value is missing, of the wrong type, out of range, or unknown.
    """
    if not isinstance(values, dict):
        raise ValueError(f"a recipe is a JSON object, got {shown(values)}")
    try:
        recipe = _ADAPTER.validate_python(values)
    except ValidationError as error:
        found = error.errors(include_url=False)
        if not found[0]["loc"]:
            raise SettingError("kind", "diffusion, classifier or gan", values.get("kind")) from None
        for each in found:
            each["loc"] = each["loc"][1:]  # without the kind
        raise refusal(found) from None
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
