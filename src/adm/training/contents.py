"""RunState <-> file names, tensors and numbers of its checkpoint.

The files of a player (`model`, `raw`, `optimizer` and further averages) lie in the checkpoint's
folder itself where there is one player, and in a folder of the player's name where there are more.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from adm.losses import TimestepImportance
from adm.training.players import Player, RunState
from adm.training.spread import fill


def places(state: RunState) -> dict[str, str]:
    """Name of each player -> its folder, relative to the checkpoint's."""
    if len(state.players) == 1:
        return dict.fromkeys(state.players, "")
    return {name: f"{name}/" for name in state.players}


def tensors(state: RunState, moments: bool = True) -> dict[str, dict[str, Tensor]]:
    """File name -> its tensors, which share memory with the state's own."""
    files = {
        place + file: held
        for name, place in places(state).items()
        for file, held in _of_player(state.players[name], moments).items()
    }
    if state.importance is not None:
        files["importance.safetensors"] = _recent_losses(state.importance)
    return files


def numbers(state: RunState) -> dict[str, Any]:
    """All that is no tensor, as JSON values."""
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


def numbers_of_players(state: RunState, held: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What `numbers` gave -> each player's own, by name.

    Raises:
        ValueError: they are those of other players.
    """
    own = held.get("players")
    if own is None and len(state.players) == 1:
        return dict.fromkeys(state.players, held)
    if own is None or own.keys() != state.players.keys():
        had = "one network" if own is None else ", ".join(own)
        raise ValueError(f"it is of a run of {had}, and this one trains {', '.join(state.players)}")
    return own


def restore_learning(player: Player, own: dict[str, Any], moments: dict[str, Tensor]) -> None:
    """Give a player the loss scale and the optimizer's state that were saved.

    Args:
        own: from `numbers_of_players`.
        moments: of the optimizer's file.
    """
    player.scale.value, player.scale.good = own["loss_scale"], own["good_steps"]
    slots: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, value in moments.items():
        slot, _, name = key.partition("/")
        slots[name][slot] = value
    for name, parameter in player.network.named_parameters():
        found: dict[str, Tensor] = {}
        if name in own["optimizer"]:  # else no step was taken yet, or the optimizer counts none
            found["step"] = torch.tensor(own["optimizer"][name])
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
    """What a network keeps besides parameters, such as the statistics of batch normalisation."""
    kept = network.state_dict().keys()  # which leaves out what is no part of a model
    return {name: buffer for name, buffer in network.named_buffers() if name in kept}


def _moments(player: Player) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in player.network.named_parameters():
        # `get`, since asking for it would make an entry before the first step.
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
    """A moment, spread over the processes as its parameter is where it has its shape."""
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    slot = torch.zeros_like(parameter)
    fill(slot, value)
    return slot


def _recent_losses(importance: TimestepImportance) -> dict[str, Tensor]:
    """Its two arrays as tensors that share their memory."""
    return {
        "history": torch.from_numpy(importance.history),
        "counts": torch.from_numpy(importance.counts),
    }
