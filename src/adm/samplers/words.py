"""Sampling, settings by name -> Sampling; Sampling <-> JSON."""

from collections.abc import Mapping, Set
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError

from adm.samplers.settings import ClassifierGuidance, Grid, Sampling
from adm.samplers.table import SAMPLERS, Sampler

_ADAPTER: TypeAdapter[Sampling] = TypeAdapter(Sampling)


def changed(sampling: Sampling, **changes: Any) -> Sampling:
    """The same with some settings changed.

    Args:
        changes: settings by name: fields of `Sampling` and of its grid; `sampler` as a name or a
            spec such as "ddim:eta=0.5"; `scale` of classifier guidance, 0 for none; and parameters
            of the sampler, such as `eta`. A value of None changes nothing.

    Raises:
        ValueError: there is no such setting, or its value is out of range.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    sampler = sampler_of(given.pop("sampler", sampling.sampler), sampling.sampler)
    own = _taken(given, parameters(sampler))
    grid = _taken(given, _names(Grid))
    if "scale" in given:
        given["guidance"] = guided_by(given.pop("scale"), sampling.guidance)
    if strange := given.keys() - _names(Sampling):
        raise ValueError(_unknown(min(strange), sampler))
    made = asdict(replace(sampling, **given))
    return from_json(made | {"sampler": asdict(sampler) | own, "grid": made["grid"] | grid})


def sampler_of(spec: str | Sampler, current: Sampler | None = None) -> Sampler:
    """Sampler spec string -> Sampler.

    Args:
        spec: the name of a sampler, and its parameters after colons: "ddim:eta=0.5".
        current: its parameters stay as they are where the name is the same.

    Raises:
        ValueError: no such sampler or parameter, or a value that it cannot have.
    """
    if not isinstance(spec, str):
        return spec
    name, *settings = (part.strip() for part in spec.split(":"))
    if name not in SAMPLERS:
        raise ValueError(f"sampler {name!r} is unknown; use {' or '.join(SAMPLERS)}")
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


def parameters(sampler: Sampler) -> Set[str]:
    """The names of a sampler's own parameters."""
    return _names(type(sampler)) - {"name"}


def guided_by(
    scale: float, guidance: tuple[ClassifierGuidance, ...] = ()
) -> tuple[ClassifierGuidance, ...]:
    """The same guidance at another scale; none where it is 0."""
    if not scale:
        return ()
    first = guidance[0] if guidance else ClassifierGuidance(scale=scale)
    return (replace(first, scale=scale),)


def to_json(sampling: Sampling) -> dict[str, Any]:
    """A `Sampling` as plain JSON values."""
    return _ADAPTER.dump_python(sampling, mode="json")


def from_json(values: Mapping[str, Any]) -> Sampling:
    """Plain JSON values -> `Sampling`; the inverse of `to_json`. Earlier forms are read too.

    Raises:
        ValueError: a value is of the wrong type or out of range.
    """
    try:
        return _ADAPTER.validate_python(upgraded(values))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error":  # our own, which names the cure
            raise ValueError(message) from None
        where = [str(part) for part in first["loc"] if part not in SAMPLERS]
        name = where[-1] if where else "sampling"
        message = message.replace("Input should be", "must be").replace("; got", ", got")
        raise ValueError(f"{name} {message}, got {first['input']!r}") from None


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values of any version -> those of this one.

    Before 0.1 the sampler was a name, and its parameters, the grid and the scale stood beside it.
    A sampler may also be given as a spec; see `sampler_of`.

    Raises:
        ValueError: no such sampler or parameter.
    """
    if not isinstance(values.get("sampler"), str) and "steps" not in values:
        return dict(values)
    old = dict(values)
    sampler = asdict(sampler_of(old.pop("sampler", "ancestral")))
    sampler |= _taken(old, sampler.keys() - {"name"})
    for name in ("eta", "clip_again", "at_mean"):  # the other sampler's, at their defaults
        old.pop(name, None)
    grid = _taken(old, _names(Grid))
    current: dict[str, Any] = {"sampler": sampler}
    if grid:
        current["grid"] = grid
    if "scale" in old:
        current["guidance"] = [asdict(term) for term in guided_by(old.pop("scale"))]
    return current | old


def _taken(given: dict[str, Any], names: Set[str]) -> dict[str, Any]:
    """Those entries of `given` that have one of these names; they leave it."""
    return {name: given.pop(name) for name in sorted(names & given.keys())}


def _names(kind: type[Any]) -> Set[str]:
    return {field.name for field in fields(kind)}


def _unknown(name: str, sampler: Sampler) -> str:
    own, others = parameters(sampler), {p for kind in SAMPLERS.values() for p in parameters(kind())}
    if name in others:
        return (
            f"{name} is no parameter of the {sampler.name} sampler; leave it out, or choose "
            "another sampler"
        )
    known = sorted({"scale", *_names(Sampling), *_names(Grid), *own} - {"grid", "guidance"})
    near = get_close_matches(name, known, n=2) or known
    return f"there is no setting {name!r} of sampling; did you mean {' or '.join(near)}?"
