"""a run's state <-> a folder that describes itself: safetensors and JSON, never code.

A run's folder holds `checkpoints/step-0001000/`, and there:
    model.safetensors      the averaged weights, with the recipe in the file's metadata
    raw.safetensors        the weights as the optimizer left them
    optimizer.safetensors  its moments
    importance.safetensors the recent losses of each level, where levels are drawn by them
    state.json             the step
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adm.losses import TimestepImportance
from adm.training.ema import EMA

STEP_FOLDER = "step-{:07d}"


@dataclass(frozen=True, eq=False)
class RunState:
    """All that changes while a run goes on, besides its step; each is changed in place."""

    network: nn.Module
    ema: EMA
    optimizer: torch.optim.Optimizer
    importance: TimestepImportance | None = None


def save_model(path: Path, weights: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write one self-describing model file; `metadata` values become JSON."""
    described = {"format": "adm", **{k: json.dumps(v) for k, v in metadata.items()}}
    save_file({k: v.detach().contiguous().cpu() for k, v in weights.items()}, path, described)


def load_model(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a model file written by `save_model`: float32 weights, and the metadata.

    Raises:
        ValueError: the file is truncated, or no model of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = dict(file.metadata() or {})
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is no model file or is damaged ({error}); copy it again, or give a file "
            "that `adm train` wrote"
        ) from None
    if described.pop("format", None) != "adm" or not {"recipe", "classes"} <= described.keys():
        raise ValueError(f"{path} carries no recipe: it was not written by adm; import it first")
    metadata = {k: json.loads(v) for k, v in described.items()}
    return {k: v.float() for k, v in weights.items()}, metadata


def latest(run: Path) -> Path | None:
    """The newest whole checkpoint of a run, if it has one."""
    found = sorted((run / "checkpoints").glob("step-*/state.json"))
    return found[-1].parent if found else None


def save(
    run: Path,
    step: int,
    state: RunState,
    metadata: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write a checkpoint whole or not at all, and remove all but the newest `keep`."""
    folder = run / "checkpoints" / STEP_FOLDER.format(step)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_model(part / "model.safetensors", state.ema.weights, metadata | {"step": step})
    save_model(part / "raw.safetensors", dict(state.network.named_parameters()), metadata)
    moments, counters = _flatten(state.optimizer, state.network)
    save_file(moments, part / "optimizer.safetensors")
    if state.importance is not None:
        save_file(_recent_losses(state.importance), part / "importance.safetensors")
    (part / "state.json").write_text(json.dumps({"step": step, "optimizer": counters}))
    for file in part.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    for old in sorted(folder.parent.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return folder


def restore(folder: Path, state: RunState) -> int:
    """Load a checkpoint into built objects.

    Returns:
        the number of steps done.

    Raises:
        ValueError: one of its files is damaged.
    """
    raw, _ = load_model(folder / "raw.safetensors")
    state.network.load_state_dict(raw)
    state.ema.load(load_model(folder / "model.safetensors")[0])
    held = json.loads((folder / "state.json").read_text())
    moments = _tensors(folder / "optimizer.safetensors")
    _unflatten(state.optimizer, state.network, moments, held["optimizer"])
    if state.importance is not None:
        held_losses = _tensors(folder / "importance.safetensors")
        for name, values in _recent_losses(state.importance).items():
            values.copy_(held_losses[name])
    return held["step"]


def _recent_losses(importance: TimestepImportance) -> dict[str, Tensor]:
    """Its two arrays as tensors that share their memory."""
    return {
        "history": torch.from_numpy(importance.history),
        "counts": torch.from_numpy(importance.counts),
    }


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is missing or damaged ({error}); remove {path.parent} to continue from the "
            "checkpoint before it"
        ) from None


def _flatten(
    optimizer: torch.optim.Optimizer, network: nn.Module
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """AdamW's state by parameter name: moments, and the step counters."""
    moments, counters = {}, {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            if key == "step":
                counters[name] = float(value)
            else:
                moments[f"{key}/{name}"] = value.detach().contiguous().cpu()
    return moments, counters


def _unflatten(
    optimizer: torch.optim.Optimizer,
    network: nn.Module,
    moments: dict[str, Tensor],
    counters: dict[str, float],
) -> None:
    for name, parameter in network.named_parameters():
        state = {key: moments[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
        moved = {key: value.to(parameter.device) for key, value in state.items()}
        optimizer.state[parameter] = {"step": torch.tensor(counters[name]), **moved}
