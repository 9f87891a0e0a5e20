"""RunState, Batch -> Updates: the steps of a discriminator, then one of its generator."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from adm.networks.biggan import advance
from adm.training.batches import Batch
from adm.training.objective import Objective
from adm.training.players import RunState
from adm.training.update import Learn, Turn, Update, reported

GENERATOR, CRITIC = "generator", "discriminator"  # the players, of which the first is the model


def adversarial_turn(generator: Objective, discriminator: Objective, steps: int) -> Turn:
    """Return the turn that trains a discriminator for some steps, and then its generator.

    The batch is divided into a part for each step of the discriminator. The generator learns from
    the labels of the last one.

    Args:
        generator, discriminator: the objectives of the two players.
        steps: of the discriminator.
    """

    def turn(state: RunState, batch: Batch, learn: Learn) -> dict[str, Update]:
        maker, critic = state.players[GENERATOR], state.players[CRITIC]
        # Every steps-th row, so that the parts do not depend on the number of processes.
        parts = [batch.part(first, batch.size, steps) for first in range(steps)]
        updates = list[Update]()
        for part in parts:
            advance(critic.network)
            updates.append(learn(critic, discriminator, part, parts=steps))
        advance(maker.network)
        with _fixed(critic.network):
            update = learn(maker, generator, parts[-1], parts=steps)
        return {GENERATOR: update, CRITIC: reported(updates)}

    return turn


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of the weights within the context."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
