"""Generator, discriminator, Batch -> Updates: two networks learn against each other."""

from adm.adversarial.latent import truncated
from adm.adversarial.objectives import discriminator_objective, generator_objective
from adm.adversarial.sampling import LatentSampling
from adm.adversarial.settings import Adversarial, Change
from adm.adversarial.turn import CRITIC, GENERATOR, adversarial_turn

__all__ = [
    "CRITIC",
    "GENERATOR",
    "Adversarial",
    "Change",
    "LatentSampling",
    "adversarial_turn",
    "discriminator_objective",
    "generator_objective",
    "truncated",
]
