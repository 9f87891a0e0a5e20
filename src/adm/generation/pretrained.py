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
from adm.models.identity import identify
from adm.models.listed import DATA
from adm.models.load import AnyModel, described_by, read
from adm.models.paths import FOREIGN, SHIPPED
from adm.models.trained import ClassifierModel, DiffusionModel
from adm.networks import parameters_of
from adm.pictures import grid, png
from adm.recipes.released import LICENCE, Released, released_as
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe
from adm.samplers import Sampling
from adm.shown import count_of, printable
from adm.spec import text, to_json
from adm.store.files import new_folder, write_bytes, write_json, write_text
from adm.training.model_file import Metadata, entries_of, metadata_of, save_model

LIBRARY = "adm"  # as `import` names it; what the hub calls library_name
PAPERS = {
    "diffusion": ("Diffusion models beat GANs on image synthesis", "2105.05233"),
    "classifier": ("Diffusion models beat GANs on image synthesis", "2105.05233"),
}
TASKS = {"diffusion": "unconditional-image-generation", "classifier": "image-classification"}
COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}
MOST_SIDE = 128  # pixels of an image in the picture
MOST_NAMED = 24  # classes
WEIGHTS = {"model": "the average that a run is sampled with", "raw": "without averaging"}
MARKUP = re.compile(r"([\\`*_\[\]<>|])")


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


COPIES = "Samples can be copies of training images; `adm nearest` looks for them."
BIAS = "Whatever bias the data have is in the model."
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
        """
        recipe, metadata = self.recipe, self.metadata
        terms = _terms(self.model, metadata)
        size = "x".join(map(str, recipe.data.size))
        parts = [
            _front(recipe, terms),
            f"# {_plain(self.model.name)}",
            _summary(recipe, metadata, size, self.classifier, self.weak),
            _shown(self.samples, recipe, picture) if self.samples is not None else "",
            _usage(name, self.model, 16 if self.samples is None else len(self.samples)),
            "## Recipe",
            _table(facts(recipe, metadata) | self._identity()),
            "## Scores" if self.report is not None or more else "",
            _scores(self.report) if self.report is not None else "",
            more,
            "## Use and limits",
            f"{terms.use} {BIAS}" + ("" if self.sampling is None else f" {COPIES}"),
            "## Licence",
            terms.statement,
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _identity(self) -> dict[str, str]:
        path = self.model.path
        return {} if path.suffix in FOREIGN else {"identity": identify(path)}

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
        return described_by(self.model.recipe) if path.suffix in FOREIGN else metadata_of(path)


def facts(recipe: Recipe, metadata: Metadata) -> dict[str, str]:
    """Describe a model: its recipe, classes, training, process and settings."""
    height, width = recipe.data.size
    classes = list(metadata.classes) if recipe.config.classes is not None else []
    steps = recipe.train.steps if metadata.step is None else metadata.step
    rows = {
        "recipe": f"{recipe.name} ({recipe.kind})",
        "parameters": f"{parameters_of(recipe.config):,}",
        "images": f"{height}x{width}, {count_of(recipe.data.channels, 'channel')}",
        "classes": _listed(classes),
        "trained": f"{steps:,} steps of {recipe.train.batch_size} images of "
        f"{metadata.data or 'unknown data'}",
    }
    if (weights := weights_of(metadata)) is not None:
        rows["weights"] = weights
    if (start := metadata.start) is not None:
        rows["starting from"] = _origin(start.model, start.step, start.sha256)
    origins = {"teacher": metadata.teacher, "guide": metadata.guide, "weak guide": metadata.weak}
    for part, of in origins.items():
        if of is not None:
            rows[part] = _origin(of.recipe, of.trained_steps, of.sha256)
    rows |= _process(recipe)
    return rows if isinstance(recipe, ClassifierRecipe) else rows | _sampled(recipe)


def weights_of(metadata: Metadata) -> str | None:
    """Describe which weights of a run a file holds; None if it does not record it."""
    stored = metadata.weights
    return None if stored is None else WEIGHTS.get(stored, f"average {stored}")


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
    return released_as(model.recipe.name) if not model.trained_steps else None


def _front(recipe: Recipe, terms: Terms) -> str:
    """Return the metadata of the hub, in YAML: lines of plain words."""
    task = TASKS.get(recipe.kind, TASKS["diffusion"])
    if recipe.data.low_res is not None:
        task = "image-to-image"
    tags = [LIBRARY, "safetensors", "diffusion"]
    lists = {"tags": tags, "datasets": terms.data}
    lines = [f"license: {terms.licence}", f"library_name: {LIBRARY}", f"pipeline_tag: {task}"]
    for name, values in lists.items():
        lines += [f"{name}:", *(f"- {each}" for each in values)] if values else []
    return "\n".join(["---", *lines, "---"])


def _summary(
    recipe: Recipe,
    metadata: Metadata,
    size: str,
    classifier: ClassifierModel | None,
    weak: DiffusionModel | None,
) -> str:
    colours = COLOURS.get(recipe.data.channels, f"{recipe.data.channels}-channel")
    paper, number = PAPERS[recipe.kind]
    what, purpose = recipe.makes, ""
    if isinstance(recipe, ClassifierRecipe):
        what = "a noisy classifier" if recipe.noised else "a classifier"
        purpose = (
            " It guides the sampling of a diffusion model of the same images."
            if recipe.noised
            else " It was trained on clean images, and judges samples."
        )
    elif isinstance(recipe, DiffusionRecipe) and recipe.distillation is not None:
        what = "a student of a guided diffusion model"
        purpose = (
            f" It takes {' or '.join(map(str, sorted(recipe.distillation.steps)))} steps, and the "
            "guidance scale as an input."
        )
    elif isinstance(recipe, DiffusionRecipe):
        kind = "a class-conditional" if recipe.config.classes else "an unconditional"
        what = recipe.makes.replace("a", kind, 1)
    if recipe.data.low_res is not None:
        does = "is conditioned on" if recipe.data.paired else "enlarges"
        purpose = f" It {does} images of {'x'.join(map(str, recipe.data.low_res))}."
    if classifier is not None:
        assert isinstance(recipe, DiffusionRecipe)
        purpose += (
            f" It is guided by the classifier {_plain(classifier.name)}, at scale "
            f"{recipe.sample.scale:g} by default; `scale=0` samples it without."
        )
    if weak is not None:
        assert isinstance(recipe, DiffusionRecipe)
        scales = [each.scale for each in recipe.sample.by_contrast if each.against == "weak"]
        how = f", at scale {scales[0]:g} by default" if scales else " where a guide asks for it"
        purpose += (
            f" It is guided away from {_plain(weak.name)}, a worse model of the same images{how}."
        )
    data = _plain(metadata.data or "unknown data")
    return (
        f"{what[0].upper()}{what[1:]} of {size} {colours} images, trained on {data}.{purpose} The "
        f"network is that of [{paper}](https://arxiv.org/abs/{number})."
    )


def _shown(samples: Samples, recipe: Recipe, picture: str) -> str:
    larger = recipe.data.low_res is not None
    what = ("enlarged sample", "enlarged samples") if larger else ("sample", "samples")
    turns = ", the classes taking turns" if samples.labels is not None else ""
    return (
        f"![Samples]({picture})\n\n*{count_of(len(samples), *what)}, unselected, seed "
        f"{samples.job.generator.seed}, by the default settings{turns}.*"
    )


def _usage(name: str, model: AnyModel, count: int) -> str:
    quoted = json.dumps(name)
    if isinstance(model, ClassifierModel):
        lines = [f"classifier = adm.load_classifier({quoted})"]
    elif model.recipe.data.low_res is not None:
        what = "model" if model.recipe.data.paired else "upsampler"
        lines = [f"{what} = adm.load({quoted})", f"{what}.sample(inputs=images)"]
    else:
        lines = [f"model = adm.load({quoted})", f"model.sample(count={count}).grid()"]
    return "\n".join(
        ["```python", "import adm  # the package ablated-diffusion", "", *lines, "```"]
    )


def _scores(report: Scored) -> str:
    lines = [f"| by {_plain(report.features)} | value | 95% interval |", "|---|---|---|"]
    for key, score in report.scores.items():
        value, interval = score.parts()
        name = title(key, report.features).removesuffix(f" ({report.features})")
        lines.append(f"| {_plain(name)} | {value} | {interval} |")
    manifest = json.dumps(report.manifest, indent=1)
    details = f"<details><summary>How they were computed</summary>\n\n```json\n{manifest}\n```\n"
    return "\n".join(lines) + f"\n\n{details}\n</details>"


def _table(rows: dict[str, str]) -> str:
    lines = ["| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {_plain(value)} |" for name, value in rows.items())])


def _plain(value: str) -> str:
    """Return a text that Markdown shows as it is; names in model files may be anything."""
    return MARKUP.sub(r"\\\1", printable(value))


def _process(recipe: DiffusionRecipe | ClassifierRecipe) -> dict[str, str]:
    return {"process": f"{recipe.process.schedule}, {recipe.process.steps} steps"}


def _sampled(recipe: DiffusionRecipe) -> dict[str, str]:
    """Describe what the network predicts, and how it is sampled by default."""
    sampling, student = recipe.sample, recipe.distillation
    guided = f", at scale {sampling.scale:g}" if sampling.scale else ""
    if student is not None:
        low, high = student.scales
        steps = f"{' or '.join(map(str, sorted(student.steps)))} steps"
        if len(student.steps) > 1:
            steps += f"; {sampling.grid.steps} by default"
        return {
            "distilled": f"by {student.method.name} distillation, for scales {low:g} to {high:g}",
            "sampled by": f"{sampling.sampler.name}, {steps}{guided}",
        }
    start = f" from level {sampling.grid.start}" if sampling.grid.start else ""
    return {
        "predicts": f"{text(recipe.process.prediction)}, variance {recipe.process.variance}",
        "sampled by": f"{sampling.sampler.name}, {sampling.grid.steps} steps{start}{guided}",
    }


def _origin(recipe: str, steps: int | None, sha256: str) -> str:
    """Name the model that another was made from, with the start of its file's hash."""
    trained = "" if steps is None else f"{steps:,} steps, "
    return f"{recipe} ({trained}sha256 {sha256[:12]})"


def _listed(classes: list[str]) -> str:
    if len(classes) <= MOST_NAMED:
        return ", ".join(classes) or "none"
    return f"{len(classes)}: {', '.join(classes[:3])} ... {classes[-1]}"
