"""All models that have a name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adm.models.description import describe
from adm.models.pair import classifier_of, guides_of, weak_of
from adm.models.paths import SHIPPED, released
from adm.recipes.paper import released_recipe
from adm.recipes.released import LICENCE, PUBLIC, RELEASED, public_name
from adm.recipes.schema import Recipe, from_json
from adm.training.model_file import metadata_of


@dataclass(frozen=True)
class NamedModel:
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


def named_models() -> Iterator[NamedModel]:
    """Yield the shipped models, first what is guided and last what guides; then the released."""
    recipes = {path: from_json(metadata_of(path).recipe) for path in SHIPPED.glob("*.safetensors")}

    def place(path: Path) -> tuple[object, ...]:
        return recipes[path].kind == "classifier", not guides_of(path, guided=True), path.stem

    for path in sorted(recipes, key=place):
        use = _use(path.stem, path, recipes[path])
        yield NamedModel(path.stem, path.stat().st_size, "MIT", use, str(path))
    for name, file in PUBLIC.items():
        known, path = RELEASED[file], released(name, download=False)
        size = path.stat().st_size if path.is_file() else known.least_bytes
        use = _use(name, Path(file), released_recipe(file))
        if known.upsampler is not None:
            use += f", enlarged by {public_name(known.upsampler)}"
        here = str(path) if path.is_file() else None
        yield NamedModel(name, size, LICENCE, use, here, known.repository.page)


def _use(name: str, file: Path, recipe: Recipe) -> str:
    guides = guides_of(file, guided=True)
    return describe(recipe, None, guides, classifier_of(name), weak_of(name))
