"""Nothing -> Listed: every model that has a name, what it is for, and where it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adm.models.pair import classifier_of, guides_of, weak_of
from adm.models.paths import SHIPPED, released
from adm.networks import ClassifierConfig, UNetConfig
from adm.recipes.released import LICENCE, PUBLIC, RELEASED, Released, public_name
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe, from_json
from adm.training.model_file import metadata_of

DATA = {
    "imagenet/": "ImageNet",
    "cifar10/": "CIFAR-10",
    "lsun/bedroom/": "LSUN bedroom",
    "lsun/cat/": "LSUN cat",
    "lsun/horse/": "LSUN horse",
}


@dataclass(frozen=True)
class Listed:
    """A model that has a name.

    Attributes:
        name: by which it is loaded.
        bytes: of its file; a lower bound for a released one that is not cached.
        licence: of its weights.
        use: what it makes, and with what.
        path: of its file on this machine; None if it is to be downloaded.
        page: where it was published; None for a shipped model.
    """

    name: str
    bytes: int
    licence: str
    use: str
    path: str | None
    page: str | None = None


def listed() -> Iterator[Listed]:
    """Yield the shipped models, then the released ones."""
    for path in sorted(SHIPPED.glob("*.safetensors")):
        recipe = from_json(metadata_of(path).recipe)
        yield Listed(path.stem, path.stat().st_size, "MIT", _of_recipe(path, recipe), str(path))
    for name, file in PUBLIC.items():
        known, path = RELEASED[file], released(name, download=False)
        cached = path.is_file()
        size = path.stat().st_size if cached else known.least_bytes
        yield Listed(
            name,
            size,
            LICENCE,
            _of_released(known),
            str(path) if cached else None,
            known.repository.page,
        )


def _of_recipe(path: Path, recipe: Recipe) -> str:
    sides = "x".join(map(str, recipe.data.size))
    what = {
        "classifier": "classifier",
        "diffusion": "diffusion model",
    }[recipe.kind]
    if isinstance(recipe, ClassifierRecipe) and not recipe.noised:
        what = "classifier of clean images, a judge"
    if isinstance(recipe, DiffusionRecipe) and recipe.distillation is not None:
        what = "student"
    if (better := path.stem.removesuffix("-weak")) != path.stem:
        what = f"weak model, which guides {better}"
    if recipe.data.low_res is not None:
        what = "upsampler from " + "x".join(map(str, recipe.data.low_res))
    helpers = {"classifier": classifier_of(path.stem), "weak": weak_of(path.stem)}
    by = [
        f"{'away from' if each.name == 'weak' else 'by'} {helpers[each.name]} at scale "
        f"{each.scale:g}"
        for each in guides_of(path, guided=True)
        if helpers.get(each.name)
    ]
    guided = f", guided {' and '.join(by)}" if by else ""
    return f"{recipe.data.source} {sides}: {what}{guided}"


def _of_released(known: Released) -> str:
    config, data = known.config, DATA[known.data]
    if isinstance(config, ClassifierConfig):
        return f"{data} {known.size}x{known.size}: noisy classifier"
    assert isinstance(config, UNetConfig)
    kind = "class-conditional" if config.classes else "unconditional"
    if known.low_res is not None:
        kind = f"{kind} upsampler from {known.low_res}x{known.low_res}"
    elif known.sample.sampler.name == "consistency":
        kind = f"{kind} consistency model"
    parts = [f"{data} {known.size}x{known.size}: {kind}"]
    if known.classifier is not None:
        parts.append(f"guided by {public_name(known.classifier)} at scale {known.scale:g}")
    if known.upsampler is not None:
        parts.append(f"enlarged by {public_name(known.upsampler)}")
    return ", ".join(parts)
