"""Options of the verbs that sample: settings, the models that guide, how a folder is written."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import Parameter

from adm.app.cli.options import FLAG, SEVERAL, Device
from adm.shown import shown
from adm.spec import SettingError


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of sampling; their defaults are the values of the model's recipe.

    Parameters
    ----------
    scale
        Guidance scale of the classifier: 0 is none by it, above 1 sharpens the class. --guide none
        is no guidance at all. Shipped models have a default.
    steps
        Number of noise levels to visit; for most samplers also that of network calls.
    sampler
        Sampler, as in ddim:eta=0.5 or unipc:order=3; `adm help sampler` lists them.
    grid
        Noise levels to visit, as in karras:steps=10,end=3; `adm help grid` lists the grids.
    guide
        Guidance, as in classifier:scale=2,every=2,interval=300-980 or free:scale=1.5; may be
        given several times. none switches all guides off. `adm help guide` lists the kinds.
    gradient
        Gradient of your own that guides, as in guides.py:darker or module:function, a function of
        the schedule; may be given several times. --guide gradient:scale=2,interval=1-500 scales it.
    then
        Change of class, scale or guide from a level down, as in at:700,classes=sneaker,scale=4; may
        be given several times. `adm help then` lists the parameters.
    seed
        Random seed. Each image depends on the seed and its index only.
    precision
        float32, bfloat16, float16, or auto, the fastest on this device.
    set
        Another setting, as in use_labels=false, threshold=dynamic, compile=true or
        rounding=truncated; may be given several times. `adm help sampling` lists them.
    """

    scale: float | None = None
    steps: int | None = None
    sampler: str | None = None
    grid: str | None = None
    guide: Annotated[tuple[str, ...], SEVERAL] = ()
    gradient: Annotated[tuple[str, ...], SEVERAL] = ()
    then: Annotated[tuple[str, ...], SEVERAL] = ()
    seed: int | None = None
    precision: str | None = None
    set: Annotated[tuple[str, ...], SEVERAL] = ()

    @property
    def overrides(self) -> dict[str, Any]:
        """Name -> value, as `Pipeline.sample` takes them, of the settings that are set.

        Raises:
            SettingError: one of `set` has no value, or is given twice.
        """
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "set"}
        overrides = {name: value for name, value in named.items() if value not in (None, ())}
        for text in self.set:
            name, equals, value = (part.strip() for part in text.partition("="))
            if not equals:
                raise SettingError("set", f"{shown(text)} has no value; write {{}} NAME=VALUE")
            if name in overrides:
                raise SettingError("set", f"{name} is set twice; set it once")
            overrides[name] = value
        return overrides


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Models:
    """Models that guide the one that is sampled, and the device of all.

    Parameters
    ----------
    classifier
        Classifier for guidance: path or shipped name; by default the one that belongs to the model.
        May be given several times: --guide classifier:scale=1,by=NAME names one.
    weak
        Worse model of the same images, for --guide weak:scale=1.5.
    """

    classifier: Annotated[tuple[str, ...], SEVERAL] = ()
    weak: str | None = None
    device: Device = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """How images are written.

    Parameters
    ----------
    animate
        Also write denoising.gif: up to 64 of the images at every step.
    overwrite
        Sample again, and replace the sample folder.
    part
        Sample only a share of the images, such as 2/4, the second of four, which may run anywhere
        at any time; the one that finds all others beside --out writes the folder.
    """

    animate: Annotated[bool, FLAG] = False
    overwrite: Annotated[bool, FLAG] = False
    part: str | None = None


SETTINGS, MODELS, OUTPUT = Settings(), Models(), Output()
