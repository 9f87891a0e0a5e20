"""Name of a data set -> Contest: the rows of docs/results/results.md, and how each is sampled.

Rows are commands of `adm` and of baselines/, so that anyone can run one of them alone.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASELINES = Path(__file__).parents[1] / "baselines"

CHOSEN = "chosen"  # the truncation with the lowest distance in its sweep; the default scale
COUNT = 10_000  # images of the rows that the claims are about
FEW = 2_500  # of other rows, of a point of a sweep, and those that the recall of every row is of
TRUNCATIONS = (0.3, 0.5, 0.7, 1, 1.5, 2, 4)
SCALES = (0, 1, 4, 8)
RELEASED = {"sampler": "ancestral", "grid": "even", "steps": 250}
DDIM = {"sampler": "ddim", "grid": "even", "steps": 25}
STOCHASTIC = "20 stochastic UniPC steps"
AUTOGUIDED = f"ADM-G, autoguided, {STOCHASTIC}"
ODE = {"sampler": "unipc:eta=0", "grid": "karras:steps=10,start=980,end=3"}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: of its sample folder.
        title: in the table.
        model: a shipped name, or the weights of a rival in baselines/; None for real images.
        options: of `adm sample`, by their names in Python, or of the rival's.
        count: images.
        size: side of the images in pixels, of an upsampler's if there is one.
        base: name of the row, earlier in the table and with other options the same, whose samples
            the upsampler starts from; None to sample these too.
    """

    name: str
    title: str
    model: str | None
    options: dict[str, Any] = field(default_factory=dict)
    count: int = COUNT
    size: int | None = None
    base: str | None = None

    @property
    def rival(self) -> bool:
        """Whether the model is one of baselines/."""
        return self.model is not None and Path(self.model).parent == BASELINES

    @property
    def claimed(self) -> bool:
        """Whether the claims are about it, so that it is scored in every space."""
        return self.model is None or self.count == COUNT


@dataclass(frozen=True)
class Contest:
    """One data set, and the models that are compared on it.

    Attributes:
        name: of the section and of its folder.
        data, split: the images that a reference is computed from.
        real: other real images, which the first row compares with the reference.
        features: the first are those of all columns; the others give the distance alone, those of
            the judge of all rows, and others of those that the claims are about.
        judge: the classifier whose accuracy on the samples is stated.
        rows: of the table; those of real images first.
        gan, guided: the models of the sweeps of truncation and of the guidance scale.
        core_hours: that training took, by model, of a student with its teacher's; measured once.
        proportional: whether samples have the proportions of the classes in the data.
    """

    name: str
    data: str
    split: str
    real: str
    features: tuple[str, ...]
    judge: str
    rows: tuple[Row, ...]
    gan: str
    guided: str
    core_hours: dict[str, float]
    proportional: bool = False

    def features_of(self, row: Row) -> tuple[str, ...]:
        """Return the features that a row is scored in; a classifier knows images of one size."""
        always = {self.features[0], self.judge}
        own = (each for each in self.features if row.claimed or each in always)
        return tuple(each for each in own if not (each == self.judge and row.size == 64))


def contests() -> dict[str, Contest]:
    """Return the contests by name."""
    return {each.name: each for each in (_fashion(), _emoji())}


def _fashion() -> Contest:
    return Contest(
        name="fashion",
        data="fashion-mnist",
        split="test",
        real="fashion-mnist",
        features=("efficientnet-lite0", "efficientnet-lite2", "fashion-judge"),
        judge="fashion-judge",
        rows=(
            Row("real", "real images (training)", None),
            *_gan("fashion-biggan"),
            *_diffusion("fashion", {"scale": CHOSEN}),
            _student("fashion-fast"),
        ),
        gan=f"{BASELINES}/fashion-biggan.safetensors",
        guided="fashion",
        core_hours={
            "fashion": 6.5,
            "fashion-classifier": 0.3,
            "fashion-fast": 8.6,
            "fashion-biggan": 1.1,
        },
    )


def _emoji() -> Contest:
    return Contest(
        name="emoji",
        data="emoji",
        split="train",
        real="emoji/test",
        features=("efficientnet-lite0", "efficientnet-lite2", "emoji-judge"),
        judge="emoji-judge",
        rows=(
            Row("real", "real images (test)", None, count=576, size=32),
            *_gan("emoji-biggan", size=32),
            *_diffusion("emoji", {"guide": "classifier:scale=2"}, size=32),
            Row("autoguided", AUTOGUIDED, "emoji", size=32),
            _student("emoji-fast", size=32),
            Row("real-64", "real images (test), 64x64", None, count=576, size=64),
            Row(
                "cascade",
                f"{AUTOGUIDED}, + ADM-U, 64x64",
                "emoji",
                {"upsampler": "emoji-upsampler"},
                FEW,
                size=64,
                base="autoguided",
            ),
        ),
        gan=f"{BASELINES}/emoji-biggan.safetensors",
        guided="emoji",
        core_hours={
            "emoji": 10.2,
            "emoji-classifier": 0.2,
            "emoji-fast": 13.5,
            "emoji-upsampler": 5.8,
            "emoji-weak": 0.4,
            "emoji-biggan": 1.3,
        },
        proportional=True,
    )


def _gan(name: str, size: int | None = None) -> tuple[Row, ...]:
    weights = f"{BASELINES}/{name}.safetensors"
    return (
        Row("gan", "BigGAN, full noise", weights, size=size),
        Row("gan-truncated", "BigGAN", weights, {"truncation": CHOSEN}, size=size),
    )


def _diffusion(model: str, own: dict[str, Any], size: int | None = None) -> tuple[Row, ...]:
    """Return the rows of a model with its own guidance, the last by its own sampler."""
    return (
        Row("unguided", "ADM", model, {"guide": "none"}, FEW, size),
        Row("guided-ancestral", "ADM-G, 250 ancestral steps", model, own | RELEASED, FEW, size),
        Row("guided-ddim", "ADM-G, 25 DDIM steps", model, own | DDIM, FEW, size),
        Row("guided-ode", "ADM-G, 10 UniPC steps", model, own | ODE, FEW, size),
        Row("guided-few", f"ADM-G, {STOCHASTIC}", model, own, size=size),
    )


def _student(model: str, size: int | None = None) -> Row:
    options = {"scale": CHOSEN, "steps": 4}
    return Row("student", "student, 4 steps", model, options, size=size)
