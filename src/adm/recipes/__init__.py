"""Name -> Recipe: the typed, frozen configuration of a run."""

from collections.abc import Callable
from difflib import get_close_matches

from adm.recipes import distilled, emoji, paper, photos, small
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe().name: recipe
    for recipe in (
        small.fashion,
        small.fashion_classifier,
        small.fashion_judge,
        small.digits,
        small.digits_classifier,
        small.fashion_upsampler,
        small.digits_upsampler,
        distilled.fashion_distilled,
        distilled.emoji_distilled,
        distilled.fashion_consistency,
        photos.photos,
        photos.photos_classifier,
        photos.photos_upsampler,
        emoji.emoji,
        emoji.emoji_classifier,
        emoji.emoji_judge,
        emoji.emoji_upsampler,
        emoji.emoji_weak,
        *paper.released_recipes(),
        paper.imagenet128_ablated,
    )
}


def recipe(name: str) -> Recipe:
    """Return the recipe of a name.

    Raises:
        ValueError: there is no such recipe; names similar ones.
    """
    if name not in RECIPES:
        near = " or ".join(get_close_matches(name, RECIPES)) or "one that `adm recipes` lists"
        raise ValueError(f"no recipe {name!r}; did you mean {near}?")
    return RECIPES[name]()


__all__ = ["RECIPES", "ClassifierRecipe", "DiffusionRecipe", "Recipe", "recipe"]
