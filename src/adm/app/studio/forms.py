"""Dataclasses of specs and settings -> the controls of a form, as JSON values.

A sampler that is added to its table is on the page without a line here: its name, its summary, and
a control for each of its parameters, whose help is the text in its docstring.
"""

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from adm.app.parameters import bounds, describe
from adm.generation.edit import EDITS
from adm.restoration import METHODS
from adm.samplers import GUIDES, GradientGuide
from adm.samplers.settings import KINDS, Sampling
from adm.spec import alternatives

# What the page chooses by a spec; `KINDS` are fields of `Sampling`. No page names a function.
SPECS: dict[str, Mapping[str, type[Any]]] = {**KINDS, "edit": EDITS, "method": METHODS}
SPECS["guide"] = {name: kind for name, kind in GUIDES.items() if kind is not GradientGuide}
# What a page does not choose: it would take minutes, and is only for an upsampler.
CLOSED = ("compile", "low_res_noise")


def forms() -> dict[str, Any]:
    """Return the controls of every kind of every spec, and of the settings without a spec."""
    return {
        "specs": {
            name: {kind.name: form(kind) for kind in kinds.values()}
            for name, kinds in SPECS.items()
        },
        "settings": _plain(Sampling),
    }


def form(kind: type[Any]) -> dict[str, Any]:
    """Return the summary of a dataclass, and a control for each of its parameters."""
    description = describe(kind)
    hints = get_type_hints(kind, include_extras=True)
    for name, each in description["parameters"].items():
        each |= control(hints[name])
    return description


def control(hint: Any) -> dict[str, Any]:
    """Return the control for values of a type.

    Returns:
        `input`: `switch`, `choice`, `number` or `text`; the `choices`; of a number `min`, `max` and
        `step`. An optional value is None if it is left empty.
    """
    kinds = [each for each in alternatives(hint) if each is not NoneType]
    if kinds == [bool]:
        return {"input": "switch"}
    if len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        return {"input": "choice", "choices": [*map(str, get_args(kinds[0]))]}
    if kinds in ([int], [float]):
        limits = {"ge": "min", "gt": "min", "le": "max", "lt": "max"}
        ends = {limits[sign]: value for sign, value in bounds(_annotations(hint))}
        return {"input": "number", "step": 1 if kinds == [int] else "any", **ends}
    return {"input": "text"}


def _annotations(hint: Any) -> list[Any]:
    """Return the annotations of a type and of its alternatives."""
    inner = [each for part in get_args(hint) for each in _annotations(part)]
    return [*getattr(hint, "__metadata__", ()), *inner]


def _plain(kind: type[Any]) -> dict[str, Any]:
    """Return the controls of the settings of sampling that no spec chooses."""
    closed = {*SPECS, *CLOSED}
    parameters = form(kind)["parameters"]
    return {each.name: parameters[each.name] for each in fields(kind) if each.name not in closed}
