"""Folder -> a run of two networks that learn from each other and from a third that does not.

A critic takes two steps of AdamW on a batch, and then an actor one of momentum. Both scale their
loss as float16 does, and at chosen steps a gradient overflows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from adm.data import Source
from adm.images import to_float
from adm.networks import Dropout, key_dropout
from adm.processes import Devices
from adm.training import loop
from adm.training.batches import Augmentation, Batch
from adm.training.ema import averages
from adm.training.objective import Objective, Outcome
from adm.training.players import LossScale, Player, RunState
from adm.training.settings import TrainSettings
from adm.training.update import Learn, Turn, Update, reported

CPU = Devices(torch.device("cpu"))
PIXELS = 64
ROUNDS = 2  # steps of the critic a turn
RATES = {"critic": 0.01, "actor": 0.2}
METADATA = {"recipe": {}, "classes": []}
MIRRORED = Augmentation(flip=True)
SETTINGS = TrainSettings(
    steps=6,
    batch_size=8,
    warmup_steps=2,
    anneal=True,
    learning_rate=0.1,
    give_up_after=3,
    save_every_steps=3,
)


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "critic": nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, 8), nn.LayerNorm(8), Dropout(0.2), nn.Linear(8, 1)
        ),
        "actor": nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, PIXELS), nn.Unflatten(1, (1, 8, 8))),
        "judge": nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 4), nn.Dropout(0.5)),
    }


def criticise(actor: nn.Module, overflows: bool) -> Objective:
    """Distinguish generated images from real ones."""

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        with torch.no_grad():
            generated = actor(batch.draws.noise)
        return outcome(softplus(network(generated) - network(to_float(batch.images))), overflows)

    return objective


def act(critic: nn.Module, judge: nn.Module, overflows: bool) -> Objective:
    """Be classified as real, and match the images in the judge's features."""

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        key_dropout(critic, batch.draws.key)
        generated = network(batch.draws.noise)
        apart = judge(generated) - judge(to_float(batch.images))
        return outcome(
            softplus(-critic(generated)) + apart.square().mean(1, keepdim=True), overflows
        )

    return objective


def outcome(loss: Tensor, overflows: bool) -> Outcome:
    loss = loss.squeeze(1)
    if overflows:  # the gradient alone
        loss.register_hook(lambda gradient: gradient * torch.inf)
    return Outcome(loss, {"loss": loss.detach()}, torch.zeros(len(loss)))


def turn(critic_overflows: Sequence[int] = (), actor_overflows: Sequence[int] = ()) -> Turn:
    def taken(state: RunState, batch: Batch, learn: Learn) -> dict[str, Update]:
        critic, actor, judge = (*state.players.values(), state.frozen["judge"])
        critic_objective = criticise(actor.network, state.step in critic_overflows)
        actor_objective = act(critic.network, judge, state.step in actor_overflows)
        updates = [learn(critic, critic_objective, batch) for _ in range(ROUNDS)]
        return {"critic": reported(updates), "actor": learn(actor, actor_objective, batch)}

    return taken


def state_of(scaled: bool = True) -> RunState:
    built = networks()

    def player(name: str, optimizer: Callable[..., torch.optim.Optimizer], decay: float) -> Player:
        network = built[name].train()
        return Player(
            network,
            averages(network, decay, (0.5, 0.3)),
            optimizer(network.parameters(), lr=RATES[name]),
            LossScale.of("float16" if scaled else "float32"),
            network,
        )

    def momentum(parameters: object, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9)  # type: ignore[arg-type]

    players = {
        "critic": player("critic", torch.optim.AdamW, 0.9),
        "actor": player("actor", momentum, 0.99),
    }
    return RunState(players, {"judge": built["judge"]})


def run_of(
    folder: Path,
    source: Source,
    *,
    state: RunState | None = None,
    taken: Turn | None = None,
    settings: TrainSettings = SETTINGS,
) -> loop.Run:
    return loop.Run(
        state=state or state_of(),
        turn=taken or turn(critic_overflows=(1, 2), actor_overflows=(3,)),
        source=source,
        settings=settings,
        folder=folder,
        metadata=METADATA,
        devices=CPU,
        augmentation=MIRRORED,
    )
