"""Image -> Provenance: what it depends on; Provenance <-> PNG; -> command, lines of Python.

An image is a function of its model, class, index and settings, and of no other image. So the
command generates the images of its class up to it, of which it is the last, and the lines generate
it alone.
"""

import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, TypeAlias
from warnings import catch_warnings

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import ConfigDict, Field
from torch import Tensor

from adm.data.pixels import to_picture
from adm.generation.pipeline import Pipeline
from adm.limits import MOST_CHARACTERS, MOST_IMAGES, MOST_TEXT
from adm.recipes.released import OWNER
from adm.samplers import Sampling
from adm.spec import Checked, SettingError, convert, out_of_range, to_json, written
from adm.store.parsed import as_type, parse_json

KEYWORD = "adm"  # of the text
MOST_BYTES = 1 << 26  # of a PNG
# Settings with an option of the command line; `--set NAME=VALUE` takes the others.
OPTIONS = ("steps", "scale", "sampler", "grid", "guide", "then", "seed", "precision")
OF_UPSAMPLER = ("upsampler_steps", "upsampler_noise")
# Of the hub, of the released files, or of a shipped model or a run: no path.
NAME = re.compile(rf"((hf:\w[\w.-]*|{OWNER})/)?\w[^/\\:]*")

Name: TypeAlias = Annotated[str, Field(max_length=200)]
Text: TypeAlias = Annotated[str, Field(max_length=MOST_TEXT)]
Value: TypeAlias = bool | int | float | Text | tuple[Text, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance(Checked):
    """What one image depends on. A file of it is untrusted: names and settings are bounded.

    `pipeline.job(classes, index + 1, **settings).images([index])` generates the image.

    Attributes:
        model: name of a shipped or a released model, hf:owner/name, or the name of a run.
        index: of the image, which with the seed determines its noise.
        classes: its class by name or number; None for an unconditional one.
        settings: of `Pipeline.job` by name, such as steps, then or upsampler_steps.
        classifier, upsampler, weak: names of the other models; None for the defaults.
        version: of this package.

    Raises:
        SettingError: a name is a path, or a setting is unknown or out of range.
    """

    model: Name
    index: Annotated[int, Field(ge=0, lt=MOST_IMAGES)] = 0
    classes: Annotated[str, Field(max_length=MOST_CHARACTERS)] | None = None
    settings: Mapping[str, Value] = field(default_factory=dict)
    classifier: Name | None = None
    upsampler: Name | None = None
    weak: Name | None = None
    version: Annotated[str, Field(max_length=100)] = field(
        default_factory=lambda: version("ablated-diffusion")
    )
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        super().__post_init__()
        for place, name in {"model": self.model, **self.auxiliary}.items():
            if not NAME.fullmatch(name) or not name.isprintable():
                raise out_of_range(place, "the name of a model, and no path", name)
        one = "x" if self.classes is None else self.classes
        if one[:1] in ("", "-") or {*",:"} & {*one} or not one.isprintable() or one == "all":
            raise out_of_range("classes", "one class by name or number", one)
        for name, value in self.settings.items():
            if not "".join(map(str, _each(value))).isprintable():
                raise out_of_range(f"settings.{name}", "a printable text", value)
        own = {key: value for key, value in self.settings.items() if key not in OF_UPSAMPLER}
        Sampling().change(**own)
        for name in OF_UPSAMPLER:
            convert(Annotated[int, Field(ge=0)], self.settings.get(name, 0), f"settings.{name}")

    @property
    def auxiliary(self) -> dict[str, str]:
        """The other models that are loaded, by the argument of `adm.load`."""
        names = {name: getattr(self, name) for name in ("classifier", "upsampler", "weak")}
        return {name: value for name, value in names.items() if value is not None}


def differing(pipeline: Pipeline, **settings: Any) -> dict[str, Value]:
    """Return the settings of `Pipeline.job` that differ from those of the model, as stored.

    Raises:
        SettingError: a setting is unknown, or its value is out of range.
    """
    larger = {name: settings.pop(name, None) for name in OF_UPSAMPLER}
    default = pipeline.sampling
    changed = {name: value for name, value in larger.items() if value is not None}
    sampling = default.change(**settings)
    before, after = ({"then": [], **to_json(each)} for each in (default, sampling))
    for name, value in after.items():
        if value != before[name]:
            stored = tuple(value) if isinstance(value, list) else value
            changed[name] = "none" if stored in (None, ()) else stored
    if isinstance(sampling, Sampling):  # shorter, where it means the same
        shorter = {"guide": {"scale": sampling.scale}, "grid": {"steps": sampling.grid.steps}}
        for name, short in shorter.items():
            if name not in changed:
                continue
            with suppress(SettingError):
                if getattr(default.change(**short), name) == getattr(sampling, name):
                    del changed[name]
                    changed |= short
    return changed


def command(provenance: Provenance, out: str, places: Mapping[str, str] | None = None) -> str:
    """Return the line of the shell that generates the image: the last one of the folder `out`.

    Args:
        places: name of a model -> its path, where the name alone does not find it.
    """
    where = places or {}
    words = ["adm", "sample", where.get(provenance.model, provenance.model)]
    count = {"classes": provenance.classes, "count": provenance.index + 1}
    auxiliary = {name: where.get(own, own) for name, own in provenance.auxiliary.items()}
    return shell(words, count, provenance.settings, {**auxiliary, "out": out})


def shell(
    words: Sequence[str],
    before: Mapping[str, Any],
    settings: Mapping[str, Any],
    after: Mapping[str, Any],
) -> str:
    """Return a line of the shell: words, then options whose values are not None.

    Args:
        settings: of sampling; those that have no option of their own are given by --set.
        before, after: options before and after them.
    """
    line = list(words)
    for name, value in [*before.items(), *settings.items(), *after.items()]:
        plain = name in (*OPTIONS, *OF_UPSAMPLER) or name not in settings
        option = f"--{name.replace('_', '-')}" if plain else "--set"
        for word in [] if value is None else map(written, _each(value)):
            text = word if plain else f"{name}={word}"
            line += [f"{option}={text}"] if text.startswith("-") else [option, text]
    return shlex.join(line)


def lines(provenance: Provenance, places: Mapping[str, str] | None = None) -> str:
    """Return the lines of Python that assign it to `image`, (C, H, W) uint8.

    Args:
        places: as of `command`.
    """
    where = places or {}
    auxiliary = {name: where.get(own, own) for name, own in provenance.auxiliary.items()}
    loaded = call([where.get(provenance.model, provenance.model)], auxiliary)
    classes = [] if provenance.classes is None else [provenance.classes]
    arguments = call(classes, {"count": provenance.index + 1, **provenance.settings})
    return (
        f"import adm\n\nmodel = adm.load({loaded})\n"
        f"image = model.job({arguments}).images([{provenance.index}])[0]\n"
    )


def write(image: Tensor, provenance: Provenance) -> bytes:
    """Return a PNG of an image, (C, H, W) uint8, that stores its provenance."""
    stored = {key: value for key, value in to_json(provenance).items() if value not in (None, {})}
    return annotate(image, json.dumps(stored))


def annotate(image: Tensor, text: str) -> bytes:
    """Return a PNG of an image, (C, H, W) uint8, that carries an ASCII text."""
    note, buffer = PngInfo(), io.BytesIO()
    note.add_text(KEYWORD, text)
    to_picture(image).save(buffer, "PNG", pnginfo=note)
    return buffer.getvalue()


def read(content: bytes) -> Provenance:
    """Return the provenance that a PNG stores, of which only a text is decoded.

    Raises:
        SettingError: this is no PNG, too large or damaged, or stores no provenance.
    """
    try:
        return as_type(Provenance, parse_json(annotation(content)))
    except ValueError as error:
        cure = f"give one that the studio has written ({error})"
        raise out_of_range("picture", "a PNG that stores its settings", cure=cure) from None


def annotation(content: bytes) -> str:
    """Return the text that `annotate` wrote into a PNG, whose pixels are not decoded.

    Raises:
        ValueError: this is no PNG, too large or damaged, or carries no such text.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    try:
        with (
            catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=["PNG"]) as png,
        ):
            text = png.info.get(KEYWORD)
    except Exception:  # Pillow raises whatever the operation that meets the damage does
        raise ValueError("it is no PNG, or damaged") from None
    if not isinstance(text, str) or len(text) > MOST_TEXT:
        raise ValueError("it has no such text, or one that is too long")
    return text


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else [value]


def call(values: Sequence[str], named: Mapping[str, Any]) -> str:
    """Return the text of the arguments of a call in Python, without those that are None."""
    pairs = [f"{key}={_literal(value)}" for key, value in named.items() if value is not None]
    return ", ".join([*map(_literal, values), *pairs])


def _literal(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
