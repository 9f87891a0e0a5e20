"""Level, class, guides -> Then: what changes on the way, from a noise level down."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from adm.limits import MOST_LEVELS
from adm.samplers.guide import GUIDES, Finite, Guide
from adm.spec import Checked, SettingError, SpecOf, out_of_range


@dataclass(frozen=True, kw_only=True)
class Then(Checked):
    """From a level down, another class or other guides, by the same sampler, levels and noise.

    Predictions above the level are those without it. A field that is None changes nothing, and a
    classifier's gradient is not reused from before (`every`).

    Attributes:
        level: the first visited level at or below it is the first that changes, in levels of the
            process that the model was trained on, as in 500.
        classes: the class that all images change to, by name or number.
        scale: guidance scale of the classifier; 0 is no guidance by it.
        guide: other guides, joined by +; each begins with its scale. `none` is no guidance at all.
    """

    level: Annotated[float, Field(ge=0, le=MOST_LEVELS, allow_inf_nan=False)]
    classes: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    scale: Finite | None = None
    guide: tuple[Annotated[Guide, SpecOf(GUIDES)], ...] | None = None
    name: ClassVar[str] = "at"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.classes, self.scale, self.guide) == (None, None, None):
            raise SettingError("", "{} changes nothing; give it classes, scale or guide")

    def check(self, last: int) -> None:
        """Raise SettingError unless the level is one of a process with T = `last`."""
        if self.level > last:
            raise out_of_range("then.level", f"in 0..{last}", self.level)
        for guide in self.guide or ():
            guide.check(last)


THENS: dict[str, type[Then]] = {Then.name: Then}
