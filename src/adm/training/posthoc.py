"""Run folder -> snapshots of its averages of a few widths -> weights of the average of any width.

The snapshots are in the folder `averages` of the run. Its SHA256SUMS lists those that are whole;
any other was left by a process that was killed.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from adm.app.notices import notice
from adm.processes import Devices
from adm.store.files import new_file
from adm.store.hashes import damaged_parts, read_sums, sha256, store_sums
from adm.training.checkpoint import save_model
from adm.training.disk import unwritten
from adm.training.ema import EMA, WIDEST, Power
from adm.training.header import entries_of, metadata_of
from adm.training.profiles import Fit, Snapshot, fit, inner_product, profile
from adm.training.spread import whole
from adm.training.weights import check_finite

__all__ = ["Fit", "Snapshot", "fit", "inner_product", "profile"]
FOLDER = "averages"
NAME = re.compile(r"step-(\d{7,12})\.width-([0-9.e+-]{1,30})\.safetensors")


def _found(run: Path) -> list[Snapshot]:
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


def _listed(folder: Path) -> dict[str, str]:
    """Return the hashes of the snapshots in a folder; without SHA256SUMS, they are made."""
    try:
        sums = read_sums(folder)
    except ValueError as error:
        sums = None
        notice(f"{error}; it is made again from the files that are there")
    if sums is not None:
        return sums
    return {path.name: sha256(path) for path in folder.glob("step-*.safetensors")}


def _unlist(folder: Path, names: Iterable[str]) -> None:
    """Remove files from the list of a folder, before they are replaced or removed."""
    if not folder.is_dir():
        return
    gone = frozenset(names)
    store_sums(folder, {name: held for name, held in _listed(folder).items() if name not in gone})


def _list(folder: Path, names: Iterable[str]) -> None:
    """Add files to the list of a folder, once they are written."""
    store_sums(folder, _listed(folder) | {name: sha256(folder / name) for name in names})


def thin(run: Path, regular: Callable[[int], bool], newest: int) -> None:
    """Remove partial files, and the averages that only an interruption has stored.

    If there are several players, this applies to the subfolder of each.

    Args:
        regular: returns whether an uninterrupted run stores averages at a step.
        newest: a step whose averages are kept in any case, because the run may resume from it.
    """
    for folder in (run, *(found.parent for found in run.glob(f"*/{FOLDER}"))):
        old = [one for one in _found(folder) if one.step < newest and not regular(one.step)]
        if old:
            _unlist(folder / FOLDER, [one.path.name for one in old])
        for one in old:
            one.path.unlink()
        for part in (folder / FOLDER).glob(".step-*.part"):
            part.unlink()


def stored(run: Path) -> list[Snapshot]:
    """Return the averages that a run has stored, by step and width.

    Raises:
        ValueError: there are none.
    """
    sums = _sums(run)
    found = [one for one in _found(run) if sums is None or one.path.name in sums]
    if not found:
        raise ValueError(
            f"{run} stores no averages of a stated width; train with "
            "settings=['train.ema_widths=0.05,0.1']"
        )
    return found


def _sums(run: Path) -> dict[str, str] | None:
    try:
        return read_sums(run / FOLDER)
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; copy the folder again") from None


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
        metadata: stored with the weights; see `checkpoint.save_model`.
        dtype: type of the stored weights. A tensor with values out of its range stays float32.

    Raises:
        OSError: a file cannot be written; no partial file is left.
    """
    failure: OSError | None = None
    kept = [(one, one.decay) for one in averages if isinstance(one.decay, Power)]
    if not kept:
        return
    names = [f"step-{step:07d}.{average.name}.safetensors" for average, _ in kept]
    devices.once(lambda: _unlist(run / FOLDER, names))
    for turn, (average, decay) in enumerate(kept):
        tensors = {key: whole(t) for key, t in average.weights.items()}  # collective
        if turn % devices.world == devices.rank and failure is None:
            narrow = {key: _narrowed(t, dtype) for key, t in tensors.items()}
            described = metadata | {"step": step, "width": decay.width}
            try:
                _written(run / FOLDER / names[turn], narrow, described)
            except OSError as error:
                failure = error
    devices.share_failure(failure)
    devices.once(lambda: _list(run / FOLDER, names))


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
    found = fit(snapshots, width, snapshots[-1].step if step is None else step)
    _check(run / FOLDER, [one for one, _ in found.shares])
    return _summed(found.shares), found


def write(run: Path, width: float, out: Path, step: int | None = None) -> Fit:
    """Reconstruct an average, and write it to `out` as a model file that can be sampled.

    Raises:
        ValueError: see `reconstruct`.
        OSError: the file cannot be written.
    """
    weights, found = reconstruct(run, width, step)
    last = max(found.shares)[0]
    metadata = entries_of(last.path)
    described = {"step": found.step, "width": width, "width_error": found.error}
    _written(out, weights, metadata | described)
    return found


def _check(folder: Path, used: Sequence[Snapshot]) -> None:
    """Raise ValueError for the first snapshot that is not the one that its name says."""
    if damaged := damaged_parts(folder, [one.path.name for one in used]):
        raise _refused(folder / damaged[0], "is damaged, or from another run")
    run = _run_of(used[-1].path)
    for one in used:
        if _run_of(one.path) != run:
            raise _refused(one.path, "is from another run")
        described = metadata_of(one.path)
        if (described.step, described.width) != (one.step, one.width):
            what = f"that of step {described.step} and width {described.width}"
            raise _refused(one.path, f"is damaged: it is {what}")


def _run_of(path: Path) -> dict[str, Any]:
    """Return what the metadata of a snapshot say about its run, which is equal for all of them."""
    try:
        entries = entries_of(path)
    except ValueError:
        raise _refused(path, "is damaged") from None
    return {key: entries.get(key) for key in ("classes", "images", "labels", "start")}


def _refused(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} {why}; remove that file, to use the others without it")


def _summed(shares: Iterable[tuple[Snapshot, float]]) -> dict[str, Tensor]:
    """Sum the snapshots, with one of their tensors in memory at a time."""
    total: dict[str, Tensor] = {}
    for one, share in shares:
        with _opened(one.path) as file:
            if total and total.keys() != set(file.keys()):
                raise _refused(one.path, "has the weights of another network")
            for key in file.keys():  # noqa: SIM118 (not a dictionary)
                part = file.get_tensor(key).float()
                check_finite(one.path, {key: part}, "remove that file")
                total.setdefault(key, torch.zeros_like(part)).add_(part, alpha=share)
    return total


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _refused(path, f"is damaged ({error})") from None


def _narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = tensor.to(dtype)
    return narrow if bool(narrow.isfinite().all()) else tensor


def _written(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write a model file atomically."""
    try:
        with new_file(path) as part:
            save_model(part, weights, metadata)
    except (OSError, SafetensorError) as error:
        raise unwritten(str(path), error) from None
