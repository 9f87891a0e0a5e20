"""images, labels, random draws -> one loss an image, and every random number that it takes."""

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from adm import losses
from adm.data import open_source
from adm.diffusion import EDM, FIXED_SMALL, NOISE, Parameterization, cosine
from adm.networks import NO_LABEL
from adm.recipes import build
from adm.recipes.build import autocast_for
from adm.training import objective
from adm.training.batches import Batch, Draws, draw
from adm.training.levels import uniform_level

CPU = torch.device("cpu")
FULL = autocast_for(tiny.diffusion("train.precision=float32").train, CPU)
MODEL = Parameterization(NOISE, FIXED_SMALL)


class Listener(nn.Module):
    """A network that returns zeros and records its inputs."""

    def forward(self, x_t: Tensor, step: Tensor, label: Tensor | None = None) -> Tensor:
        self.x_t, self.step, self.label = x_t, step, label
        return torch.zeros_like(x_t)


def batch(count: int, start: int = 0) -> Batch:
    images = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    return Batch(images, torch.ones(count, dtype=torch.int64), draw(0, start, count, (1, 2, 2)))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_are_dropped_at_the_dropout_rate(share: float) -> None:
    network, examples = Listener(), batch(1000)
    trained = objective.diffusion(
        cosine(10), MODEL, losses.simple, label_dropout=share, autocast=FULL
    )
    trained(network, examples)
    assert network.label is not None
    dropped = network.label == NO_LABEL
    assert torch.equal(dropped, torch.from_numpy(examples.draws.label < share))
    assert (network.label[~dropped] == 1).all()
    spread = 4 * math.sqrt(share * (1 - share) / 1000)
    assert abs(dropped.float().mean().item() - share) <= spread


def test_importance_draws_the_levels_and_weighs_their_losses() -> None:
    """By 1 / (T p), so that the expected loss is that of uniform levels."""
    importance, examples = losses.TimestepImportance(4, 1), batch(200)
    importance.update(np.arange(1, 5), np.array([1.0, 2.0, 3.0, 4.0]))
    trained = objective.diffusion(
        cosine(4), MODEL, losses.simple, levels=importance.draw, autocast=FULL
    )
    outcome = trained(Listener(), examples)
    p = torch.from_numpy(importance.probabilities)[outcome.level - 1]
    torch.testing.assert_close(outcome.loss, outcome.shown["loss"] / (4 * p).float())
    assert len(set((outcome.loss / outcome.shown["loss"]).tolist())) >= 4
    drawn = torch.bincount(outcome.level, minlength=5)
    assert drawn[4] > drawn[1] > 0 == drawn[0]


def test_the_network_receives_the_input_that_its_target_scales() -> None:
    network, examples, target = Listener(), batch(4), EDM(sigma_data=0.5)
    for each in (NOISE, target):
        model = Parameterization(each, FIXED_SMALL)
        objective.diffusion(cosine(10), model, losses.simple, autocast=FULL)(network, examples)
        if each is NOISE:
            x_t = network.x_t
    level = torch.from_numpy(uniform_level(cosine(10), examples.draws.level))
    assert not torch.equal(network.x_t, x_t)
    assert torch.equal(network.x_t, target.input(cosine(10), x_t, level))


def test_a_network_without_classes_receives_no_label() -> None:
    network = Listener()
    objective.diffusion(cosine(10), MODEL, losses.simple, labelled=False, autocast=FULL)(
        network, batch(2)
    )
    assert network.label is None


def test_levels_are_uniform_over_all_of_the_process() -> None:
    levels = uniform_level(cosine(5), draw(0, 0, 5000, (1, 1, 1)).level)
    counts = torch.bincount(torch.from_numpy(levels), minlength=6)
    assert counts[0] == 0
    assert len(counts) == 6
    assert (counts[1:] - 1000).abs().max() < 4 * math.sqrt(5000 * 0.2 * 0.8)


def test_a_classifier_of_clean_images_sees_no_noise() -> None:
    network, examples = Listener(), batch(4)
    with pytest.raises(RuntimeError):  # zeros are no logits; only the inputs matter here
        objective.classification(cosine(10), noised=False, autocast=FULL)(network, examples)
    assert (network.x_t == -1).all()
    assert (network.step == -1).all()


def test_an_outcome_belongs_to_the_image_and_not_to_its_batch() -> None:
    network = Listener()
    trained = objective.diffusion(cosine(10), MODEL, losses.simple, autocast=FULL)
    whole = trained(network, batch(6)).loss
    parts = [trained(network, batch(n, start)).loss for start, n in ((0, 1), (1, 3), (4, 2))]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_draws_are_the_same_however_the_stream_is_cut() -> None:
    shapes = (2, 3, 4), (2, 1, 2)
    whole = draw(7, 0, 9, *shapes)
    parts = [draw(7, start, count, *shapes) for start, count in ((0, 4), (4, 1), (5, 4))]
    assert all(np.array_equal(*pair) for pair in zip(whole.part(4, 5), parts[1], strict=True))
    for name in whole._fields:
        joined = torch.cat([torch.as_tensor(getattr(part, name)) for part in parts])
        assert torch.equal(joined, torch.as_tensor(getattr(whole, name))), name


def test_draws_differ_by_position_and_by_seed_and_are_what_they_claim() -> None:
    many: Draws = draw(0, 0, 4000, (1, 2, 2))
    assert len(set(many.level.tolist())) == 4000
    assert (draw(1, 0, 4, (1, 2, 2)).level != many.level[:4]).all()
    for name in ("level", "label", "flip", "crop"):
        values = torch.from_numpy(getattr(many, name))
        assert ((values >= 0) & (values < 1)).all()
        assert abs(values.mean() - 0.5) < 4 * math.sqrt(1 / 12 / values.numel())
    assert len(set(many.key.tolist())) == 4000
    assert many.noise.dtype == torch.float32
    assert abs(many.noise.mean()) < 4 / math.sqrt(16000)
    assert abs(many.noise.std() - 1) < 4 / math.sqrt(2 * 16000)


def test_large_seeds_count_to_their_last_bit() -> None:
    """Seeds that differ by one, where a float's 53 bits no longer distinguish them."""
    one, other = (draw(2**64 - n, 0, 1, (1, 2, 2)) for n in (1, 2))
    assert one.level != other.level
    assert one.key != other.key


DIGITS = ("train.batch_size=32", "train.steps=60", "train.save_every_steps=60")


def share_left(shown: list[dict[str, float]], name: str) -> float:
    """Of what a loss was in the first five steps, how much it is in the last five."""
    return sum(step[name] for step in shown[-5:]) / sum(step[name] for step in shown[:5])


def test_the_loss_of_denoising_falls_on_digits_in_sixty_steps(tmp_path: Path) -> None:
    chosen = tiny.diffusion("unet.classes=10", "unet.channels=16", *DIGITS)
    shown = tiny.steps(chosen, open_source("digits", size=(8, 8), channels=1), tmp_path)
    assert share_left(shown, "mse") < 0.7


def test_the_start_of_a_network_is_a_function_of_the_seed() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = (build.network(tiny.diffusion()).state_dict() for _ in range(2))
    other = build.network(tiny.diffusion("train.seed=1")).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(torch.get_rng_state(), before)
