"""a run's state <-> a folder that describes itself: safetensors and JSON, never code.

A run's folder holds `checkpoints/step-0001000/`, and there:
    model.safetensors      the averaged weights, with the recipe in the file's metadata
    raw.safetensors        the weights as the optimizer left them
    optimizer.safetensors  its moments
    state.json             the step
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adm.training.ema import EMA

STEP_FOLDER = "step-{:07d}"


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
    if described.pop("format", None) != "adm" or "recipe" not in described:
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
    network: nn.Module,
    ema: EMA,
    optimizer: torch.optim.Optimizer,
    metadata: dict[str, Any],
    keep: int = 2,
) -> Path:
    """Write a checkpoint whole or not at all, and remove all but the newest `keep`."""
    folder = run / "checkpoints" / STEP_FOLDER.format(step)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_model(part / "model.safetensors", ema.weights, metadata | {"step": step})
    save_model(part / "raw.safetensors", dict(network.named_parameters()), metadata)
    moments, counters = _flatten(optimizer, network)
    save_file(moments, part / "optimizer.safetensors")
    (part / "state.json").write_text(json.dumps({"step": step, "optimizer": counters}))
    for file in part.iterdir():
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    for old in sorted(folder.parent.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return folder


def restore(folder: Path, network: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint into built objects; returns the number of steps done."""
    raw, _ = load_model(folder / "raw.safetensors")
    network.load_state_dict(raw)
    ema.load(load_model(folder / "model.safetensors")[0])
    state = json.loads((folder / "state.json").read_text())
    moments = load_file(folder / "optimizer.safetensors")
    _unflatten(optimizer, network, moments, state["optimizer"])
    return state["step"]


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
