"""adm help TOPIC -> kinds of samplers, grids, guides, ...; settings of sampling, of a recipe.

All of it is read from the dataclasses: a new kind is here without a line of its own.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from adm.app.cli.output import AsJson, show

WIDTH = 100
FAR = 50_000  # bounds that nobody meets are left out
TOPICS = {  # what comes before a kind, or before a setting, on the command line
    "sampler": "--sampler ",
    "grid": "--grid ",
    "guide": "--guide ",
    "then": "--then ",
    "threshold": "--set threshold=",
    "bound": "adm likelihood --bound ",
    "edit": "adm edit --edit ",
    "sampling": "adm sample --set ",
    "recipe": "adm train --set ",
    "prediction": "adm train --set process.prediction=",
    "levels": "adm train --set levels=",
    "weight": "adm train --set weight=",
    "optimizer": "adm train --set train.optimizer=",
    "distillation": "adm train --set distillation.method=",
    "operator": "adm restore --operator ",
    "method": "adm restore --method ",
    "preset": "adm restore --preset ",
}
ENTRY = re.compile(r"^( {4})(\w+(?:, \w+)*): ", re.MULTILINE)
SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def help(topic: str | None = None, /, *, as_json: AsJson = False) -> None:
    """Explain what can be chosen: samplers, grids, guides, settings of a recipe, ...

    A spec is a name, and after a colon its parameters: `ddim:eta=0.5`, `karras:steps=10,end=3`. A
    list inside a value is separated by hyphens: `classifier:scale=2,interval=300-980`.

    Examples:

        adm help sampler

        adm help guide

        adm help recipe

    Parameters
    ----------
    topic
        sampler, grid, guide, then, threshold or sampling; edit of `adm edit`; operator, method or
        preset of `adm restore`; bound of `adm likelihood`; recipe, and of one prediction, levels,
        weight, optimizer or distillation.
    """
    if topic is None:
        print("\n".join(f"adm help {name:10} values of {words}" for name, words in TOPICS.items()))
        return
    if topic not in TOPICS:
        raise ValueError(f"no topic {topic!r}; give one of {', '.join(TOPICS)}, or adm VERB --help")
    from adm.adversarial import LatentSampling
    from adm.app.study.bounds import BOUNDS
    from adm.diffusion import TARGETS
    from adm.distillation import METHODS as DISTILLATIONS
    from adm.generation.edit import EDITS
    from adm.losses import WEIGHTS
    from adm.recipes import ClassifierRecipe, DiffusionRecipe, GANRecipe
    from adm.restoration import METHODS, OPERATORS
    from adm.restoration.presets import PRESETS
    from adm.samplers.settings import KINDS, Sampling
    from adm.training.levels import LEVELS
    from adm.training.optimizers import OPTIMIZERS

    of_several = {
        "sampling": (Sampling, LatentSampling),
        "recipe": (DiffusionRecipe, ClassifierRecipe, GANRecipe),
    }
    if topic == "preset":
        presets = {name: vars(each) | {"summary": each.published} for name, each in PRESETS.items()}
        show(lambda: presets, as_json, lambda: _print_presets(presets))
        return
    if topic in of_several:
        settings: dict[str, Any] = {}
        for kind in of_several[topic]:
            settings |= {path: each for path, each in _settings(kind, "") if path not in settings}
        show(lambda: settings, as_json, lambda: _print(f"{TOPICS[topic]}NAME=VALUE", settings))
        return
    others = {
        "bound": BOUNDS,
        "edit": EDITS,
        "prediction": TARGETS,
        "levels": LEVELS,
        "weight": WEIGHTS,
        "optimizer": OPTIMIZERS,
        "distillation": DISTILLATIONS,
        "operator": OPERATORS,
        "method": METHODS,
    }
    kinds = {**KINDS, **others}[topic]
    found = {name: _described(kind) for name, kind in kinds.items()}
    show(lambda: found, as_json, lambda: _print_kinds(TOPICS[topic], found))


def _print_presets(presets: dict[str, dict[str, Any]]) -> None:
    for name, each in presets.items():
        print(
            f"{TOPICS['preset']}{name}\n"
            f"    --operator {each['operator']} --method {each['method']} --steps {each['steps']} "
            f"--sigma {each['sigma']:g}\n    {each['summary']}"
        )


def _described(kind: type[Any]) -> dict[str, Any]:
    """Return the summary and the parameters of a dataclass."""
    about = _attributes(kind)
    hints = get_type_hints(kind, include_extras=True)
    return {
        "summary": (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " "),
        "parameters": {
            each.name: _parameter(each, hints[each.name], about) for each in fields(kind)
        },
    }


def _parameter(field: "Field[Any]", hint: Any, about: Mapping[str, str]) -> dict[str, str]:
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    written = str(default).lower()
    if hasattr(default, "name"):  # of a spec
        from adm.spec import text  # here, because --help needs no pydantic

        written = text(default)
    return {
        "type": _type(hint),
        "default": "" if default is MISSING else written,
        "about": about.get(field.name, ""),
    }


def _settings(kind: type[Any], prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    about = _attributes(kind)
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        hint = hints[each.name]
        parts = [one for one in _alternatives(hint) if is_dataclass(one)]
        if not parts or _is_spec(hint):
            yield f"{prefix}{each.name}", _parameter(each, hint, about)
            continue
        for part in parts:
            yield from _settings(part, f"{prefix}{each.name}.")  # type: ignore[arg-type]


def _attributes(kind: type[Any]) -> dict[str, str]:
    """Return name -> text of the attributes in a docstring, and in those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = (base.__doc__ or "").partition("Attributes:\n")[2].partition("\n    Raises:")[0]
        pieces = ENTRY.split(textwrap.indent(textwrap.dedent(text), "    "))[1:]
        for names, about in zip(pieces[1::3], pieces[2::3], strict=True):
            found |= dict.fromkeys(names.split(", "), " ".join(about.split()).rstrip("."))
    return found


def _is_spec(hint: Any) -> bool:
    """Whether a field takes specs, whose kinds have a topic of their own."""
    from adm.spec import SpecOf  # here, because --help needs no pydantic

    return any(isinstance(each, SpecOf) for each in getattr(hint, "__metadata__", ()))


def _alternatives(hint: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [each for part in get_args(hint) for each in _alternatives(part)]
    return [hint]


def _type(hint: Any) -> str:
    """Describe a type in words, with its bounds."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        limits = [f"{SIGNS[name]} {value:g}" for name, value in _bounds(extras)]
        return " ".join([_type(inner), " and ".join(limits)]).strip()
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_type(each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        inner = [each for each in get_args(hint) if each is not ...]
        return f"{'pair' if len(inner) == 2 else 'list'} of {_type(inner[0])}"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return (
        "none" if hint is NoneType else names.get(hint, getattr(hint, "__name__", "spec").lower())
    )


def _bounds(extras: list[Any]) -> Iterator[tuple[str, float]]:
    for each in extras:
        for limit in getattr(each, "metadata", ()):
            for name in SIGNS:
                if hasattr(limit, name) and getattr(limit, name) < FAR:
                    yield name, getattr(limit, name)


def _print_kinds(words: str, found: Mapping[str, Any]) -> None:
    for name, kind in found.items():
        print(f"{words}{name}")
        print(textwrap.indent(textwrap.fill(kind["summary"], WIDTH - 4), "    "))
        _print_parameters(kind["parameters"])
        print()


def _print(title: str, settings: Mapping[str, Any]) -> None:
    print(title)
    _print_parameters(settings)


def _print_parameters(parameters: Mapping[str, Any]) -> None:
    for name, each in parameters.items():
        default = f", default {each['default']}" if each["default"] else ""
        about = f"{each['about']} ({each['type']}{default})".strip()
        lines = textwrap.fill(about, WIDTH - 12).splitlines()
        print(f"    {name}")
        print(textwrap.indent("\n".join(lines), " " * 8))
