"""adm help TOPIC -> kinds of samplers, grids, guides, ...; settings of sampling, of a recipe.

All of it is read from the dataclasses: a new kind needs no line here.
"""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from adm.app.cli.output import AsJson, show
from adm.app.parameters import attributes, describe, parameter
from adm.shown import shown
from adm.spec import SpecOf, alternatives

WIDTH = 100
TOPICS = {  # the words before a kind, or before a setting, on the command line
    "sampler": "--sampler ",
    "grid": "--grid ",
    "guide": "--guide ",
    "then": "--then ",
    "threshold": "--set threshold=",
    "bound": "adm likelihood --bound ",
    "edit": "adm edit --edit ",
    "features": "--features ",
    "sampling": "adm sample --set ",
    "recipe": "adm train --set ",
    "prediction": "adm train --set process.prediction=",
    "levels": "adm train --set levels=",
    "optimizer": "adm train --set train.optimizer=",
    "distillation": "adm train --set distillation.method=",
    "operator": "adm restore --operator ",
    "method": "adm restore --method ",
}


def help(topic: str | None = None, /, *, as_json: AsJson = False) -> None:
    """Explain the choices: samplers, grids, guides, settings of a recipe, ...

    A spec is a name, and after a colon its parameters: `ddim:eta=0.5`, `karras:steps=10,end=3`. A
    list inside a value is separated by hyphens: `classifier:scale=2,interval=300-980`.

    Examples:

        adm help sampler

        adm help guide

        adm help recipe

    Parameters
    ----------
    topic
        sampler, grid, guide, then, threshold or sampling; edit of `adm edit`; operator or method of
        `adm restore`; features, which compare images; bound of `adm likelihood`; recipe, and of one
        prediction, levels, optimizer or distillation.
    """
    if topic is None:
        print("\n".join(f"adm help {name:10} values of {words}" for name, words in TOPICS.items()))
        return
    if topic not in TOPICS:
        raise ValueError(
            f"no topic {shown(topic)}; give one of {', '.join(TOPICS)}, or adm VERB --help"
        )
    from adm.app.study.bounds import BOUNDS
    from adm.diffusion import TARGETS
    from adm.distillation import METHODS as DISTILLATIONS
    from adm.features import FORMS
    from adm.generation.edit import EDITS
    from adm.recipes import ClassifierRecipe, DiffusionRecipe
    from adm.restoration import METHODS, OPERATORS
    from adm.samplers.settings import KINDS, Sampling
    from adm.training.levels import LEVELS
    from adm.training.optimizers import OPTIMIZERS

    if topic == "features":
        forms = {form: {"summary": text, "parameters": {}} for form, text in FORMS.items()}
        show(lambda: forms, as_json, lambda: _print_kinds(TOPICS[topic], forms))
        return
    of_several = {
        "sampling": (Sampling,),
        "recipe": (DiffusionRecipe, ClassifierRecipe),
    }
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
        "optimizer": OPTIMIZERS,
        "distillation": DISTILLATIONS,
        "operator": OPERATORS,
        "method": METHODS,
    }
    kinds = {**KINDS, **others}[topic]
    described = {name: describe(kind) for name, kind in kinds.items()}
    show(lambda: described, as_json, lambda: _print_kinds(TOPICS[topic], described))


def _settings(kind: type[Any], prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    about = attributes(kind)
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        hint = hints[each.name]
        parts = [one for one in alternatives(hint) if is_dataclass(one)]
        if not parts or _is_spec(hint):
            yield f"{prefix}{each.name}", parameter(each, hint, about)
            continue
        for part in parts:
            yield from _settings(part, f"{prefix}{each.name}.")  # type: ignore[arg-type]


def _is_spec(hint: Any) -> bool:
    """Whether a field takes specs, whose kinds have their own topic."""
    return any(isinstance(each, SpecOf) for each in getattr(hint, "__metadata__", ()))


def _print_kinds(words: str, kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        print(f"{words}{name}")
        text = textwrap.fill(kind["summary"], WIDTH - 4, break_on_hyphens=False)
        print(textwrap.indent(text, "    "))
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
