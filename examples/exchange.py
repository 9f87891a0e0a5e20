"""Pipeline -> denoiser of deepinv or azula; their operators -> Operator.

| | images | noise |
|---|---|---|
| adm | [-1, 1] | x_t = signal x_0 + sigma noise, signal^2 + sigma^2 = 1 |
| deepinv | [0, 1] | x_0 + sigma noise, sigma of images in [0, 1] |
| azula | [-1, 1] | alpha x_0 + sigma noise, functions of a time in [0, 1] |

Neither package is imported before it is needed.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adm.diffusion import Threshold
from adm.functions import Function
from adm.generation.pipeline import Pipeline
from adm.models.pair import check_from_noise
from adm.models.trained import DiffusionModel
from adm.networks import NO_LABEL
from adm.restoration import Operator
from adm.restoration.measurement import Forward
from adm.restoration.operators import Custom
from adm.spec import out_of_range

LEAST = 0.1  # sigma / signal at azula's time 0, of that at level 1


class Estimate(nn.Module):
    """x_0 + ratio noise, ratio -> estimate of x_0, (B, C, H, W) in [-1, 1] each.

    The network receives the level of that ratio of sigma to signal, which may be fractional, or the
    nearest of levels 1 and T. It is evaluated in float32, and differentiable with respect to x.

    Raises:
        SettingError: the model needs more than x_t and its level.
    """

    def __init__(self, model: Pipeline, threshold: Threshold | None) -> None:
        super().__init__()
        self.model: DiffusionModel = model.model
        check_from_noise(self.model)
        if self.model.parameterization.target.is_mean:
            what = "another than previous_mean, which is of one level alone"
            raise out_of_range("process.prediction", what, self.model.name)
        self.network = self.model.prepared()
        self.threshold = threshold

    def forward(self, x: Tensor, ratio: Tensor, labels: Tensor | None) -> Tensor:
        """Return the estimate.

        Args:
            ratio: (), (1,) or (B,).
            labels: (B,) int64; None for no class.
        """
        ratios = ratio.detach().to("cpu").double().reshape(-1)
        levels, places = self.model.schedule.level_of(-2 * ratios.log()).unique(return_inverse=True)
        if labels is None and self.model.network.config.classes is not None:
            labels = torch.full((len(x),), NO_LABEL, device=x.device)
        schedule = self.model.schedule.visiting(levels.tolist())
        denoise = self.model.denoise(labels, schedule, self.threshold, network=self.network)
        signal = (1 + ratios.square()).rsqrt().float().to(x.device).reshape(-1, 1, 1, 1)
        level = 1 if len(levels) == 1 else 1 + places
        return denoise(signal * x.float(), level).x_0.to(x.dtype)


def to_deepinv(model: Pipeline, threshold: Threshold | None = None) -> Any:
    """Return a model as a `deepinv.models.Denoiser`.

    It is called with x, (B, C, H, W) in [0, 1] and noise, with its sigma, a number or (B,), and
    with class_labels, (B,) int64, which may be left out.

    Args:
        model: a diffusion model that starts from noise, without its classifier.
        threshold: of estimates in [-1, 1], such as `adm.diffusion.clip`. A clipped pixel has no
            gradient.

    Raises:
        SettingError: the model needs more than x_t and its level.
        ImportError: deepinv is not installed.
    """
    from deepinv.models import Denoiser  # pyright: ignore

    class ADM(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.estimate = Estimate(model, threshold)

        def forward(
            self,
            x: Tensor,
            sigma: float | Tensor,
            *args: Any,
            class_labels: Tensor | None = None,
            **kwargs: Any,
        ) -> Tensor:
            ratio = 2 * torch.as_tensor(sigma)
            return (self.estimate(2 * x - 1, ratio, class_labels) + 1) / 2

    return ADM()


def to_azula(model: Pipeline, threshold: Threshold | None = None) -> Any:
    """Return a model as an `azula.denoise.Denoiser`, with its own process as the schedule.

    It is called with x_t, (B, C, H, W), a time () or (B,), and label, (B,) int64, which may be left
    out, and returns a `DiracPosterior`. Time t is level t T, and at time 0, where azula requires
    some noise, it is a tenth of that of level 1. Another schedule may be put in its place.

    Args:
        model, threshold: as for `to_deepinv`.

    Raises:
        SettingError: the model needs more than x_t and its level.
        ImportError: azula is not installed.
    """
    from azula.denoise import Denoiser, DiracPosterior  # pyright: ignore
    from azula.noise import Schedule  # pyright: ignore

    own = model.schedule
    log_snr = own.log_snr.clone()
    log_snr[0] = log_snr[1] - 2 * torch.tensor(LEAST).double().log()

    class Process(Schedule):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            level = t.detach().to("cpu").double() * own.last
            below = level.floor().long().clamp(0, own.last - 1)
            between = torch.lerp(log_snr[below], log_snr[below + 1], level - below)
            alpha, sigma = between.sigmoid().sqrt(), (-between).sigmoid().sqrt()
            return alpha.to(t.dtype).to(t.device), sigma.to(t.dtype).to(t.device)

    class ADM(Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.estimate, self.schedule = Estimate(model, threshold), Process()

        def forward(
            self, x_t: Tensor, t: Tensor, label: Tensor | None = None, **kwargs: Any
        ) -> DiracPosterior:
            alpha, sigma = self.schedule(t)
            x = x_t / alpha.to(x_t).reshape(-1, *[1] * (x_t.dim() - 1))
            return DiracPosterior(self.estimate(x, sigma / alpha, label))

    return ADM()


class Measured(NamedTuple):
    """What `Pipeline.restore` takes: `model.restore(y, operator, "dps", sigma=sigma)`."""

    y: Tensor
    operator: Operator
    sigma: float


def from_azula(forward: Forward, name: str = "") -> Operator:
    """Return a function of images as an operator, as azula takes it.

    Args:
        forward: (B, C, H, W) in [-1, 1] -> (B, ...), each image by itself, differentiable. Whether
            it is linear is measured, and its adjoint is derived.
        name: what manifests call it; by default its own name.
    """
    name = name or getattr(forward, "__qualname__", type(forward).__qualname__)
    return Custom(of=Function(name, forward))


def from_deepinv(physics: Any, y: Tensor) -> Measured:
    """Return the operator of a `deepinv.physics.Physics`, and its measurements, in our units.

    With a linear A, y = A (x + 1) / 2 + sigma noise of x in [-1, 1] is 2 y - A 1 = A x + 2 sigma
    noise. Otherwise y and sigma stay as they are, and the operator is of (x + 1) / 2.

    Args:
        y: (B, ...) of images in [0, 1].

    Raises:
        SettingError: the noise is neither Gaussian nor absent, or A is not the same for all images.
        ImportError: deepinv is not installed.
    """
    from deepinv.physics import GaussianNoise, LinearPhysics, ZeroNoise  # pyright: ignore

    noise, name = physics.noise_model, type(physics).__name__
    silent = isinstance(noise, ZeroNoise)
    sigmas = torch.as_tensor(0.0 if silent else getattr(noise, "sigma", 0.0)).unique()
    if not (silent or isinstance(noise, GaussianNoise)) or len(sigmas) > 1:
        raise out_of_range("physics", "of Gaussian noise of one sigma", type(noise).__name__)
    sigma = float(sigmas)
    if not isinstance(physics, LinearPhysics):
        return Measured(y, from_azula(lambda x: physics.A((x + 1) / 2), name), sigma)
    of_ones = physics.A(torch.ones_like(physics.A_adjoint(y[:1])))
    if of_ones.shape != y[:1].shape:
        raise out_of_range("physics", "the same for all images", name)
    return Measured(2 * y - of_ones, from_azula(physics.A, name), 2 * sigma)
