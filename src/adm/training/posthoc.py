"""Run folder -> snapshots of its averages of a few widths -> weights of the average of any width.

The snapshots are in the folder `averages` of the run. A power-function average at time t is the
integral of the weights of times tau times its profile

    p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),    0 <= tau <= t.

A linear combination of stored averages has the same combination of their profiles. The one whose
profile is closest to the target profile approximates an average that was not tracked (Karras et al.
2024, section 3 and appendix C).
"""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adm.networks import shapes_of
from adm.processes import Devices
from adm.shown import shown
from adm.spec import SettingError
from adm.store.files import remove
from adm.training.ema import EMA, WIDEST, Power
from adm.training.model_file import check_finite, entries_of, load_weights, save_model
from adm.training.spread import whole

FOLDER = "averages"
NAME = re.compile(r"step-(\d{7,12})\.width-([0-9.e+-]{1,30})\.safetensors")
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
        width: the target width.
        step: the step at which the target average ends.
        shares: the stored averages with non-zero coefficients, which sum to 1.
        error: L2 distance of the two profiles, relative to the norm of the target's.
    """

    width: float
    step: int
    shares: tuple[tuple[Snapshot, float], ...]
    error: float

    @property
    def poor(self) -> bool:
        """Whether the approximation differs visibly from the target."""
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
        SettingError: no average has a snapshot at `step`, or `width` is out of range.
    """
    used = sorted(one for one in snapshots if one.step <= step)
    if not used or used[-1].step != step:
        steps = sorted({one.step for one in snapshots}, key=lambda one: abs(one - step))
        near = " or ".join(map(str, sorted(steps[:2]))) or "a step with stored averages"
        raise SettingError("step", "one with stored averages", step, f"give {near}")
    gammas = np.array([Power(one.width).gamma for one in used])
    ends = np.array([float(one.step) for one in used])
    end, gamma = np.array(float(step)), np.array(Power(width).gamma)
    products = inner_product(gammas[:, None], ends[:, None], gammas, ends)
    with_target = inner_product(gammas, ends, gamma, end)
    shares = _least_squares(products, with_target)
    norm = inner_product(gamma, end, gamma, end)
    squared = norm - 2 * shares @ with_target + shares @ products @ shares
    shares[np.abs(shares) < NEGLIGIBLE * np.abs(shares).max()] = 0
    shares /= shares.sum()
    return Fit(
        width,
        step,
        tuple((used[i], float(shares[i])) for i in np.flatnonzero(shares)),
        error=float(np.sqrt(max(0.0, squared) / norm)),
    )


def _least_squares(products: np.ndarray, with_target: np.ndarray) -> np.ndarray:
    """Solve for (K,) coefficients that sum to 1, given (K, K) and (K,) inner products."""
    scale = np.diag(products) ** -0.5  # scaled, because early profiles have large norms
    count = len(scale)
    system = np.zeros((count + 1, count + 1))
    system[:count, :count] = products * scale[:, None] * scale
    system[count, :count] = system[:count, count] = scale / scale.max()
    target = np.append(with_target * scale, 1 / scale.max())
    return np.linalg.lstsq(system, target, rcond=1e-15)[0][:count] * scale


def thin(run: Path, regular: Callable[[int], bool], newest: int) -> None:
    """Remove partial files, and the averages that only an interruption has stored.

    If there are several players, this applies to the subfolder of each.

    Args:
        regular: returns whether an uninterrupted run stores averages at a step.
        newest: a step whose averages are retained, because the run may resume from it.
    """
    for folder in (run, *(each.parent for each in run.glob(f"*/{FOLDER}"))):
        for one in _snapshots(folder):
            if one.step < newest and not regular(one.step):
                one.path.unlink()
        for part in (folder / FOLDER).glob(".step-*.part"):
            remove(part)


def stored(run: Path) -> list[Snapshot]:
    """Return the averages that a run has stored, by step and width.

    Raises:
        ValueError: there are none.
    """
    snapshots = _snapshots(run)
    if not snapshots:
        raise ValueError(
            f"{run} stores no averages of a stated width; a run does that with a setting such as "
            "train.ema_widths=0.05,0.1"
        )
    return snapshots


def _snapshots(run: Path) -> list[Snapshot]:
    return sorted(
        Snapshot(int(match[1]), width, path)
        for path in (run / FOLDER).glob("step-*.safetensors")
        if (match := NAME.fullmatch(path.name)) and 0 < (width := _number(match[2])) < WIDEST
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def snapshot(
    run: Path,
    step: int,
    averages: Sequence[EMA],
    metadata: dict[str, Any],
    devices: Devices,
    *,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Store the power-function averages after `step` steps, and no others.

    Every process must call; they share the writing of the files.

    Args:
        metadata: stored with the weights; see `save_model`.
        dtype: type of the stored weights. A tensor with values out of its range stays float32.

    Raises:
        OSError: a file cannot be written; no partial file is left.
    """
    failure: OSError | None = None
    power = [(each, each.decay) for each in averages if isinstance(each.decay, Power)]
    for turn, (average, decay) in enumerate(power):
        tensors = {key: whole(t) for key, t in average.weights.items()}  # collective
        if turn % devices.world == devices.rank and failure is None:
            narrow = {key: _narrow(t, dtype) for key, t in tensors.items()}
            name = f"step-{step:07d}.{average.name}.safetensors"
            described = metadata | {"step": step, "width": decay.width}
            try:
                save_model(run / FOLDER / name, narrow, described)
            except OSError as error:
                failure = error
    devices.share_failure(failure)


def reconstruct(run: Path, width: float, step: int | None = None) -> tuple[dict[str, Tensor], Fit]:
    """Reconstruct the average of any width from those that a run has stored.

    Args:
        run: the run folder.
        width: relative to `step`, in (0, 0.289).
        step: the step at which the average ends; one at which averages were stored. None for the
            last one.

    Returns:
        Float32 weights by name, and the fit with its error.

    Raises:
        ValueError: no averages are stored, none at `step`, or a file is damaged or from another
            step, width or run.
    """
    snapshots = stored(run)
    best = fit(snapshots, width, snapshots[-1].step if step is None else step)
    return _sum(best.shares), best


def write(run: Path, width: float, out: Path, step: int | None = None) -> Fit:
    """Reconstruct an average, and write it to `out` as a model file that can be sampled.

    Raises:
        ValueError: see `reconstruct`.
        OSError: the file cannot be written.
    """
    weights, best = reconstruct(run, width, step)
    last = max(best.shares)[0]
    described = {"step": best.step, "width": width, "width_error": best.error}
    save_model(out, weights, entries_of(last.path) | described)
    return best


def _of_run(one: Snapshot) -> dict[str, Any]:
    """Return the metadata of a snapshot that identify its run.

    Raises:
        ValueError: it is damaged, or of another step or width than in its name.
    """
    try:
        entries = entries_of(one.path)
    except ValueError:
        raise _refusal(one.path, "is damaged") from None
    step, width = entries.get("step"), entries.get("width")
    if (step, width) != (one.step, one.width):
        what = f"that of step {shown(step)} and width {shown(width)}"
        raise _refusal(one.path, f"is damaged: it is {what}")
    return {key: entries.get(key) for key in ("classes", "images", "labels", "start")}


def _refusal(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} {why}; remove that file, to use the others without it")


def _sum(shares: Sequence[tuple[Snapshot, float]]) -> dict[str, Tensor]:
    """Sum the snapshots of one run, with one of them in memory at a time."""
    run, total = _of_run(shares[-1][0]), dict[str, Tensor]()
    for one, share in shares:
        if _of_run(one) != run:
            raise _refusal(one.path, "is from another run")
        try:
            weights = load_weights(one.path)
        except ValueError:
            raise _refusal(one.path, "is damaged") from None
        total = total or {name: torch.zeros_like(value) for name, value in weights.items()}
        if shapes_of(weights) != shapes_of(total):
            raise _refusal(one.path, "has the weights of another network")
        check_finite(one.path, weights, "remove that file")
        for name, value in weights.items():
            total[name].add_(value, alpha=share)
    return total


def _narrow(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = tensor.to(dtype)
    return narrow if bool(narrow.isfinite().all()) else tensor
