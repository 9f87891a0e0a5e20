"""Recipe, "field=value" strings -> Recipe: settings changed by name."""

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from adm.recipes.schema import Recipe, from_json, to_json
from adm.shown import shown
from adm.store.parsed import parse_json

SQUARE = (
    "data.size",
    "data.low_res",
    "classifier.size",
    "gan.size",
)  # a single number stands for both sides
ALTERNATIVES = ("heads", "decoder_heads")  # one of several types, with different fields


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Change fields by their dotted path, such as `unet.dropout=0.1` or `data.size=32,32`.

    Values are parsed as JSON if they are valid JSON, else as a list if they contain commas, else as
    text. A single value for a list is a list of one; for a size, it is both sides.

    Raises:
        ValueError: not of the form field=value, an unknown field (names similar ones), or a value
            that the field cannot have.
    """
    values = to_json(recipe)
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(
                f"cannot read {shown(setting)}; write field=value, as in unet.dropout=0.1"
            )
        try:
            value = _parse(text.strip())
        except ValueError as error:
            raise ValueError(f"cannot read {shown(setting)}: {error}; give another value") from None
        _assign(values, path.strip(), value)
        if path.strip().endswith(".name"):  # another type, whose other fields have defaults
            values = to_json(from_json(values))
    return from_json(values)


def _assign(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    here: Any = values
    for parent in parents:
        if not isinstance(here, dict) or parent not in here:
            raise _unknown(path, values)
        if parent in ALTERNATIVES:
            here[parent] = {}
        here = here[parent]
    known = isinstance(here, dict) and (last in here or (parents and parents[-1] in ALTERNATIVES))
    if not known or path in ("kind", "name"):
        raise _unknown(path, values)
    if last == "name" and here[last] != value:
        here.clear()  # of the fields of another type
    single = not isinstance(value, list) and value is not None
    if single and path in SQUARE:
        value = [value, value]
    elif single and isinstance(here.get(last), list):
        value = [value]
    here[last] = value


def _unknown(path: str, values: dict[str, Any]) -> ValueError:
    fields = list(_paths(values))
    ends = {field.rsplit(".", 1)[-1]: field for field in fields}
    near = get_close_matches(path, fields, n=3)
    near += [ends[end] for end in get_close_matches(path.rsplit(".", 1)[-1], ends, n=2)]
    hint = " or ".join(dict.fromkeys(near)) or "one that `adm recipes NAME` shows"
    return ValueError(f"unknown field {shown(path)}; did you mean {hint}?")


def _paths(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _paths(value, f"{path}.{key}" if path else key)
    elif path not in ("kind", "name"):
        yield path


def _parse(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        pass
    if "," in text:
        return [_parse(part) for part in text.strip("[]()").split(",") if part.strip()]
    return {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)
