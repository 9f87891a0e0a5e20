"""Recipe -> LoopSettings; Recipe -> PlayerSettings of every player."""

from adm.adversarial import CRITIC, GENERATOR
from adm.recipes.schema import GANRecipe, Recipe
from adm.recipes.settings import TrainSettings
from adm.training.batches import Augmentation
from adm.training.players import MODEL
from adm.training.settings import LoopSettings, PlayerSettings, Policy


def loop_settings(recipe: Recipe) -> LoopSettings:
    """Return the settings that all players of a run share."""
    train = recipe.train
    return LoopSettings(
        steps=train.steps,
        batch_size=train.batch_size,
        warmup_steps=train.warmup_steps,
        anneal=train.anneal,
        gradient_clip=train.gradient_clip,
        give_up_after=train.give_up_after,
        seed=train.seed,
        augmentation=Augmentation(recipe.data.flip, recipe.data.crop == "random"),
        policy=Policy(
            train.keep_last, train.keep_best, train.keep_every_steps, train.save_every_steps
        ),
    )


def player_settings(recipe: Recipe) -> dict[str, PlayerSettings]:
    """Return the settings of every player that a recipe trains, by name."""
    train = recipe.train
    if not isinstance(recipe, GANRecipe):
        return {MODEL: _settings(train, train.learning_rate)}
    how = recipe.adversarial
    rates = {GENERATOR: train.learning_rate, CRITIC: how.discriminator_rate}
    return {name: _settings(train, rate, how.first_decay) for name, rate in rates.items()}


def _settings(
    train: TrainSettings, learning_rate: float, first_decay: float = 0.9
) -> PlayerSettings:
    return PlayerSettings(
        learning_rate=learning_rate,
        first_decay=first_decay,
        weight_decay=train.weight_decay,
        ema_decay=train.ema_decay,
        ema_others=train.ema_others,
        ema_widths=train.ema_widths,
        precision=train.precision,
        checkpoint_activations=train.checkpoint_activations,
    )
