"""Image, text -> PNG that carries it; what a page has chosen -> command, lines of Python."""

import io
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from warnings import catch_warnings

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from adm.data.pixels import to_picture
from adm.limits import MOST_TEXT
from adm.spec import written

KEYWORD = "adm"  # of the text
# Settings with an option of the command line; `--set NAME=VALUE` takes the others.
OPTIONS = ("steps", "scale", "sampler", "grid", "guide", "then", "seed", "precision")


def annotate(image: Tensor, text: str) -> bytes:
    """Return a PNG of an image, (C, H, W) uint8, that carries an ASCII text."""
    note, buffer = PngInfo(), io.BytesIO()
    note.add_text(KEYWORD, text)
    to_picture(image).save(buffer, "PNG", pnginfo=note)
    return buffer.getvalue()


def annotation(content: bytes) -> str | None:
    """Return the text that a PNG carries, whose pixels are not decoded; None without one."""
    try:
        with (
            catch_warnings(action="ignore"),
            Image.open(io.BytesIO(content), formats=["PNG"]) as png,
        ):
            text = png.info.get(KEYWORD)
    except Exception:  # Pillow raises whatever the operation that meets the damage does
        return None
    return text if isinstance(text, str) and len(text) <= MOST_TEXT else None


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
        plain = name in OPTIONS or name not in settings
        option = f"--{name.replace('_', '-')}" if plain else "--set"
        for word in [] if value is None else map(written, _each(value)):
            text = word if plain else f"{name}={word}"
            line += [f"{option}={text}"] if text.startswith("-") else [option, text]
    return shlex.join(line)


def call(values: Sequence[str], named: Mapping[str, Any]) -> str:
    """Return the text of the arguments of a call in Python, without those that are None."""
    pairs = [f"{key}={_literal(value)}" for key, value in named.items() if value is not None]
    return ", ".join([*map(_literal, values), *pairs])


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else [value]


def _literal(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
