"""Options of sampling, what a model says about itself -> ValueError if a GAN lacks them."""

from typing import TYPE_CHECKING

from adm.app.cli.sampling import SamplingOptions

if TYPE_CHECKING:
    from adm.models.described import Described


def check_options(base: "Described | None", how: SamplingOptions) -> None:
    """Refuse options that the model's kind does not have.

    Raises:
        ValueError: a GAN with options of diffusion models, or a diffusion model with `truncation`.
    """
    if base is None or base.kind != "gan":
        if how.truncation is not None and base is not None:
            raise ValueError(
                f"{base.path} is a diffusion model, and truncation=... is for GANs; it trades "
                "diversity for fidelity by guidance, as in scale=2"
            )
        return
    from adm.adversarial.sampling import changed, from_json

    if how.classifier is not None or how.contrasts.weak is not None:
        raise ValueError(
            f"{base.path} is a GAN, which nothing guides; pass truncation=..., as in 0.5"
        )
    changed(from_json(base.sample), **how.settings)
