"""Adversarial: how a generator and a discriminator learn against each other."""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

Change: TypeAlias = Literal["colour", "translation", "cutout"]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """The settings of adversarial training (Brock et al. 2019).

    Attributes:
        discriminator_steps: steps of the discriminator for each of the generator. Each is shown an
            equal part of the batch, and the generator makes as many images.
        discriminator_rate: peak learning rate of the discriminator; `train.learning_rate` is the
            generator's.
        first_decay: decay of the first moments of both optimizers, Adam's beta_1.
        orthogonal: factor of the generator's orthogonal regularisation; 0 for none.
        augmentation: random changes of real and generated images that the discriminator is shown
            (Zhao et al. 2020), in this order.
    """

    discriminator_steps: Annotated[int, Field(ge=1, le=64)] = 2
    discriminator_rate: Rate
    first_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    orthogonal: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    augmentation: Annotated[tuple[Change, ...], Field(max_length=3)] = ()
