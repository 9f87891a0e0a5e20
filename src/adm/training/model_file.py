"""Weights, Metadata <-> model file: safetensors, with the metadata as JSON in the header."""

import errno
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from adm.limits import MOST_CHARACTERS, MOST_CLASSES, MOST_STEPS, MOST_TEXT
from adm.shown import printable, reason_of, short
from adm.store.files import new_file
from adm.store.hashes import Sha256
from adm.store.parsed import CLASSES, as_type, parse_json

FORMAT = "adm"  # the key of our metadata in the header
LONGEST_REASON = 300  # characters; one of safetensors may quote the file
MOST_HEADER = 1 << 24  # bytes; those of the largest networks have a hundred thousand
CURE = "copy it again, or give a file that `adm train` wrote"
# safetensors states the number of a system's error in its message only.
SYSTEM_ERROR = re.compile(r"(?:code: |os error )(\d+)")

Steps = Annotated[int, Field(ge=0, le=MOST_STEPS)]
Name = Annotated[str, Field(max_length=MOST_CHARACTERS)]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A network that a student was distilled from.

    Attributes:
        recipe: the name of its recipe.
        sha256: of its file.
        trained_steps: its number of optimizer steps; None for a released file.
    """

    recipe: Name
    sha256: Sha256
    trained_steps: Steps | None = None


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model whose weights a training began with.

    Attributes:
        given: its name or path on the command line.
        model: the name of its recipe.
        sha256: of its file.
        step: its number of optimizer steps; None for a released file.
        renamed: new class name by its name in that model.
    """

    given: Annotated[str, Field(max_length=MOST_TEXT)]
    model: Name
    sha256: Sha256
    step: Steps | None = None
    renamed: Annotated[dict[Name, Name], Field(max_length=MOST_CLASSES)] | None = None


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The metadata of a model file.

    Attributes:
        recipe: the recipe as JSON; it is parsed by its own schema.
        classes: names of the classes of the training images, in the order of the labels.
        data: name of the training images.
        step: number of optimizer steps; None for a released file.
        weights: which of the weights of a run it holds: `model`, `raw` or the name of an average.
        start: of a model that was trained on, the one before.
        teacher, guide, weak: of a student, the model that it was distilled from, the classifier and
            the weak model that guided it.
    """

    recipe: dict[str, Any]
    classes: Annotated[tuple[Name, ...], Field(max_length=MOST_CLASSES)]
    data: Annotated[str, Field(max_length=MOST_TEXT)] | None = None
    step: Steps | None = None
    weights: Name | None = None
    start: Start | None = None
    teacher: Origin | None = None
    guide: Origin | None = None
    weak: Origin | None = None

    def entries(self) -> dict[str, Any]:
        """Return what is known, as JSON values for `save_model`."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def save_model(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a model file that describes itself, whole or not at all.

    The metadata is a single JSON entry of the header, because safetensors writes several entries
    in a random order.

    Args:
        weights: tensors by name; they are written with their own dtypes.
        metadata: JSON values, `recipe` and `classes` among them.

    Raises:
        OSError: the file cannot be written.
    """
    save_tensors(path, weights, {FORMAT: json.dumps(metadata)})


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], header: dict[str, str] | None = None
) -> None:
    """Write tensors by name to a safetensors file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        with new_file(path) as part:
            copies = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
            part.touch()
            mode = part.stat().st_mode
            save_file(copies, part, header)
            part.chmod(mode)  # safetensors leaves a file that its owner alone may read
    except SafetensorError as error:
        number, reason = errno.EIO, str(error)
        if match := SYSTEM_ERROR.search(reason):
            number, reason = int(match[1]), os.strerror(int(match[1]))
        raise OSError(number, reason, str(path)) from None


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a model file as float32, by name.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise file_error(path, error) from None
    return {name: tensor.float() for name, tensor in weights.items()}


def metadata_of(path: Path) -> Metadata:
    """Read the metadata of a model file.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    entries = entries_of(path)
    try:
        return as_type(Metadata, entries)
    except ValueError as error:
        raise metadata_error(path, error) from None


def entries_of(path: Path) -> dict[str, Any]:
    """Return the metadata of a model file as JSON values, those of later versions included.

    Raises:
        ValueError: the file is damaged, or adm did not write it.
    """
    try:
        with path.open("rb") as stored:
            length = int.from_bytes(stored.read(8), "little")
        if length > MOST_HEADER:
            raise ValueError(f"it states a header of {length} bytes, over {MOST_HEADER}")
        with safe_open(path, framework="pt") as file:  # reads no more than the header
            entries = parse_json((file.metadata() or {}).get(FORMAT, "{}"), CLASSES)
    except (SafetensorError, OSError, ValueError) as error:
        raise file_error(path, error) from None
    if not isinstance(entries, dict) or not {"recipe", "classes"} <= entries.keys():
        raise ValueError(
            f"{path} contains no recipe; give the model.safetensors of a checkpoint, or import the "
            "file if adm did not write it"
        )
    return entries


def check_finite(path: Path, weights: Mapping[str, Tensor], cure: str | None = None) -> None:
    """Raise ValueError if a weight is infinite or not a number.

    Args:
        path: the file that they are from.
        cure: what to do then, for the message; None if the caller says it.
    """
    for name, values in weights.items():
        if values.is_meta:  # which has a shape and no values
            continue
        # A finite sum has finite terms. It takes half as long as `isfinite`, and no memory.
        if math.isfinite(values.detach().sum().item()) or bool(values.isfinite().all()):
            continue
        suffix = "" if cure is None else f"; {cure}"
        raise ValueError(f"{name} in {path} has values that are not finite{suffix}")


def file_error(path: Path, error: Exception) -> ValueError:
    """Return the error of a model file that cannot be read."""
    reason = short(printable(reason_of(error)), LONGEST_REASON)
    return ValueError(f"{path} is not a model file, or it is damaged ({reason}); {CURE}")


def metadata_error(path: Path, error: Exception) -> ValueError:
    """Return the error of a model file whose metadata contradict their schema or its weights."""
    return ValueError(f"{path} holds a damaged recipe or damaged classes ({error}); {CURE}")
