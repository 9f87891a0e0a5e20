"""Sampling, settings by name -> Sampling; Sampling <-> JSON."""

from collections.abc import Mapping, Set
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError

from adm.samplers.grid import Grid, regridded
from adm.samplers.settings import Sampling
from adm.samplers.table import SAMPLERS, Sampler
from adm.samplers.terms import SETTINGS, as_values, guided_by, setting_of, with_settings
from adm.shown import printable, short, shown
from adm.store.parsed import LONGEST_REASON

# What users may mean that is no setting: arguments of `Pipeline.sample` and of `adm.load`.
ARGUMENTS = ("classes", "count", "batch_size", "low_res", "upsampler_steps", "on_step")
OF_LOAD = ("model", "classifier", "upsampler", "device", "weak")

SPOKEN = {  # words of pydantic -> those after the name of a setting
    "Input should be": "must be",
    "; got": ", got",
    "Field required": "lacks a value",
    "Tuple should have": "must have",
    " after validation": "",
}
_ADAPTER: TypeAdapter[Sampling] = TypeAdapter(Sampling)


def changed(sampling: Sampling, **changes: Any) -> Sampling:
    """Return `sampling` with some settings changed.

    Args:
        changes: settings by name: fields of `Sampling` and of `Grid`; `sampler` as a name or a spec
            such as "ddim:eta=0.5"; `scale` of classifier guidance, 0 for none; other fields of
            `ClassifierGuidance` with `guide_` before, such as `guide_every`; `free_scale`,
            `weak_scale` and `attention_scale`, and `free_interval` and so on, of guidance without a
            classifier; and parameters of the sampler, such as `eta`. A value of None changes
            nothing.

    Raises:
        ValueError: a setting is unknown, or its value is out of range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    sampler = sampler_of(given.pop("sampler", sampling.sampler), sampling.sampler)
    own = _taken(given, parameters(sampler))
    grid = _taken(given, _names(Grid))
    guides = _taken(given, SETTINGS)
    if guides and "guidance" in given:
        one = "scale" if "scale" in guides else min(guides)
        raise ValueError(f"pass {one}=... or guidance=..., not both")
    if guides:
        given["guidance"] = with_settings(sampling.guidance, guides)
    if strange := given.keys() - _names(Sampling):
        raise ValueError(_unknown(min(strange), sampler))
    base = given.pop("grid", sampling.grid)
    if not isinstance(base, Grid):
        raise ValueError(
            f"grid must be a Grid, got {shown(base)}; or pass steps=..., as in steps=25"
        )
    made = asdict(sampling) | given | {"sampler": asdict(sampler) | own}
    return from_json(made | {"grid": regridded(base, grid)})


def sampler_of(spec: str | Sampler, current: Sampler | None = None) -> Sampler:
    """Parse a sampler spec.

    Args:
        spec: the name of a sampler, with parameters after colons: "ddim:eta=0.5".
        current: the sampler whose parameters are the defaults if it has the same name.

    Raises:
        ValueError: the sampler or a parameter is unknown, or a value is invalid.
    """
    if isinstance(spec, tuple(SAMPLERS.values())):
        return spec
    if not isinstance(spec, str):
        kinds = ", ".join(SAMPLERS)
        raise ValueError(f"sampler must be {kinds}, or a sampler object, got {shown(spec)}")
    name, *settings = (part.strip() for part in spec.split(":"))
    if name not in SAMPLERS:
        raise ValueError(f"sampler {shown(name)} is unknown; {_meant(name)}")
    kind = SAMPLERS[name]
    base = current if isinstance(current, kind) else kind()
    values: dict[str, Any] = {}
    for setting in settings:
        parameter, equals, value = setting.partition("=")
        if parameter not in parameters(base):
            raise ValueError(_unknown(parameter, base))
        values[parameter] = value if equals else True
    if not values:
        return base
    return from_json({"sampler": asdict(base) | values}).sampler


def _meant(name: str) -> str:
    """Return the samplers whose names are near, or all."""
    near = get_close_matches(name.lower(), SAMPLERS, n=2)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"the samplers are {', '.join(SAMPLERS)}"


def parameters(sampler: Sampler) -> Set[str]:
    """Return the names of the parameters of a sampler."""
    return _names(type(sampler)) - {"name"}


def to_json(sampling: Sampling) -> dict[str, Any]:
    """Convert a `Sampling` to JSON values."""
    return _ADAPTER.dump_python(sampling, mode="json")


def from_json(values: Mapping[str, Any]) -> Sampling:
    """Convert JSON values, of this or an earlier version, to a `Sampling`; inverts `to_json`.

    Raises:
        ValueError: a value has the wrong type or is out of range.
    """
    try:
        return _ADAPTER.validate_python(upgraded(values))
    except ValidationError as error:
        first = error.errors()[0]
        message = short(printable(first["msg"].removeprefix("Value error, ")), LONGEST_REASON)
        if first["type"] == "value_error":  # raised by this package, with the cure
            raise ValueError(message) from None
        parts = [part for part in first["loc"] if isinstance(part, str) and part not in SAMPLERS]
        name = setting_of(first["loc"]) or (parts[-1] if parts else "sampling")
        for pydantic, spoken in SPOKEN.items():
            message = message.replace(pydantic, spoken)
        raise ValueError(f"{name} {message}, got {shown(first['input'])}") from None


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert JSON values of any version to those of this version.

    Before 0.1 `sampler` was a name, and its parameters, the grid and the scale were entries of the
    same object. A sampler may also be a spec; see `sampler_of`.

    Raises:
        ValueError: the sampler or a parameter is unknown.
    """
    old = dict(values)
    if "guidance" in old:
        old["guidance"] = as_values(old["guidance"])
    if not isinstance(values.get("sampler"), str) and "steps" not in values:
        return old
    sampler = asdict(sampler_of(old.pop("sampler", "ancestral")))
    sampler |= _taken(old, sampler.keys() - {"name"})
    for name in ("eta", "clip_again", "at_mean"):
        old.pop(name, None)  # a parameter of the other sampler, at its default
    grid = _taken(old, _names(Grid))
    current: dict[str, Any] = {"sampler": sampler}
    if grid:
        current["grid"] = grid
    if "scale" in old:
        current["guidance"] = [asdict(term) for term in guided_by(old.pop("scale"))]
    return current | old


def _taken(given: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    """Remove the entries with these names from `given`, and return them."""
    return {name: given.pop(name) for name in sorted(names & given.keys())}


def _names(kind: type[Any]) -> Set[str]:
    return {field.name for field in fields(kind)}


def _unknown(name: str, sampler: Sampler) -> str:
    own = parameters(sampler)
    others = [other for other, kind in SAMPLERS.items() if name in parameters(kind())]
    if others:
        return (
            f"{name} is not a parameter of the {sampler.name} sampler; leave it out, or pass "
            + " or ".join(f"sampler={other!r}" for other in others)
        )
    if name in OF_LOAD:
        return f"{shown(name)} is not a sampling setting; pass it to adm.load"
    known = sorted({*SETTINGS, *_names(Sampling), *_names(Grid), *own} - {"grid", "guidance"})
    near = get_close_matches(name, [*known, *ARGUMENTS], n=2)
    near += [word for word in known if word in name.split("_") and word not in near]
    if near:
        return f"unknown sampling setting {shown(name)}; did you mean {' or '.join(near)}?"
    return f"unknown sampling setting {shown(name)}; the settings are {', '.join(known)}"
