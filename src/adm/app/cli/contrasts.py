"""Command-line options -> ContrastOptions: guidance that needs no classifier."""

from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ContrastOptions:
    """Options of guidance without a classifier; several of them add up.

    Parameters
    ----------
    free_scale
        Classifier-free guidance: 1 is the model itself, and above 1 samples follow the class more.
        For models that are told the class, and were trained with label dropout.
    free_interval
        Lowest and highest noise level of classifier-free guidance, as in 100,700; all by default.
    weak
        Worse model of the same images, such as an earlier checkpoint, that --weak-scale leads away
        from: a path or a shipped name.
    weak_scale
        Autoguidance: 1 is the model itself, and above 1 samples avoid what --weak does worse.
    weak_interval
        Lowest and highest noise level of autoguidance; all by default.
    attention_scale
        Perturbed-attention guidance, away from the model without its innermost attention: 0 is the
        model itself.
    attention_interval
        Lowest and highest noise level of perturbed-attention guidance; all by default.
    """

    free_scale: float | None = None
    free_interval: Annotated[tuple[int, ...] | None, lists.whole_numbers("100,700")] = None
    weak: str | None = None
    weak_scale: float | None = None
    weak_interval: Annotated[tuple[int, ...] | None, lists.whole_numbers("100,700")] = None
    attention_scale: float | None = None
    attention_interval: Annotated[tuple[int, ...] | None, lists.whole_numbers("100,700")] = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by the names of `Pipeline.sample`; None for one that is not given."""
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names if name != "weak"}


NONE = ContrastOptions()
