"""Dataclass -> its summary, its parameters: what docstrings, types and defaults say in words."""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from adm.spec import written

FAR = 50_000  # bounds beyond what anyone sets are omitted
ENTRY = re.compile(r"^( {4})(\w+(?:, \w+)*): ", re.MULTILINE)
SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def describe(kind: type[Any]) -> dict[str, Any]:
    """Return the summary and the parameters of a dataclass, as JSON values."""
    about = attributes(kind)
    hints = get_type_hints(kind, include_extras=True)
    return {
        "summary": (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " "),
        "parameters": {
            each.name: parameter(each, hints[each.name], about) for each in fields(kind)
        },
    }


def parameter(field: "Field[Any]", hint: Any, about: Mapping[str, str]) -> dict[str, str]:
    """Return the type of a field in words, its default as text, and what it is about.

    Args:
        hint: type of the field, with bounds.
        about: the `attributes` of its dataclass.
    """
    default = field.default
    if field.default_factory is not MISSING:
        default = field.default_factory()
    return {
        "type": words(hint),
        "default": "" if default is MISSING else written(default),
        "about": about.get(field.name, ""),
    }


def attributes(kind: type[Any]) -> dict[str, str]:
    """Return name -> text of the attributes in a docstring, and in those of its bases."""
    entries: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = (base.__doc__ or "").partition("Attributes:\n")[2].partition("\n    Raises:")[0]
        pieces = ENTRY.split(textwrap.indent(textwrap.dedent(text), "    "))[1:]
        for names, about in zip(pieces[1::3], pieces[2::3], strict=True):
            entries |= dict.fromkeys(names.split(", "), " ".join(about.split()).rstrip("."))
    return entries


def words(hint: Any) -> str:
    """Describe a type in words, with its bounds."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        limits = [f"{SIGNS[name]} {value:g}" for name, value in bounds(extras)]
        return " ".join([words(inner), " and ".join(limits)]).strip()
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(words(each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        inner = [each for each in get_args(hint) if each is not ...]
        return f"{'pair' if len(inner) == 2 else 'list'} of {words(inner[0])}"
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    return (
        "none" if hint is NoneType else names.get(hint, getattr(hint, "__name__", "spec").lower())
    )


def bounds(extras: list[Any]) -> Iterator[tuple[str, float]]:
    """Yield the bounds among the annotations of a type: a key of `SIGNS`, and the value."""
    for each in extras:
        for limit in getattr(each, "metadata", ()):
            for name in SIGNS:
                if hasattr(limit, name) and getattr(limit, name) < FAR:
                    yield name, getattr(limit, name)
