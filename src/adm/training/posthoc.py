"""Snapshots of averages of a few widths -> weights of the average of any width.

A power-function average at time t counts the weights of time tau by its profile

    p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),    0 <= tau <= t.

A sum of stored averages is an average whose profile is the sum of theirs, so the sum whose profile
comes nearest the wanted one is nearly the average that was never tracked (Karras et al. 2024,
section 3 and appendix C).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adm.files import new_file
from adm.processes import Devices
from adm.training.checkpoint import described_by, save_model
from adm.training.disk import unwritten
from adm.training.ema import EMA, Power
from adm.training.spread import whole

FOLDER = "averages"
NAME = re.compile(r"step-(\d+)\.width-([0-9.e+-]+)\.safetensors")
NEGLIGIBLE = 1e-7  # of the largest share: what a float32 sum would not notice
POOR = 0.05  # error of a profile from which users are warned


class Snapshot(NamedTuple):
    """An average as it was after `step` steps."""

    step: int
    width: float
    path: Path = Path()


class Fit(NamedTuple):
    """A wanted average as a sum of stored ones.

    Attributes:
        width: wanted.
        step: at which the wanted average ends.
        shares: of the stored averages that count, which sum to 1.
        error: the distance of the two profiles as a share of the wanted one's norm (L2).
    """

    width: float
    step: int
    shares: tuple[tuple[Snapshot, float], ...]
    error: float

    @property
    def poor(self) -> bool:
        """Whether the sum is another average than the one that was asked for."""
        return self.error > POOR

    def profile(self, times: np.ndarray) -> np.ndarray:
        """What the sum counts the weights of these times (N,) by, in steps."""
        parts = [share * profile(s.width, s.step, times) for s, share in self.shares]
        return np.sum(parts, axis=0)


def profile(width: float, step: float, times: np.ndarray) -> np.ndarray:
    """(N,) what a power-function average at `step` counts the weights of `times` by; sums to 1."""
    gamma = Power(width).gamma
    early = np.clip(times / step, 0, 1)
    return np.where(times <= step, (gamma + 1) * early**gamma / step, 0.0)


def inner_product(
    gamma: np.ndarray, step: np.ndarray, other_gamma: np.ndarray, other_step: np.ndarray
) -> np.ndarray:
    """The integrals of the products of two profiles, in 1 / steps; arrays broadcast.

    With t_a <= t_b it is (gamma_a + 1)(gamma_b + 1) / (gamma_a + gamma_b + 1)
    (t_a / t_b)^gamma_b / t_b: the first profile ends where the second still rises.
    """
    late = np.maximum(step, other_step)
    rising = np.where(step <= other_step, other_gamma, gamma)
    height = (gamma + 1) * (other_gamma + 1) / (gamma + other_gamma + 1)
    return height * (np.minimum(step, other_step) / late) ** rising / late


def fit(snapshots: Sequence[Snapshot], width: float, step: int) -> Fit:
    """The sum of snapshots up to `step` whose profile is nearest the wanted one.

    Least squares with shares that sum to 1, so that weights which stood still are their own
    average; in float64.

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
    """(K, K) and (K,) inner products -> (K,) shares that sum to 1."""
    scale = np.diag(products) ** -0.5  # early profiles are narrow and high
    count = len(scale)
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = products * scale[:, None] * scale
    system[count, :count] = system[:count, count] = scale / scale.max()
    target = np.append(with_wanted * scale, 1 / scale.max())
    return np.linalg.lstsq(system, target, rcond=1e-15)[0][:count] * scale


def _found(run: Path) -> list[Snapshot]:
    return sorted(
        Snapshot(int(match[1]), float(match[2]), path)
        for path in (run / FOLDER).glob("step-*.safetensors")
        if (match := NAME.fullmatch(path.name))
    )


def thin(run: Path, regular: Callable[[int], bool], newest: int) -> None:
    """Remove the averages of interruptions, which an uninterrupted run has not, and half files.

    The players of a run of several keep theirs in a folder each, and are treated alike.

    Args:
        regular: whether a run that is not interrupted stores averages at a step.
        newest: the step whose averages stay in any case, for a run may go on from there.
    """
    for folder in (run, *(found.parent for found in run.glob(f"*/{FOLDER}"))):
        for one in _found(folder):
            if one.step < newest and not regular(one.step):
                one.path.unlink()
        for part in (folder / FOLDER).glob(".step-*.part"):
            part.unlink()


def stored(run: Path) -> list[Snapshot]:
    """The averages that a run has stored, by step and width.

    Raises:
        ValueError: there are none.
    """
    found = _found(run)
    if not found:
        raise ValueError(
            f"{run} stores no averages of a stated width; train with "
            "settings=['train.ema_widths=0.05,0.1']"
        )
    return found


def snapshot(
    run: Path,
    step: int,
    averages: Sequence[EMA],
    metadata: dict[str, Any],
    devices: Devices,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Store the power-function averages after `step` steps; other averages are passed over.

    Every process writes the files that fall to it. A tensor that `dtype` cannot hold stays float32.

    Raises:
        OSError: a file cannot be written; nothing is left of it.
    """
    failure: OSError | None = None
    kept = [(one, one.decay) for one in averages if isinstance(one.decay, Power)]
    for turn, (average, decay) in enumerate(kept):
        name = f"step-{step:07d}.{average.name}.safetensors"
        tensors = {key: whole(t) for key, t in average.weights.items()}  # together, if in parts
        if turn % devices.world == devices.rank and failure is None:
            narrow = {key: _narrowed(t, dtype) for key, t in tensors.items()}
            described = metadata | {"step": step, "width": decay.width}
            try:
                _written(run / FOLDER / name, narrow, described)
            except OSError as error:
                failure = error
    devices.share_failure(failure)


def reconstruct(run: Path, width: float, step: int | None = None) -> tuple[dict[str, Tensor], Fit]:
    """The average of any width, from those that a run has stored.

    Args:
        width: relative to `step`, in (0, 0.289).
        step: at which it ends, one at which averages were stored; the last by default.

    Returns:
        Float32 weights by name, and how near they come to what was asked for.

    Raises:
        ValueError: nothing is stored, or not at `step`, or a file is damaged.
    """
    snapshots = stored(run)
    found = fit(snapshots, width, snapshots[-1].step if step is None else step)
    return _summed(found.shares), found


def write(run: Path, width: float, out: Path, step: int | None = None) -> Fit:
    """Reconstruct an average as a model file that can be sampled.

    Raises:
        ValueError: see `reconstruct`.
        OSError: the file cannot be written.
    """
    weights, found = reconstruct(run, width, step)
    last = max(found.shares)[0]
    with _opened(last.path) as file:
        metadata = described_by(file.metadata())
    described = {"step": found.step, "width": width, "width_error": found.error}
    _written(out, weights, metadata | described)
    return found


def _summed(shares: Iterable[tuple[Snapshot, float]]) -> dict[str, Tensor]:
    """A tensor of a snapshot in memory at a time, beside the sum."""
    total: dict[str, Tensor] = {}
    for one, share in shares:
        with _opened(one.path) as file:
            if total and total.keys() != set(file.keys()):
                raise ValueError(f"{one.path} is of another network; remove it")
            for key in file.keys():  # noqa: SIM118 (it is no dictionary)
                part = file.get_tensor(key).float()
                total.setdefault(key, torch.zeros_like(part)).add_(part, alpha=share)
    return total


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove it, and the others are used without it"
        ) from None


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = tensor.to(dtype)
    return narrow if bool(narrow.isfinite().all()) else tensor


def _written(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """A model file under its name once the disk holds all of it."""
    try:
        with new_file(path) as part:
            save_model(part, weights, metadata)
    except (OSError, SafetensorError) as error:
        raise unwritten(str(path), error) from None
