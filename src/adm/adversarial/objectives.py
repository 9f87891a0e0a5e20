"""Two networks, Batch -> Outcome: the hinge loss of each image (Lim & Ye 2017)."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adm.adversarial.augment import UNIFORMS, augmented
from adm.adversarial.latent import normal, uniform
from adm.adversarial.settings import Change
from adm.images import to_float
from adm.networks.biggan import Discriminator, Generator
from adm.training.batches import Batch
from adm.training.objective import Objective, Outcome

# Draws of a training image: of the discriminator's step, then of the generator's.
NOISE, REAL_CHANGES, FAKE_CHANGES, OWN_NOISE, OWN_CHANGES = range(5)


class Autocast(Protocol):
    def __call__(self) -> torch.autocast: ...


def discriminator_objective(
    generator: Generator, kinds: Sequence[Change], autocast: Autocast
) -> Objective:
    """Return the discriminator's objective, relu(1 - D(x, y)) + relu(1 + D(G(z, y), y)).

    Generated images have the labels of the real ones.

    Args:
        generator: in training mode; it is not trained by this objective.
        kinds: augmentations of both.
        autocast: context of the networks' forward passes.
    """

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        key, label = batch.draws.key, _label(generator, batch)
        noise = normal(key, NOISE, generator.config.noise)
        with autocast(), torch.no_grad():
            generated = generator(noise, label)
        images = torch.cat([to_float(batch.images), generated])
        changes = [uniform(key, draw, UNIFORMS) for draw in (REAL_CHANGES, FAKE_CHANGES)]
        shown = augmented(images, torch.cat(changes), kinds)
        # One pass over both, as processes average the gradients of one pass.
        with autocast():
            logits = network(shown, None if label is None else label.repeat(2))
        real, fake = logits.chunk(2)
        loss = F.relu(1 - real) + F.relu(1 + fake)
        figures = {"loss": loss, "real": real, "generated": fake}
        return _outcome(loss, figures)

    return objective


def generator_objective(
    discriminator: Discriminator,
    kinds: Sequence[Change],
    autocast: Autocast,
    penalty: Callable[[], Tensor] | None = None,
) -> Objective:
    """Return the generator's objective, -D(G(z, y), y).

    Args:
        discriminator: it is not trained by this objective.
        kinds: augmentations of the generated images.
        autocast: context of the networks' forward passes.
        penalty: a scalar that is added, such as orthogonal regularisation.
    """

    def objective(network: nn.Module, batch: Batch) -> Outcome:
        key, label = batch.draws.key, _label(discriminator, batch)
        noise = normal(key, OWN_NOISE, discriminator.config.noise)
        changes = uniform(key, OWN_CHANGES, UNIFORMS)
        with autocast():
            generated = network(noise, label)
            loss = -discriminator(augmented(generated, changes, kinds), label)
        figures = {"loss": loss}
        if penalty is not None:
            loss = loss + penalty()
        return _outcome(loss, figures)

    return objective


def _label(network: Generator | Discriminator, batch: Batch) -> Tensor | None:
    return None if network.config.classes is None else batch.labels


def _outcome(loss: Tensor, shown: dict[str, Tensor]) -> Outcome:
    level = torch.zeros(len(loss), dtype=torch.int64, device=loss.device)
    return Outcome(loss, {name: value.detach() for name, value in shown.items()}, level)
