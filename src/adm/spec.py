"""Text "name:key=value,..." <-> a frozen dataclass; SettingError.

Whatever can be chosen is a small frozen dataclass, and a spec is its text: a name, and after a
colon `key=value` pairs, separated by commas:

    ddim:eta=0.5    levels:86,273.2,980    classifier:scale=2,interval=300-980

Values without a key belong to the first field. A list inside a value is separated by hyphens, a
list of specs by commas: one that a name follows begins the next spec. Where a value is a spec
itself, or several joined by +, parameters that are not of the outer one are of the inner one:

    at:500,classes=bag,guide=classifier:scale=4,interval=100-400
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import GroupedMetadata
from pydantic import (
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from adm.shown import format_number, printable, short, shown

T = TypeVar("T")
# To an argument, in our own sentences; its own is {}.
REFERENCE = re.compile(r"\{\{|\}\}|\{(?:([a-z_.]+)(?:=([^{}]*))?)?\}")
HYPHEN = re.compile(r"(?<=[0-9.])-")  # between numbers, and not of an exponent or a sign
NAMED = re.compile(r"\s*[a-z][\w.-]*\s*(:|$)", re.IGNORECASE)  # a spec begins, and no parameter
PLUS = re.compile(r"\+(?=\s*[a-z])")  # between specs
NOT_GIVEN = object()
# Type of an error of pydantic -> what was expected, of its context.
EXPECTED: dict[str, str] = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "too_short": "a list of at least {min_length} values",
    "too_long": "a list of at most {max_length} values",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "missing": "given",
    "unexpected_keyword_argument": "left out",
    "extra_forbidden": "left out",
    "dataclass_type": "an object with named values",
}
EXPECTED_PREFIXES = {  # int_parsing, int_type, int_from_float, ...
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "a text",
    "tuple_": "a list",
    "list_": "a list",
    "dict_": "an object with named values",
    "none_": "none",
}


class SettingError(ValueError):
    """Raised for an argument or a setting that cannot be used.

    The sentence names its own argument as `{}` and others as `{name}` or `{name=value}`, and each
    front end shows them as its own: Python as `name=...`, the command line as `--name`. Braces
    that are none of these are doubled, by `literal`.

    Attributes:
        field: name of the argument, with the path to a setting in it: `steps`, `sampler.eta`.
        sentence: what is wrong, and what to do about it.
    """

    def __init__(self, field: str, sentence: str) -> None:
        self.field, self.sentence = field, sentence
        super().__init__(str(self))

    def __str__(self) -> str:
        return self.text(self.field, _as_argument)

    def text(self, name: str, refer: Callable[[str, str | None], str]) -> str:
        """Return the message of a front end.

        Args:
            name: what the front end calls the field.
            refer: name of an argument, value or None -> what the front end calls it.
        """

        def replaced(match: re.Match[str]) -> str:
            if match[0] in ("{{", "}}"):
                return match[0][0]
            return refer(match[1], match[2]) if match[1] else printable(short(name))

        return REFERENCE.sub(replaced, self.sentence)

    def within(self, place: str) -> "SettingError":
        """Return the error of the same setting as seen from outside of `place`."""
        return SettingError(f"{place}.{self.field}" if self.field else place, self.sentence)


def out_of_range(field: str, allowed: str, got: object = NOT_GIVEN, cure: str = "") -> SettingError:
    """Return the error of a value outside of a range or a list: "{} must be {allowed}, got {got}".

    Args:
        field: name of the argument; see `SettingError`.
        allowed: what it must be, after "must be".
        got: the value; `NOT_GIVEN` if the sentence is complete without it.
        cure: what to do about it; empty if `allowed` says it.
    """
    value = "" if got is NOT_GIVEN else f", got {literal(shown(got))}"
    return SettingError(field, f"{{}} must be {allowed}{value}{cure and f'; {cure}'}")


def literal(text: str) -> str:
    """Return a text that the sentence of a `SettingError` shows as it is."""
    return text.replace("{", "{{").replace("}", "}}")


def _as_argument(name: str, value: str | None) -> str:
    return f"{name}={'...' if value is None else value}"


def check_type(name: str, value: object, kinds: tuple[type, ...], expected: str) -> None:
    """Raise SettingError, which names the argument, unless the value has one of these types."""
    if not isinstance(value, kinds):
        raise out_of_range(name, expected, value)


def convert(kind: Any, value: Any, field: str = "") -> Any:
    """Return a value as a type that pydantic validates: numbers may be given as text.

    Args:
        kind: such as `Annotated[int, Field(ge=0)]`, or a frozen dataclass.
        field: what an error calls the value.

    Raises:
        SettingError: the value has another type, or is out of range.
        ValueError: a dataclass refuses it in words of its own.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False), field) from None


def refusal(errors: Iterable[ErrorDetails], field: str = "") -> ValueError:
    """Return the error of the first refusal of pydantic.

    Args:
        field: what the error calls the whole value.
    """
    # Where a value may have several types, the one that was meant lacks no field.
    first = min(errors, key=lambda each: each["type"] == "missing")
    # Pydantic adds the names of classes to the path, which are not written in small letters.
    parts = [part for part in map(str, first["loc"]) if part.islower() or part.isdigit()]
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, SettingError):
        head = raised.field.partition(".")[0]
        parts = parts[: parts.index(head)] if head in parts else parts
        place = ".".join([field, *parts] if field else parts)
        return raised.within(place) if place else raised
    if raised is not None:  # of a dataclass that is no setting of ours, in its own words
        return ValueError(str(raised))
    place, kind = ".".join([field, *parts] if field else parts), first["type"]
    by_prefix = (text for prefix, text in EXPECTED_PREFIXES.items() if kind.startswith(prefix))
    expected = EXPECTED.get(kind) or next(by_prefix, "valid")
    context = {
        name: format_number(value) if isinstance(value, float) else value
        for name, value in first.get("ctx", {}).items()
    }
    got = NOT_GIVEN if kind == "missing" else first["input"]
    return out_of_range(place, expected.format(**context), got)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class Checked:
    """A frozen dataclass whose fields are validated by their types on construction.

    Its spec starts with `name`; the `inherited` parameters carry over when another kind is chosen.
    """

    name: ClassVar[str]
    inherited: ClassVar[tuple[str, ...]] = ()  # fields that a spec of another kind carries over

    def __post_init__(self) -> None:
        for name, kind in _types(type(self)).items():
            value = getattr(self, name)
            converted = convert(kind, value, name)
            if isinstance(value, str) and not isinstance(converted, str):  # nothing is changed here
                what = f"{{}} is the text {literal(shown(value))}; give {literal(repr(converted))}"
                raise SettingError(name, what)


def to_json(value: Any) -> Any:
    """Return a dataclass as JSON values, in which settings that are specs are texts."""
    return _adapter(type(value)).dump_python(value, mode="json")


def parse(kinds: Mapping[str, type[T]], spec: str | T, field: str, current: T | None = None) -> T:
    """Return the dataclass of a spec.

    Args:
        kinds: name -> dataclass.
        spec: the text, or an object of one of the kinds or of their common base, which is returned.
        field: what an error calls it.
        current: the defaults are its fields if it is of the same kind, and those of
            `Checked.inherited` if it is of another.

    Raises:
        SettingError: the kind or a parameter is unknown, or a value is out of range.
    """
    if not isinstance(spec, str):
        if isinstance(spec, (*kinds.values(), *_common_bases(kinds.values()))):
            return spec
        raise out_of_range(field, f"one of {', '.join(kinds)}", spec)
    name, _, rest = (part.strip() for part in spec.partition(":"))
    if name not in kinds:
        near = get_close_matches(name.lower(), kinds, n=2)
        cure = f"did you mean {' or '.join(near)}?" if near else ""
        raise out_of_range(field, f"one of {', '.join(kinds)}", spec, cure)
    kind = kinds[name]
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    types, values = _types(kind), dict[str, Any]()
    bare = list[str]()
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals:
            bare.append(part)
        elif key in values:
            raise SettingError(f"{field}.{key}", "{} is given twice; leave one out")
        elif key in known:
            values[key] = text
        elif values and _takes_specs(types[last := next(reversed(values))]):
            values[last] += f",{part}"  # a parameter of the last of these
        else:
            raise _unknown(field, name, known, part)
    if bare:
        if not known:
            raise _unknown(field, name, known, bare[0])
        values[next(iter(known))] = "-".join(bare)
    read = {key: _read(types[key], text) for key, text in values.items()}
    if type(current) is kind:
        return change(current, read, field)
    for key in getattr(kind, "inherited", ()):
        if key not in read and hasattr(current, key):
            read[key] = getattr(current, key)
    return convert(kind, read, field)


def split(specs: str) -> list[str]:
    """Split a list of specs or other values at its commas; a spec keeps those after its colon.

    `even,levels:3,40,karras:steps=5,end=3` are `even`, `levels:3,40` and `karras:steps=5,end=3`.
    """
    parts = list[str]()
    for piece in specs.split(","):
        if parts and ":" in parts[-1] and not NAMED.match(piece):
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    return [part.strip() for part in parts]


def _common_bases(kinds: Collection[type[Any]]) -> list[type[Any]]:
    """Return the base classes of all kinds, which a kind in no table has as well."""
    first = next(iter(kinds))
    bases = [each for each in first.__mro__ if issubclass(each, Checked) and each is not Checked]
    return [base for base in bases if all(issubclass(kind, base) for kind in kinds)]


def _unknown(field: str, name: str, known: Iterable[str], part: str) -> SettingError:
    names = ", ".join(known)
    has = f"the parameters {names}, and not" if names else "no parameters, such as"
    return SettingError(field, f"{name} has {has} {literal(shown(part))}")


def text(value: Any) -> str:
    """Return the spec of a dataclass; `parse` inverts it. Fields at their defaults are omitted."""
    pairs = list[str]()
    for number, each in enumerate(fields(value)):
        own = getattr(value, each.name)
        if own == _default(each):
            continue
        bare = number == 0 and isinstance(own, tuple)
        pairs.append(written(own) if bare else f"{each.name}={written(own, '-')}")
    return f"{value.name}:{','.join(pairs)}" if pairs else value.name


def _default(field: "Field[Any]") -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def written(value: Any, separator: str = ",") -> str:
    """Return a value as its user writes it, in the form that `assign` reads.

    Args:
        separator: between the values of a list; inside a spec, a hyphen.
    """
    if is_dataclass(value):
        pairs = (f"{each.name}={written(getattr(value, each.name))}" for each in fields(value))
        return text(value) if _is_spec(value) else ",".join(pairs)
    if isinstance(value, tuple | list):
        specs = any(_is_spec(each) for each in value)
        return ("+" if specs else separator).join(written(each, "-") for each in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return format_number(value) if isinstance(value, float) else str(value)


@dataclass(frozen=True, eq=False)
class SpecOf(GroupedMetadata):
    """Annotation of a field of one of several kinds: it takes specs, and is stored as one."""

    kinds: Mapping[str, type[Any]]

    def __iter__(self) -> Iterator[object]:
        def validate(value: Any, info: ValidationInfo) -> Any:
            return parse(self.kinds, value, info.field_name or "")

        yield from (PlainValidator(validate), PlainSerializer(text))


def change(value: T, changes: Mapping[str, Any], field: str = "") -> T:
    """Return a frozen dataclass with some fields changed and validated.

    Raises:
        SettingError: a field is unknown, or a value is out of range.
    """
    known = [each.name for each in fields(value)]  # type: ignore[arg-type]
    types = _types(type(value))
    converted = dict[str, Any]()
    for name, changed in changes.items():
        place = f"{field}.{name}" if field else name
        if name not in known:
            near = get_close_matches(name, known, n=2) or known
            raise SettingError(
                place, f"there is no setting {{}}; did you mean {' or '.join(near)}?"
            )
        converted[name] = convert(types[name], changed, place)
    try:
        return replace(value, **converted)  # type: ignore[type-var]
    except SettingError as error:
        raise error.within(field) if field else error from None


def assign(root: T, path: str, raw: str) -> T:
    """Return a nested frozen dataclass with one field set, such as `unet.dropout` to `0.1`.

    A value is what the field's type reads: a number, true or false, none, a list separated by
    commas, or a spec. A single number for a pair is both of its values. Where a field may have one
    of several types, as in `unet.heads.width`, the path says which.

    Raises:
        SettingError: there is no such field, or it cannot have this value.
    """
    try:
        return _assign(root, path, raw)
    except LookupError:
        near = _named_near(root, path)
        raise SettingError(path, f"there is no setting {{}}; did you mean {near}?") from None


def _assign(root: T, path: str, raw: str) -> T:
    """As `assign`; raise LookupError if there is no such field."""
    first, _, rest = path.partition(".")
    types = _types(type(root))
    if first not in types:
        raise LookupError(path)
    if not rest:
        value = _read(types[first], raw, ",")
        return replace(root, **{first: convert(types[first], value, path)})  # type: ignore[type-var]
    try:
        inner = getattr(root, first)
        for kind in [type(inner), *alternatives(types[first])]:
            if is_dataclass(kind) and rest.partition(".")[0] in _types(kind):
                if kind is type(inner):
                    own = _assign(inner, rest, raw)
                else:
                    own = convert(kind, {rest: _read(_types(kind)[rest], raw, ",")}, "")
                return replace(root, **{first: own})  # type: ignore[type-var]
    except SettingError as error:
        raise error.within(first) from None
    raise LookupError(path)


def paths_of(root: Any, prefix: str = "") -> list[str]:
    """Return the dotted paths of all fields of a nested dataclass."""
    paths = list[str]()
    for each in fields(root):
        value, path = getattr(root, each.name), f"{prefix}{each.name}"
        paths += paths_of(value, f"{path}.") if _is_nested(value) else [path]
    return paths


def differences(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted path, old value, new value) of the fields in which nested dataclasses differ.

    Fields that are dataclasses of different types, and specs, differ as a whole.
    """
    for each in fields(old):
        before, now = getattr(old, each.name), getattr(new, each.name)
        path = f"{prefix}{each.name}"
        if _is_nested(before) and type(before) is type(now):
            yield from differences(before, now, f"{path}.")
        elif before != now:
            yield path, before, now


def _is_nested(value: Any) -> bool:
    """Whether a value has fields with paths of their own."""
    return is_dataclass(value) and not _is_spec(value)


def _is_spec(value: Any) -> bool:
    """Whether a dataclass is written as one text; a recipe, which also has a name, is not."""
    return hasattr(value, "name") and not hasattr(type(value), "kind")


def _named_near(root: Any, path: str) -> str:
    known = paths_of(root)
    ends = {each.rsplit(".", 1)[-1]: each for each in known}
    near = get_close_matches(path, known, n=3)
    near += [ends[end] for end in get_close_matches(path.rsplit(".", 1)[-1], ends, n=2)]
    return " or ".join(dict.fromkeys(near)) or f"one of {', '.join(_types(type(root)))}"


@cache
def _types(kind: type[Any]) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, with their bounds."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind)}


def alternatives(kind: Any) -> list[Any]:
    """Return the types that a value of a type may have, without their bounds."""
    if get_origin(kind) is Annotated:
        return alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [each for part in get_args(kind) for each in alternatives(part)]
    return [kind]


def _takes_specs(kind: Any) -> bool:
    """Whether a value of a type is a list of specs."""
    inner = [get_args(each)[0] for each in alternatives(kind) if get_origin(each) is tuple]
    marks = [mark for each in inner for mark in getattr(each, "__metadata__", ())]
    return any(isinstance(mark, SpecOf) for mark in marks)


def _read(kind: Any, raw: str, separator: str = "-") -> Any:
    """Return a text in the form that pydantic converts to a type: None, a list, or the text."""
    kinds = alternatives(kind)
    is_none = raw.lower() in ("none", "null")
    if is_none and NoneType in kinds and not _takes_specs(kind):  # for which none is an empty list
        return None
    lists = [each for each in kinds if get_origin(each) is tuple or each is tuple]
    if not lists:
        return raw
    if is_none:
        return []
    inner, bare = get_args(lists[0]), raw.strip("[]()")
    if _takes_specs(kind):
        parts = PLUS.split(bare)  # of specs, which have commas of their own
    else:
        parts = HYPHEN.split(bare) if separator == "-" else bare.split(separator)
    parts = [part.strip() for part in parts if part.strip()]
    is_pair = len(inner) == 2 and inner[1] is not ...
    return parts * 2 if separator == "," and len(parts) == 1 and is_pair else parts
