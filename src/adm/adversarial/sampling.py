"""LatentSampling: how images are made from noise; settings by name -> LatentSampling."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field

from adm.adversarial.latent import check_truncation
from adm.limits import MOST_TRUNCATION
from adm.store.parsed import as_type


@dataclass(frozen=True, kw_only=True)
class LatentSampling:
    """Everything besides labels and indices that the images of a GAN depend on.

    Attributes:
        truncation: largest absolute value of an entry of the noise; None for no limit.
        seed: random seed of the noise.
        precision: of the network's arithmetic.
        rounding: to 8 bits, to the nearest or truncated.
    """

    truncation: Annotated[float, Field(gt=0, le=MOST_TRUNCATION)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    rounding: Literal["nearest", "truncated"] = "nearest"


def from_json(values: Any) -> LatentSampling:
    """Return the settings of JSON values.

    Raises:
        ValueError: a value has another type, or is out of range.
    """
    return as_type(LatentSampling, values)


def changed(sampling: LatentSampling, **settings: Any) -> LatentSampling:
    """Return settings with some changed by name; None leaves one as it is.

    Raises:
        ValueError: a setting is unknown, such as those of diffusion models, or out of range.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    known = [field.name for field in fields(sampling)]
    if unknown := [name for name in given if name not in known]:
        raise ValueError(
            f"a GAN has no setting {', '.join(unknown)}: it makes an image in one call of its "
            f"generator; its settings are {', '.join(known)}"
        )
    check_truncation(given.get("truncation"))
    return from_json(asdict(sampling) | given)
