"""JSON of a page -> Order; Order, Shelf, tell -> events: all that a browser may ask for.

Whatever arrives is parsed once, into types with bounds, before any work. A model is a name that the
shelf offers, a setting the text of a spec, and a picture its bytes: nothing of a request is a path,
or code. A new order is one class here.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from torch import Tensor

from adm.app.studio import live, pictures
from adm.app.studio.desk import Tell
from adm.app.studio.forms import CLOSED
from adm.app.studio.shelf import Shelf
from adm.generation import recall
from adm.generation.edit import edit_job
from adm.generation.job import Job
from adm.generation.pipeline import Pipeline
from adm.generation.recall import Recall
from adm.generation.restored import Problem
from adm.images import to_uint8
from adm.samplers import State
from adm.spec import SettingError, refusal

MOST_IMAGES = 64  # of an order
MOST_STEPS = 1000  # of an image
MOST_CELLS = 64  # of a grid
MOST_CLASSES = 1000

Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Spec: TypeAlias = Annotated[str, Field(max_length=400)]
Value: TypeAlias = bool | int | float | Spec | Annotated[list[Spec], Field(max_length=8)] | None
Settings: TypeAlias = Annotated[dict[Name, Value], Field(max_length=16)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
Picture: TypeAlias = Annotated[bytes, Field(max_length=pictures.MOST_BYTES)]


class Order(BaseModel):
    """What a page asks for.

    Attributes:
        model: one that the shelf offers.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, val_json_bytes="base64"
    )
    model: Name

    @abstractmethod
    def carry_out(self, shelf: Shelf, tell: Tell) -> None:
        """Do it, and tell of it; what `tell` raises ends it."""
