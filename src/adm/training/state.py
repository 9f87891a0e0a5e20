"""state.json of a checkpoint -> State, without loading torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adm.store.parsed import as_type, read_json
from adm.training.header import Count, Steps

FILE = "state.json"
ONLY = ""  # the name of the player of a checkpoint that has one: its numbers are not in `players`
OF_PLAYER = ("loss_scale", "good_steps", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Learning:
    """The numbers of a player.

    Attributes:
        loss_scale: the factor of the loss, infinite after more than a million steps without an
            overflow.
        good_steps: consecutive steps without an overflow.
        optimizer: the optimizer's count of steps, by the name of the parameter.
    """

    loss_scale: Annotated[float, Field(gt=0)] = 1.0
    good_steps: Count = 0
    optimizer: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, kw_only=True)
class State:
    """All state of a run other than tensors.

    Attributes:
        step: optimizer steps done.
        micro_batch: size of the micro-batches so far.
        validation: validation loss after this step; None if it was not measured.
        log: SHA-256 of the lines of the log up to this step, if it is known.
        bad_steps: consecutive steps up to this one that were not finite.
        players: the numbers of each player by name; under the name `ONLY` if there is one.
    """

    step: Steps
    micro_batch: Annotated[int, Field(gt=0, lt=1 << 31)]
    bad_steps: Count
    players: Annotated[dict[str, Learning], Field(min_length=1)]
    validation: Annotated[float, Field(allow_inf_nan=False)] | None = None
    log: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


def read_state(folder: Path) -> State:
    """Read the numbers of a checkpoint.

    Raises:
        ValueError: state.json is missing or damaged.
    """
    path = folder / FILE
    try:
        return as_type(State, _by_player(read_json(path)))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or damaged ({error})") from None


def _by_player(value: Any) -> Any:
    """Move the numbers of the only player to where those of several are."""
    if not isinstance(value, dict) or "players" in value:
        return value
    own = {key: value[key] for key in OF_PLAYER if key in value}
    return {**value, "players": {ONLY: own}}
