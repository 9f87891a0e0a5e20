"""RunState <-> file names, tensors and numbers of its checkpoint.

The files of a player (`model`, `raw`, `optimizer` and further averages) are in the checkpoint's
folder itself if there is one player, and in a subfolder of the player's name if there are several.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from adm.losses import TimestepImportance
from adm.training.players import Player, RunState
from adm.training.spread import fill
from adm.training.state import ONLY, Learning


def places(state: RunState) -> dict[str, str]:
    """Return the subfolder of each player, relative to the checkpoint folder, by name."""
    if len(state.players) == 1:
        return dict.fromkeys(state.players, "")
    return {name: f"{name}/" for name in state.players}


def tensors(state: RunState, moments: bool = True) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file, by file name; they share memory with the state.

    Args:
        moments: whether to include the optimizers' moments.
    """
    files = {
        place + file: held
        for name, place in places(state).items()
        for file, held in _of_player(state.players[name], moments).items()
    }
    if state.importance is not None:
        files["importance.safetensors"] = _recent_losses(state.importance)
    return files


def numbers(state: RunState) -> dict[str, Any]:
    """Return all state other than tensors, as JSON values."""
    own = {name: _own_numbers(player) for name, player in state.players.items()}
    if len(own) > 1:
        return {"bad_steps": state.bad_steps, "players": own}
    (one,) = own.values()
    return {
        "loss_scale": one["loss_scale"],
        "good_steps": one["good_steps"],
        "bad_steps": state.bad_steps,
        "optimizer": one["optimizer"],
    }


def numbers_of_players(state: RunState, held: dict[str, Learning]) -> dict[str, Learning]:
    """Return the numbers of each player.

    Args:
        held: those of a checkpoint, by player.

    Raises:
        ValueError: the checkpoint has other players than `state`.
    """
    if held.keys() == {ONLY} and len(state.players) == 1:
        return dict.fromkeys(state.players, held[ONLY])
    if held.keys() != state.players.keys():
        had = "one network" if held.keys() == {ONLY} else ", ".join(held)
        raise ValueError(f"it trains {had}, but this run trains {', '.join(state.players)}")
    return held


def restore_learning(player: Player, own: Learning, moments: dict[str, Tensor]) -> None:
    """Restore the loss scale and the optimizer state of a player.

    Args:
        own: the player's numbers, from `numbers_of_players`.
        moments: the tensors of the optimizer's file.
    """
    player.scale.value, player.scale.good = own.loss_scale, own.good_steps
    slots: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in moments.items():
        slot, _, name = key.partition("/")
        slots[name][slot] = value
    for name, parameter in player.network.named_parameters():
        found: dict[str, Tensor] = {}
        if name in own.optimizer:  # not before the first step, or without a count of steps
            found["step"] = torch.tensor(own.optimizer[name])
        for slot, value in slots[name].items():
            found[slot] = _like(parameter, value)
        if found:
            player.optimizer.state[parameter] = found


def _of_player(player: Player, moments: bool) -> dict[str, dict[str, Tensor]]:
    buffers = _buffers(player.network)
    files = {
        "model.safetensors": {**player.ema.weights, **buffers},
        "raw.safetensors": {**dict(player.network.named_parameters()), **buffers},
    }
    if moments:
        files["optimizer.safetensors"] = dict(_moments(player))
    for average in player.averages[1:]:
        files[f"{average.name}.safetensors"] = average.weights
    return files


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return the persistent buffers, such as the statistics of batch normalisation."""
    kept = network.state_dict().keys()  # without non-persistent buffers
    return {name: buffer for name, buffer in network.named_buffers() if name in kept}


def _moments(player: Player) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in player.network.named_parameters():
        # `get`, because the state is a defaultdict, and indexing it would add an entry.
        for key, value in player.optimizer.state.get(parameter, {}).items():
            if key != "step" and isinstance(value, Tensor):
                yield f"{key}/{name}", value


def _own_numbers(player: Player) -> dict[str, Any]:
    states = {
        name: player.optimizer.state.get(parameter, {})
        for name, parameter in player.network.named_parameters()
    }
    return {
        "loss_scale": player.scale.value,
        "good_steps": player.scale.good,
        "optimizer": {n: float(held["step"]) for n, held in states.items() if "step" in held},
    }


def _like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return a moment; one of its parameter's shape is sharded as the parameter is."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    slot = torch.zeros_like(parameter)
    fill(slot, value)
    return slot


def _recent_losses(importance: TimestepImportance) -> dict[str, Tensor]:
    """Return the two arrays as tensors that share their memory."""
    return {
        "history": torch.from_numpy(importance.history),
        "counts": torch.from_numpy(importance.counts),
    }
