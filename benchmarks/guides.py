"""Ways to guide by a classifier -> the table of docs/results/guides.md, the ablation of the guide.

    python benchmarks/guides.py
    python benchmarks/guides.py --only base unit
    python benchmarks/guides.py --so-far

The model without labels is guided by each way at the scale of the lowest distance among `SCALES`
times its own unit, of a few images, tried upwards until it is far above; the table is of others.
Each row is stored in docs/results/guides/ as soon as it is measured, and is not measured again
while its file is there; Ctrl-C or a kill loses the row that is being measured.
"""

import argparse
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Any

import guides_train as train
import guides_variants as variants
import numpy as np
import torch
from results_page import between, table
from torch import Tensor

import adm
from adm.app.progress import progress
from adm.app.study.study import balanced_labels
from adm.data import Source, open_source
from adm.diffusion import process
from adm.features import open_features
from adm.generation.pipeline import Pipeline
from adm.images import to_float, to_uint8
from adm.metrics.accuracy import accuracy
from adm.metrics.table import METRICS
from adm.models.load import load_classifier
from adm.models.trained import ClassifierModel
from adm.runs.run import train as train_run
from adm.scoring import Score, cached_reference
from adm.scoring.extraction import extract
from adm.scoring.report import StoredScore, scores
from adm.store.files import user_cache, write_json, write_text
from adm.store.parsed import as_type, read_json

MODEL, RECIPE, DATA = "fashion-unlabelled", "fashion-classifier", "fashion-mnist"
JUDGE, FEATURES = "fashion-judge", ("efficientnet-lite0", "efficientnet-lite2")
SCALES = (0.5, 1.0, 2.0, 4.0, 8.0)
COUNT, FEW = 2500, 500  # images of a row, and of a scale that is tried
DISTANCES = ("frechet_at_infinity", "frechet")  # the second where there are too few images
FAR = 1.2  # times the lowest distance, above which larger scales are not tried
EVEN = {"sampler": "unipc:eta=0", "grid": "karras:steps=10,start=980,end=3"}
ANCESTRAL = {"sampler": "ancestral", "grid": "even", "steps": 25}
LEVELS = (50, 200, 400, 600, 800)  # at which a classifier is examined
EXAMINED = 500  # images
CLASSIFIERS = ("base", "training", "size", "augmentation", "calibration")  # whose differ
PAGE, FOLDER, MADE = "results/guides.md", "results/guides", "python benchmarks/guides.py"


@dataclass(frozen=True)
class Row:
    """A way to guide.

    Attributes:
        group: what is varied, a section of the table.
        title: of the row.
        source: what it is from.
        training: settings by which the classifier's recipe differs; None for the shipped one.
        change: makes another classifier of it.
        guide: fields of the spec of `classifier`, beside the scale.
        sampling: settings of the sampling.
        unit: of the scales.
        particles: of twisted diffusion sampling, whose scale is that of its target, 1; None for
            guidance.
        left: commit at which it can be measured again, if it left the code.
    """

    group: str
    title: str
    source: str = ""
    training: tuple[str, ...] | None = None
    change: Callable[[ClassifierModel], ClassifierModel] | None = None
    guide: str = ""
    sampling: dict[str, Any] = field(default_factory=lambda: dict(EVEN))
    unit: float = 1.0
    particles: int | None = None
    left: str = ""

    def spec(self, scale: float) -> str:
        """Return the spec of the guide."""
        return f"classifier:scale={scale:g}" + (f",{self.guide}" if self.guide else "")

    @property
    def scales(self) -> list[float]:
        """Those that are tried, unless there is one."""
        if self.particles:
            return [1.0]
        return list(dict.fromkeys(self.unit * each for each in SCALES))


def tempered(classifier: ClassifierModel) -> ClassifierModel:
    fitted = train.temperatures(classifier.prepared(), held_out(), classifier)
    return variants.changed(variants.Tempered, classifier, **fitted)


def gone_on(loss: train.Loss) -> Callable[[ClassifierModel], ClassifierModel]:
    return lambda classifier: train.trained_on(classifier, training_images(), loss)


def kind(name: type[ClassifierModel], **how: Any) -> Callable[[ClassifierModel], ClassifierModel]:
    return lambda classifier: variants.changed(name, classifier, **how)


STEPS = 3000  # of the recipe
PAPER = "Dhariwal and Nichol 2021"
INPUT = "cf16a8d7"  # the last commit with other inputs of a classifier
ROWS = {
    "base": Row("base", "noisy classifier, at all levels, UniPC", PAPER),
    "unguided": Row("base", "not guided", unit=0.0),
    "clean": Row("input", "clean classifier, at the estimate of x_0", left=INPUT),
    "clean-through": Row(
        "input",
        "clean classifier, at the estimate of x_0, through the network",
        "Chung et al. 2023",
        left=INPUT,
    ),
    "through": Row(
        "input",
        "noisy classifier, at the estimate of x_0, through the network",
        "Chung et al. 2023",
        left=INPUT,
    ),
    "quarter": Row("training", "a quarter of its steps", training=(f"train.steps={STEPS // 4}",)),
    "fourfold": Row("training", "four times its steps", training=(f"train.steps={4 * STEPS}",)),
    "small": Row("size", "half of its width", training=("classifier.channels=16",)),
    "large": Row("size", "twice its width", training=("classifier.channels=64",)),
    "flipped": Row("augmentation", "flips", training=("data.flip=true",)),
    "dropout": Row("augmentation", "dropout 0.3", training=("classifier.dropout=0.3",)),
    "further": Row("training", f"{train.STEPS} steps more", change=gone_on(train.plain)),
    "robust": Row(
        "training",
        f"{train.STEPS} steps more, adversarial",
        "Kawar et al. 2022",
        change=gone_on(train.robust),
    ),
    "smooth": Row(
        "calibration",
        f"{train.STEPS} steps more, with smooth ECE",
        "2511.05844",
        change=gone_on(train.calibrated),
    ),
    "tempered": Row("calibration", "a temperature of each level", change=tempered),
    "unit": Row("gradient", "of unit norm", change=kind(variants.Unit), unit=1 / 64),
    "capped": Row("gradient", "scaled to a norm of at most 1", left="006ed928"),
    "ancestral": Row("algorithm", "Algorithm 1, 25 steps", PAPER, sampling=dict(ANCESTRAL)),
    "at-mean": Row(
        "algorithm",
        "Algorithm 1, at the mean, 25 steps",
        PAPER,
        sampling={**ANCESTRAL, "sampler": "ancestral:at_mean=true"},
    ),
    "ddim": Row(
        "algorithm",
        "Algorithm 2, 25 steps of DDIM",
        PAPER,
        sampling={**ANCESTRAL, "sampler": "ddim"},
    ),
    "low": Row("levels", "1 to 700", "Kynkäänniemi et al. 2024", guide="interval=1-700"),
    "high": Row("levels", "300 to 1000", "Kynkäänniemi et al. 2024", guide="interval=300-1000"),
    "every": Row("levels", "every second", guide="every=2"),
    "uneven": Row(
        "levels",
        "at most 5, most of them noisy",
        "Dinh et al. 2024",
        change=kind(variants.Uneven),
    ),
    "twisted": Row(
        "reference",
        "twisted diffusion sampling, 8 particles, 25 steps",
        "Wu et al. 2023",
        sampling=dict(ANCESTRAL),
        particles=8,
    ),
}


@dataclass(frozen=True)
class Measured:
    """What is stored of a row.

    Attributes:
        scale: of the lowest distance of those that were tried.
        tried: scale -> distance of `FEW` images.
        count: images that the scores are of.
        scores: features -> key -> score; the judge has the accuracy.
        calibration, alignment: at each of `LEVELS`: expected calibration error on test images, and
            the mean cosine of the angle to the gradient of the exact classifier.
        calls: of the network and of the classifier for an image.
    """

    scale: float
    tried: dict[str, float]
    count: int
    scores: dict[str, dict[str, StoredScore]]
    calibration: tuple[float, ...]
    alignment: tuple[float, ...]
    calls: dict[str, int]


@cache
def training_images() -> Source:
    return open_source(DATA, size=(28, 28), channels=1)


@cache
def held_out() -> Source:
    return open_source(DATA, split="test", size=(28, 28), channels=1)


def classifier_of(row: Row, name: str, out: Path) -> ClassifierModel:
    """Return the classifier of a row, which is trained where its recipe differs."""
    if row.training is None:
        made = load_classifier(RECIPE)  # the shipped one
    else:
        run = out / "runs" / name
        train_run(RECIPE, out=run, settings=row.training, device="cpu")
        made = load_classifier(run)
    if made.classes != held_out().classes:
        raise ValueError(f"{made.name} classifies other classes than those of {DATA}")
    return made if row.change is None else row.change(made)


def images(
    pipeline: Pipeline, row: Row, scale: float, count: int, seed: int
) -> tuple[Tensor, list[int]]:
    """Return images of all classes in turn, and their labels."""
    labels = balanced_labels(range(len(pipeline.classes)), count)
    settings = {**row.sampling, "guide": row.spec(scale), "seed": seed}
    if row.particles is None:
        return pipeline.sample(labels, **settings).images, labels
    return particles(pipeline, labels, row, scale, seed), labels


def particles(
    pipeline: Pipeline, labels: list[int], row: Row, scale: float, seed: int, block: int = 25
) -> Tensor:
    """Return images by twisted diffusion sampling, guided at a scale."""
    assert row.particles is not None
    assert pipeline.classifier is not None
    classifier, model = pipeline.classifier, pipeline.model
    schedule = pipeline.sampling.change(**row.sampling).grid.of(model.schedule)
    denoise, classify = model.denoise(None, schedule), classifier.prepared()
    random, made = torch.Generator().manual_seed(seed), list[Tensor]()
    with progress("particles", len(labels), "images") as advance:
        for start in range(0, len(labels), block):
            own = torch.tensor(labels[start : start + block]).repeat_interleave(row.particles)

            def log_p(x: Tensor, level: Any, own: Tensor = own) -> Tensor:
                logits = classify(x, schedule.timestep(level, x)).float().log_softmax(1)
                return scale * logits.gather(1, own[:, None])[:, 0]

            def noise(level: int, draw: int = 0, /, many: int = len(own)) -> Tensor:
                return torch.randn(many, *model.shape, generator=random)

            steps = variants.twisted(
                *(denoise, log_p, noise(0), schedule, noise, row.particles, random)
            )
            *_, (x, weights) = steps
            made.append(to_uint8(variants.chosen(x, weights, random)))
            advance(len(made[-1]))
    return torch.cat(made)


def scored(
    images: Tensor, features: str, out: Path, only: Collection[str] = tuple(METRICS)
) -> dict[str, StoredScore]:
    """Score images, which are kept in a file."""
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "samples.npz", arr_0=images.permute(0, 2, 3, 1).numpy())
    extractor = open_features(features)
    reference = cached_reference(held_out(), extractor, user_cache("references"))
    generated = extract(open_source(str(out / "samples.npz")), extractor)
    computed = scores(generated, reference, only=only)
    return {key: StoredScore(*score.to_json().values()) for key, score in computed.items()}


def measure(name: str, out: Path, count: int = COUNT, few: int = FEW) -> Measured:
    """Choose the scale of a row, and score other images at it."""
    row = ROWS[name]
    if row.left:
        raise SystemExit(f"{name} left the code; measure it at {row.left}")
    classifier = classifier_of(row, name, out)
    pipeline = replace(adm.load(MODEL), guides=(classifier,))
    first, *others = FEATURES
    tried = dict[str, float]()
    for scale in row.scales if len(row.scales) > 1 else ():
        some, _ = images(pipeline, row, scale, few, seed=1)
        few_scores = scored(some, first, out / "tried", DISTANCES)
        tried[f"{scale:g}"] = distance(few_scores).value
        if tried[f"{scale:g}"] > FAR * min(tried.values()):
            break
    scale = float(min(tried, key=lambda each: tried[each], default=row.scales[0]))
    made, labels = images(pipeline, row, scale, count, seed=0)
    of_row = {
        features: scored(made, features, out / "samples" / name) for features in (first, *others)
    }
    with torch.no_grad():
        right = accuracy(load_classifier(JUDGE).classify(to_float(made)), torch.tensor(labels))
    of_row[JUDGE] = {"accuracy": StoredScore(*right.to_json().values())}
    calibration, aligned = examined(pipeline)
    cost = pipeline.generator(**row.sampling, guide=row.spec(scale)).cost
    if isinstance(classifier, variants.Uneven):
        cost = replace(cost, classifier=classifier.count)
    return Measured(scale, tried, count, of_row, calibration, aligned, asdict(cost))


def distance(scores: dict[str, StoredScore]) -> Score:
    """Return the Fréchet distance, at infinite N if there are enough images."""
    return next(scores[key] for key in DISTANCES if key in scores).score


def examined(pipeline: Pipeline) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the calibration error and the alignment with the exact gradient, by level."""
    classifier = pipeline.classifier
    assert classifier is not None
    exact = variants.Exact(training_images(), classifier.schedule)
    total = len(held_out())  # the first ones may have fitted temperatures
    pictures, labels = held_out().batch(range(total - EXAMINED, total))
    x_0, random = to_float(pictures), torch.Generator().manual_seed(0)
    classify = classifier.prepared()
    if isinstance(classifier, variants.Tempered):
        classify = classifier.tempered(classify)
    pull, errors, angles = classifier.gradient(labels), list[float](), list[float]()
    for level in LEVELS:
        schedule = classifier.schedule
        x_t = process.diffuse(schedule, x_0, torch.randn(x_0.shape, generator=random), level)
        with torch.no_grad():
            logits = classify(x_t, schedule.timestep(level, x_t)).float()
        errors.append(variants.calibration_error(logits, labels))
        given: Any = None  # the prediction, which a noisy classifier does not need
        angles.append(
            float(
                variants.alignment(
                    pull(x_t, level, given), exact.gradient(x_t, level, labels)
                ).mean()
            )
        )
    return tuple(errors), tuple(angles)


def file_of(docs: Path, name: str) -> Path:
    return docs / FOLDER / f"{name}.json"


def read(docs: Path) -> dict[str, Measured]:
    """Return the rows that have been measured."""
    return {
        name: as_type(Measured, read_json(file_of(docs, name)))
        for name in ROWS
        if file_of(docs, name).exists()
    }


def lines(measured: dict[str, Measured]) -> str:
    """Return the table of the scores, and that of the classifiers by level."""
    head = ["", "", "scale", *(f"distance, {each}" for each in FEATURES), "precision", "recall"]
    head += ["accuracy", "calls"]
    rows = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
    for name, each in measured.items():
        first = each.scores[FEATURES[0]]
        shown = [distance(each.scores[features]).text() for features in FEATURES]
        shown += [first[key].score.text() for key in ("precision", "recall")]
        shown.append(each.scores[JUDGE]["accuracy"].score.text())
        calls = f"{each.calls['network']} + {each.calls['classifier']}"
        row = ROWS[name]
        title = titled(row) + ("" if each.count == COUNT else f", {each.count:,} images")
        rows.append([row.group, title, f"{each.scale:g}", *shown, calls])
    missing = "; ".join(titled(row) for name, row in ROWS.items() if name not in measured)
    later = "\n\n" + fill(f"Yet to be measured: {missing}.", 100) if missing else ""
    return f"{table(rows)}\n\n{by_level(measured)}{later}"


def titled(row: Row) -> str:
    notes = ", ".join(filter(None, [row.source, row.left and f"at {row.left}"]))
    return f"{row.title} ({notes})" if notes else row.title


def by_level(measured: dict[str, Measured]) -> str:
    """Return the table of what is known of each noisy classifier at some levels."""
    head = ["classifier", *(f"error, {level}" for level in LEVELS)]
    head += [f"cosine, {level}" for level in LEVELS]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for name, each in measured.items():
        row = ROWS[name]
        if row.group in CLASSIFIERS:
            figures = [f"{one:.3f}" for one in each.calibration]
            rows.append([titled(row), *figures, *(f"{one:.2f}" for one in each.alignment)])
    return table(rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--count", type=int, default=COUNT, help="images of a row")
    parser.add_argument("--few", type=int, default=FEW, help="images of a scale that is tried")
    parser.add_argument("--out", type=Path, default=Path("out/guides"), help="runs and samples")
    parser.add_argument("--so-far", action="store_true", help="measure nothing")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help=f"folder of {PAGE}")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in () if args.so_far else args.only:
        file = file_of(args.docs, name)
        if not file.exists():
            record = measure(name, args.out, args.count, args.few)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, asdict(record))
    text, page = lines(read(args.docs)), args.docs / PAGE
    print(text)
    write_text(page, between(page.read_text("utf-8"), "guides", text, MADE))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
