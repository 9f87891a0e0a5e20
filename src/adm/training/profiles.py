"""Widths and steps of stored averages, a wanted width -> Fit: their linear combination.

A power-function average at time t is the integral of the weights of times tau times its profile

    p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),    0 <= tau <= t.

A linear combination of stored averages has the same combination of their profiles. The one whose
profile is closest to the wanted profile approximates an average that was not tracked (Karras et al.
2024, section 3 and appendix C).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adm.training.ema import Power

NEGLIGIBLE = 1e-7  # of the largest share; a float32 sum does not resolve less
POOR = 0.05  # error of a profile above which users are warned


class Snapshot(NamedTuple):
    """A stored average: its state after `step` steps, its width, and its file."""

    step: int
    width: float
    path: Path = Path()


class Fit(NamedTuple):
    """An approximation of an average by a linear combination of stored ones.

    Attributes:
        width: the wanted width.
        step: the step at which the wanted average ends.
        shares: the stored averages with non-zero coefficients, which sum to 1.
        error: L2 distance of the two profiles, relative to the norm of the wanted one.
    """

    width: float
    step: int
    shares: tuple[tuple[Snapshot, float], ...]
    error: float

    @property
    def poor(self) -> bool:
        """Whether the approximation differs visibly from the wanted average."""
        return self.error > POOR

    def profile(self, times: np.ndarray) -> np.ndarray:
        """Return the (N,) values of the combined profile at `times` (N,), in steps."""
        parts = [share * profile(s.width, s.step, times) for s, share in self.shares]
        return np.sum(parts, axis=0)


def profile(width: float, step: float, times: np.ndarray) -> np.ndarray:
    """Return the (N,) values of the profile of a power-function average that ends at `step`.

    Args:
        width: relative to `step`.
        times: (N,) in steps. The integral of the profile over all of them is 1.
    """
    gamma = Power(width).gamma
    early = np.clip(times / step, 0, 1)
    return np.where(times <= step, (gamma + 1) * early**gamma / step, 0.0)


def inner_product(
    gamma: np.ndarray, step: np.ndarray, other_gamma: np.ndarray, other_step: np.ndarray
) -> np.ndarray:
    """Return the integrals of the products of profiles, in 1 / steps; arrays broadcast.

    For t_a <= t_b, the integral over [0, t_a] is
    (gamma_a + 1)(gamma_b + 1) / (gamma_a + gamma_b + 1) (t_a / t_b)^gamma_b / t_b.
    """
    late = np.maximum(step, other_step)
    rising = np.where(step <= other_step, other_gamma, gamma)
    height = (gamma + 1) * (other_gamma + 1) / (gamma + other_gamma + 1)
    return height * (np.minimum(step, other_step) / late) ** rising / late


def fit(snapshots: Sequence[Snapshot], width: float, step: int) -> Fit:
    """Fit the profile of an average by those of the snapshots up to `step`.

    Constrained least squares in float64: the coefficients sum to 1, so that the average of constant
    weights is exact.

    Raises:
        ValueError: no average has a snapshot at `step`, or `width` is out of range.
    """
    used = sorted(one for one in snapshots if one.step <= step)
    if not used or used[-1].step != step:
        steps = sorted({one.step for one in snapshots}, key=lambda one: abs(one - step))
        near = " or ".join(map(str, sorted(steps[:2]))) or "a step with stored averages"
        raise ValueError(f"no average was stored at step {step}; give {near}")
    gammas = np.array([Power(one.width).gamma for one in used])
    ends = np.array([float(one.step) for one in used])
    end, gamma = np.array(float(step)), np.array(Power(width).gamma)
    products = inner_product(gammas[:, None], ends[:, None], gammas, ends)
    with_wanted = inner_product(gammas, ends, gamma, end)
    shares = _least_squares(products, with_wanted)
    norm = inner_product(gamma, end, gamma, end)
    squared = norm - 2 * shares @ with_wanted + shares @ products @ shares
    shares[np.abs(shares) < NEGLIGIBLE * np.abs(shares).max()] = 0
    shares /= shares.sum()
    return Fit(
        width,
        step,
        tuple((used[i], float(shares[i])) for i in np.flatnonzero(shares)),
        error=float(np.sqrt(max(0.0, squared) / norm)),
    )


def _least_squares(products: np.ndarray, with_wanted: np.ndarray) -> np.ndarray:
    """Solve for (K,) coefficients that sum to 1, given (K, K) and (K,) inner products."""
    scale = np.diag(products) ** -0.5  # scaled, because early profiles have large norms
    count = len(scale)
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = products * scale[:, None] * scale
    system[count, :count] = system[:count, count] = scale / scale.max()
    target = np.append(with_wanted * scale, 1 / scale.max())
    return np.linalg.lstsq(system, target, rcond=1e-15)[0][:count] * scale
