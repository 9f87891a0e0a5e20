"""Model, its classifier, samples, scores -> folder of the hub: weights, config.json, model card."""

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from safetensors.torch import load_file

from adm.data.naming import at_home
from adm.generation.samples import Samples
from adm.metrics import Score, title
from adm.models import hub
from adm.models.description import DATA, describe, facts
from adm.models.identity import identify
from adm.models.load import AnyModel, read, released_metadata
from adm.models.paths import FOREIGN, SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.pictures import grid, png
from adm.recipes.released import LICENCE, Released, released_of
from adm.recipes.schema import ClassifierRecipe, Recipe
from adm.samplers import Sampling
from adm.shown import count_of, printable
from adm.spec import to_json
from adm.store.files import new_folder, write_bytes, write_json, write_text
from adm.training.model_file import Metadata, entries_of, metadata_of, save_model

TEMPLATE = Path(__file__).with_name("card.md")
LIBRARY = "adm"  # as `import` names it; what the hub calls library_name
TASKS = {"diffusion": "unconditional-image-generation", "classifier": "image-classification"}
MARKUP = re.compile(r"([\\`*_\[\]<>|])")
MOST_SIDE = 128  # pixels of an image in the picture


class Scored(Protocol):
    """Scores with the manifest of their computation, such as an `adm.evaluate` report."""

    @property
    def features(self) -> str: ...
    @property
    def scores(self) -> Mapping[str, Score]: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Terms:
    """The terms of use of a model and of its training data.

    Attributes:
        licence: as the hub abbreviates it.
        data: the names that the data sets have on the hub.
        statement: sentences on the licence.
        use: sentences on the intended use and its limits.
    """

    licence: str
    data: tuple[str, ...]
    statement: str
    use: str


UNKNOWN = Terms(
    "unknown",
    (),
    "Whoever trained the model has stated no licence here.",
    "Whoever trained the model has stated no intended use here.",
)
SMALL = (
    "For teaching, tests, and comparing methods on a CPU. It knows the classes of its data, at one "
    "size."
)
OURS = {
    "fashion-mnist": Terms(
        "mit",
        ("zalando-datasets/fashion_mnist",),
        "The weights are under the MIT licence, and so is Fashion-MNIST, on which they were "
        "trained.",
        SMALL,
    ),
    "emoji": Terms(
        "mit",
        (),
        "The weights are under the MIT licence. They were trained on Noto Emoji (Apache 2.0), "
        "Twemoji (CC-BY 4.0, copyright Twitter, Inc. and other contributors) and Fluent Emoji "
        "(MIT, copyright Microsoft Corporation).",
        SMALL,
    ),
}
ON_HUB = {"imagenet/": "ILSVRC/imagenet-1k", "cifar10/": "uoft-cs/cifar10"}


@dataclass(frozen=True, eq=False)
class Pretrained:
    """The contents of a repository of the hub.

    The weights are those of the files that were loaded, whatever was changed in memory since then.

    Attributes:
        model: it is stored with `sampling`.
        sampling: the settings by which it is sampled by default; None for a classifier.
        classifier: that guides it, or None.
        weak: the weak model that guides it, or None.
        samples: shown in the card; None for no picture.
        report: scores shown in the card, or None.
    """

    model: AnyModel
    sampling: Sampling | None = None
    classifier: ClassifierModel | None = None
    weak: DiffusionModel | None = None
    samples: Samples | None = None
    report: Scored | None = None

    def save(self, out: str | Path, overwrite: bool = False) -> Path:
        """Write the folder.

        Args:
            overwrite: whether to replace an existing folder.

        Raises:
            OSError: it cannot be written, or is not empty without `overwrite`.
        """
        path = at_home(out)
        with new_folder(path, overwrite) as part:
            self._fill(part, path.name)
        return path

    def push(self, repository: hub.Repository, private: bool = True, **options: Any) -> str:
        """Write the repository, as one commit; return its address. `hub.push` has the arguments."""
        with TemporaryDirectory() as folder:
            self._fill(Path(folder), str(repository))
            return hub.push(Path(folder), repository, private, **options)

    def _fill(self, folder: Path, name: str) -> None:
        _store(self.model, self.sampling, folder / hub.MODEL)
        write_json(folder / hub.CONFIG, entries_of(folder / hub.MODEL))
        if self.classifier is not None:
            _store(self.classifier, None, folder / hub.CLASSIFIER)
        if self.weak is not None:
            _store(self.weak, None, folder / hub.WEAK)
        if self.samples is not None:
            write_bytes(folder / hub.PICTURE, self.picture())
        write_text(folder / hub.CARD, self.card(name))

    def picture(self) -> bytes:
        """Return the samples as a PNG file, row by row."""
        assert self.samples is not None
        images = self.samples.images
        return png(grid(images, math.ceil(len(images) ** 0.5), most=MOST_SIDE))

    def card(self, name: str, picture: str = hub.PICTURE, more: str = "") -> str:
        """Return the model card: Markdown, with the metadata of the hub at its top.

        Args:
            name: the argument of `adm.load` that loads the model.
            picture: the address of the picture.
            more: a paragraph on scores that are elsewhere.

        Raises:
            ValueError: `huggingface_hub` is not installed.
        """
        package = hub.package_for("a model card")
        recipe, metadata, model = self.recipe, self.metadata, self.model
        terms, report = _terms(model, metadata), self.report
        enlarges = recipe.data.low_res is not None
        guides = () if self.sampling is None else self.sampling.guides
        helpers = [each and each.name for each in (self.classifier, self.weak)]
        rows = facts(recipe, metadata) | {"identity": identify(model.path)}
        front = package.ModelCardData(
            license=terms.licence,
            library_name=LIBRARY,
            pipeline_tag="image-to-image" if enlarges else TASKS[recipe.kind],
            tags=[LIBRARY, "safetensors", "diffusion"],
            datasets=list(terms.data) or None,
        )
        card = package.ModelCard.from_template(
            front,
            template_path=str(TEMPLATE),
            title=_plain(model.name),
            use=_plain(describe(recipe, metadata.data, guides, *helpers)),
            picture=picture,
            caption="" if self.samples is None else _caption(self.samples, enlarges),
            usage=_usage(name, model, 16 if self.samples is None else len(self.samples)),
            facts={key: _plain(value) for key, value in rows.items()},
            features="" if report is None else _plain(report.features),
            scores=[] if report is None else _scores(report),
            manifest="" if report is None else json.dumps(report.manifest, indent=1),
            more=more,
            terms=terms,
            sampled=self.sampling is not None,
        )
        return f"{card.content}\n"

    @property
    def recipe(self) -> Recipe:
        """The recipe with `sampling`."""
        recipe = self.model.recipe
        if self.sampling is None or isinstance(recipe, ClassifierRecipe):
            return recipe
        return replace(recipe, sample=self.sampling)  # pyright: ignore[reportArgumentType]

    @property
    def metadata(self) -> Metadata:
        path = self.model.path
        return released_metadata(self.model.recipe) if path.suffix in FOREIGN else metadata_of(path)


def _store(model: AnyModel, sampling: Sampling | None, out: Path) -> None:
    """Copy a model file, changing nothing but the settings by which it is sampled by default."""
    path, recipe = model.path, model.recipe
    default = None if isinstance(recipe, ClassifierRecipe) else recipe.sample
    sample = {} if sampling in (None, default) else {"sample": to_json(sampling)}
    if path.suffix in FOREIGN:
        _, weights, _, metadata = read(path)
        entries = metadata.entries()
    elif sample:
        weights, entries = load_file(path), entries_of(path)
    else:
        shutil.copyfile(path, out)
        return
    save_model(out, weights, entries | {"recipe": entries["recipe"] | sample})


def _terms(model: AnyModel, metadata: Metadata) -> Terms:
    """Return the terms of a released, a shipped or another model."""
    released = _released(model)
    if released is not None:
        statement = (
            f"{LICENCE}, of OpenAI's [{released.repository.name}]({released.repository.page}), "
            "whose file this is."
        )
        use = (
            "For research on generative models; its publisher advises against any other use. It "
            f"was trained on {DATA[released.data]} and on nothing else."
        )
        data = (ON_HUB[released.data],) if released.data in ON_HUB else ()
        return Terms(LICENCE.lower(), data, statement, use)
    if model.path.parent == SHIPPED:
        return OURS[metadata.data or ""]
    return UNKNOWN


def _released(model: AnyModel) -> Released | None:
    """Return the released file that a model is; None for one that was trained since."""
    return released_of(model.recipe.name) if not model.trained_steps else None


def _usage(name: str, model: AnyModel, count: int) -> str:
    """Return the lines that load a model, by its name, and use it."""
    quoted = json.dumps(name)
    if isinstance(model, ClassifierModel):
        lines = [f"classifier = adm.load_classifier({quoted})"]
    elif model.recipe.data.low_res is not None:
        what = "model" if model.recipe.data.paired else "upsampler"
        lines = [f"{what} = adm.load({quoted})", f"{what}.sample(inputs=images)"]
    else:
        lines = [f"model = adm.load({quoted})", f"model.sample(count={count}).grid()"]
    return "\n".join(lines)


def _caption(samples: Samples, enlarged: bool) -> str:
    what = ("enlarged sample", "enlarged samples") if enlarged else ("sample", "samples")
    turns = ", the classes taking turns" if samples.labels is not None else ""
    seed = samples.job.generator.seed
    number = count_of(len(samples), *what)
    return f"{number}, unselected, seed {seed}, by the default settings{turns}."


def _scores(report: Scored) -> list[tuple[str, str, str]]:
    """Return the name, the value and the interval of each score."""
    names = [title(key, report.features) for key in report.scores]
    own = [_plain(name.removesuffix(f" ({report.features})")) for name in names]
    return [(name, *each.parts()) for name, each in zip(own, report.scores.values(), strict=True)]


def _plain(value: str) -> str:
    """Return a text that Markdown shows as it is; names in model files may be anything."""
    return MARKUP.sub(r"\\\1", printable(value))
