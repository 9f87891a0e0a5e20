"""benchmarks/guides*.py: laws of the ways to guide that are compared, and the command."""

import json
import math
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from oracle import Mixture
from torch.nn import functional as F

from adm.data import open_source
from adm.diffusion import cosine, process
from adm.images import to_float
from adm.models.load import load_classifier

ROOT = Path(__file__).parents[2]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of `benchmarks/`; they import each other by their names."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    parts = {name: import_module(f"guides_{name}") for name in ("variants", "train")}
    return SimpleNamespace(command=import_module("guides"), **parts)


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    """Three images of two pixels, of two classes that overlap in noise."""
    means = torch.tensor([[-1.0, 0.5], [0.2, -0.8], [0.9, 0.6]], dtype=torch.float64)
    return Mixture(
        means=means.reshape(3, 1, 1, 2),
        variances=torch.full((3,), 0.02, dtype=torch.float64),
        weights=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        labels=torch.tensor([0, 1, 1]),
    )


def test_a_guide_of_unit_norm_does_not_know_the_scale_of_the_logits(modules: Any) -> None:
    x = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pulls = [
        modules.variants.unit(lambda x_t, level, p, factor=factor: factor * x_t**3)(x, 1, None)
        for factor in (1e-12, 1.0, 1e6)
    ]
    assert torch.allclose(pulls[1].flatten(1).norm(dim=1), torch.tensor(4.0))
    for pull in pulls:
        torch.testing.assert_close(pull, pulls[1])


def test_the_exact_classifier_is_bayes_and_its_gradient_is_autograd_s(modules: Any) -> None:
    digits = open_source("digits", size=(8, 8), channels=1)
    exact = modules.variants.Exact(digits, cosine(100))
    exact.images, exact.squares = exact.images.double(), exact.squares.double()
    pictures, labels = digits.batch([5, 6])
    x_t = (to_float(pictures).double() + 0.3).requires_grad_()
    log_p = exact.probabilities(x_t, 60).log().gather(1, labels[:, None])
    (pull,) = torch.autograd.grad(log_p.sum(), x_t)
    torch.testing.assert_close(exact.gradient(x_t.detach(), 60, labels), pull)
    signal, sigma = (float(each[60]) for each in (cosine(100).signal, cosine(100).sigma))
    far = (x_t.detach().flatten(1)[:, None] - signal * exact.images).square().sum(2)
    odds = torch.stack(
        [(-far / (2 * sigma**2))[:, digits.labels == y].logsumexp(1) for y in range(10)], 1
    )
    torch.testing.assert_close(exact.probabilities(x_t.detach(), 60), odds.softmax(1))


def test_particles_are_of_the_posterior_however_wrong_the_guide(
    modules: Any, mixture: Mixture
) -> None:
    """On the mixture the class's components have the shares of Bayes; guidance alone has others.

    The twisting function is the exact classifier to the power of 3: half as sure at the end again
    would not matter, since it is the exact one at level 0.
    """
    schedule, count, particles = cosine(30), 400, 16
    random = torch.Generator().manual_seed(0)
    classify = partial(mixture.logits, schedule)

    def log_p(x: torch.Tensor, level: int) -> torch.Tensor:
        exact = classify(x, level).log_softmax(1)[:, 1]
        return exact if level == 0 else 3 * exact

    def noise(level: int, draw: int = 0) -> torch.Tensor:
        return torch.randn(count * particles, 1, 1, 2, generator=random, dtype=torch.float64)

    denoise = mixture.denoise(schedule)
    steps = modules.variants.twisted(denoise, log_p, noise(0), schedule, noise, particles, random)
    *_, (x, weights) = steps
    made = modules.variants.chosen(x, weights, random)
    third = (made.flatten(1)[:, 0] > 0.55).double().mean()
    error = math.sqrt(0.4 * 0.6 / count)
    assert abs(float(third) - 0.4) < 4 * error
    of_class = (made.flatten(1) - mixture.means[0].flatten()).norm(dim=1) > 0.7
    assert of_class.double().mean() > 0.98


def test_the_mean_weight_is_the_probability_of_the_class(modules: Any, mixture: Mixture) -> None:
    """Without resampling, which one particle never has: E[w] = p(y), however few the steps."""
    schedule, count = cosine(10), 20_000
    random = torch.Generator().manual_seed(0)
    classify = partial(mixture.logits, schedule)

    def noise(level: int, draw: int = 0) -> torch.Tensor:
        return torch.randn(count, 1, 1, 2, generator=random, dtype=torch.float64)

    def log_p(x: torch.Tensor, level: int) -> torch.Tensor:
        return classify(x, level).log_softmax(1)[:, 1]

    denoise, x = mixture.denoise(schedule), noise(0)
    steps = modules.variants.twisted(denoise, log_p, x, schedule, noise, 1, random)
    *_, (_, weights) = steps
    for t in range(schedule.last, 0, -1):  # unguided, from the same process
        p = denoise(x, t)
        mean = process.posterior(schedule, p.x_0, x, t).mean
        x = mean if t == 1 else mean + p.variance.log.mul(0.5).exp() * noise(t)
    plain = log_p(x, 0).exp()
    error = math.hypot(float(plain.std()), float(weights.exp().std())) / math.sqrt(count)
    assert abs(float(weights.exp().mean() - plain.mean())) < 4 * error


def test_a_calibrated_classifier_is_nearer_to_the_exact_gradient(
    modules: Any, mixture: Mixture
) -> None:
    """Logits that are three times as sure get a temperature of 3 back, from labels alone."""
    schedule, level = cosine(100), 70
    random = torch.Generator().manual_seed(0)
    component = torch.multinomial(mixture.weights, 4000, replacement=True, generator=random)
    drawn = torch.randn(4000, 1, 1, 2, generator=random, dtype=torch.float64)
    x_0 = mixture.means[component] + 0.02**0.5 * drawn
    noise = torch.randn(x_0.shape, generator=random, dtype=torch.float64)
    x_t = process.diffuse(schedule, x_0, noise, level).requires_grad_()
    label, logits = mixture.labels[component], mixture.logits(schedule, x_t, level)
    fitted = modules.train.temperature(3 * logits.detach(), label)
    assert fitted == pytest.approx(3, rel=0.15)

    def pull(factor: float) -> torch.Tensor:
        chosen = (factor * logits).log_softmax(1).gather(1, label[:, None])
        return torch.autograd.grad(chosen.sum(), x_t, retain_graph=True)[0]

    exact = pull(1.0)
    assert (pull(3 / fitted) - exact).norm() < 0.1 * (pull(3.0) - exact).norm()
    errors = [
        modules.variants.calibration_error(factor * logits.detach(), label) for factor in (1.0, 3.0)
    ]
    assert errors[0] < 0.03 < errors[1]
    smooth = [modules.train.smooth_error(factor * logits.detach(), label) for factor in (1.0, 3.0)]
    assert smooth[0] < 0.03 < smooth[1]


def test_the_robust_loss_is_that_of_a_worse_image_within_the_radius(modules: Any) -> None:
    classifier = load_classifier("fashion-classifier")
    images, label = open_source("digits", size=(28, 28), channels=1).batch(range(8))
    x, timestep = to_float(images), torch.full((8,), 100.0)
    seen = []

    def network(x_t: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append(x_t.detach())
        return classifier.network(x_t, timestep)

    worst = modules.train.robust(network, x, timestep, label)
    assert worst > F.cross_entropy(classifier.network(x, timestep), label)
    assert (seen[-1] - x).flatten(1).norm(dim=1).max() <= modules.train.RADIUS + 1e-5


def test_the_uneven_places_are_those_of_the_paper(modules: Any) -> None:
    uneven = modules.variants.changed(
        modules.variants.Uneven, load_classifier("fashion-classifier"), count=5, power=2.0
    )
    assert uneven.places(10) == {10, 9, 7, 4}
    even = modules.variants.changed(
        modules.variants.Uneven, load_classifier("fashion-classifier"), count=5, power=1.0
    )
    assert even.places(10) == {10, 8, 6, 4, 2}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tempered", "twisted", "unit"])
def test_the_command_measures_a_row_once(
    modules: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "features.py"
    file.write_text(
        "def means(images):\n    return images.float().mean(dim=(1, 3))[:, :3]\n", "utf-8"
    )
    command = modules.command
    names = load_classifier("fashion-classifier").classes
    digits = replace(open_source("digits", size=(28, 28), channels=1), classes=names)
    monkeypatch.setattr(command, "FEATURES", (f"{file}:means",))
    monkeypatch.setattr(command, "held_out", lambda: digits)
    monkeypatch.setattr(command, "training_images", lambda: digits)
    monkeypatch.setattr(command, "SCALES", (1.0, 2.0))
    monkeypatch.setattr(command, "EXAMINED", 20)
    monkeypatch.setattr(modules.train, "KNOTS", 2)
    row = command.ROWS[name]
    few = {"sampler": "ancestral", "grid": "even", "steps": 3}
    monkeypatch.setitem(
        command.ROWS,
        name,
        command.replace(row, sampling=few, particles=2 if row.particles else None),
    )
    page = tmp_path / "results" / "guides.md"
    page.parent.mkdir()
    page.write_text("<!-- guides: `python benchmarks/guides.py` --><!-- end of guides -->", "utf-8")
    words = ["guides.py", "--only", name, "--count", "30", "--few", "20"]
    words += ["--out", str(tmp_path / "out"), "--docs", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    command.main()
    stored = (tmp_path / "results" / "guides" / f"{name}.json").read_text("utf-8")
    assert json.loads(stored)["count"] == 30
    monkeypatch.setattr(command, "measure", lambda *given: pytest.fail("measured again"))
    command.main()
    assert row.title in page.read_text("utf-8")
