"""LatentSampling: how a GAN makes images from noise; settings by name -> LatentSampling."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from adm.limits import MOST_TRUNCATION
from adm.spec import Checked, SettingError, change


@dataclass(frozen=True, kw_only=True)
class LatentSampling(Checked):
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

    def change(self, **settings: Any) -> "LatentSampling":
        """Return the settings with some changed by name.

        None changes nothing; the truncation "none" is no limit.

        Raises:
            SettingError: a setting is unknown, such as those of diffusion models, or out of range.
        """
        values = {name: value for name, value in settings.items() if value is not None}
        for name in values:
            if name not in self.__dataclass_fields__:
                known = ", ".join(self.__dataclass_fields__)
                raise SettingError(name, f"left out for a GAN, whose settings are {known}")
        if values.get("truncation") == "none":
            values["truncation"] = None
        return change(self, values)
