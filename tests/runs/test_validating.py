"""average weights, held-out images -> the same numbers each time, and an unchanged network."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from runs import states
from torch import nn

from adm.data import Source
from adm.networks import key_dropout
from adm.processes import Devices
from adm.recipes import build
from adm.recipes.schema import override
from adm.runs.watch import watched
from adm.runs.watch.validation import (
    Means,
    measure,
    stratify,
    warning_of_overfitting,
    watch_validation,
)
from adm.training.batches import Batch, with_draws
from adm.training.objective import Outcome


def held_out(count: int = 12) -> Source:
    """Other images than `tiny.stripes` trains on."""
    return tiny.stripes(90).subset(np.arange(60, 60 + count))


def validated(
    chosen: Any, learner: Any, devices: Devices = states.CPU, at_once: int = 24
) -> dict[str, float]:
    chosen = override(chosen, ["watch.validation_images=24", "watch.every_steps=2"])
    run = states.watched(chosen, devices=devices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watched, "PIXELS", at_once * 8 * 8)
        return watch_validation(run, held_out())(2, learner)


def test_levels_cover_every_quarter_and_every_cell_of_it_alike() -> None:
    count = 400
    uniforms = np.random.default_rng(0).random(count)
    spread = stratify(uniforms, 0, count)
    assert np.array_equal(np.floor(4 * spread), np.arange(count) % 4)
    assert np.array_equal(np.sort(np.floor(count * spread)), np.arange(count))
    parts = [stratify(uniforms[i : i + 7], i, count) for i in range(0, count, 7)]
    assert np.array_equal(np.concatenate(parts), spread)


def by_level(network: nn.Module, batch: Batch) -> Outcome:
    """An objective whose loss is the uniform number behind the level."""
    loss = torch.from_numpy(batch.draws.level)
    return Outcome(loss, {"loss": loss}, torch.zeros(len(loss)))


def test_a_quarter_is_the_mean_over_its_own_levels() -> None:
    actual = measure(
        by_level, nn.Identity(), held_out(), devices=states.CPU, count=400, batch_size=32
    )
    assert actual.keys() == {"loss"}
    expected = torch.tensor([0.125, 0.375, 0.625, 0.875], dtype=torch.float64)
    torch.testing.assert_close(actual["loss"], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_numbers_are_of_the_average_weights_in_batches_of_any_size(kind: str) -> None:
    chosen = tiny.KINDS[kind]("train.precision=float32")
    learner = states.learner_of(chosen)
    first = validated(chosen, learner, at_once=24)
    torch.manual_seed(7)
    assert validated(chosen, learner, at_once=24) == first
    assert validated(chosen, learner, at_once=5) == pytest.approx(first, rel=1e-5)
    assert {f"validation/loss_q{i}" for i in (1, 2, 3, 4)} < first.keys()
    quarters = [first[f"validation/loss_q{i}"] for i in (1, 2, 3, 4)]
    assert np.mean(quarters) == pytest.approx(first["validation/loss"])
    states.scramble(dict(learner.network.named_parameters()), 9)
    assert validated(chosen, learner, at_once=24) == first  # of the average weights
    states.scramble(learner.ema.weights, 9)
    assert validated(chosen, learner, at_once=24) != first


class Answer(Devices):
    """One of two processes, with the sums of the other: of held-out and training images."""

    sent: list[torch.Tensor]
    other: list[torch.Tensor]

    def __init__(self, rank: int, other: list[torch.Tensor]) -> None:
        super().__init__(torch.device("cpu"), rank=rank, world=2)
        vars(self).update(sent=[], other=other)

    def gather(self, value: Any) -> list[Any]:
        self.sent.append(value)
        return [value, self.other[len(self.sent) - 1] if self.other else torch.zeros_like(value)]


def test_two_processes_find_what_one_finds() -> None:
    chosen = tiny.diffusion("train.precision=float32")
    learner = states.learner_of(chosen)
    first = Answer(1, [])
    validated(chosen, learner, first, at_once=7)
    last = Answer(0, first.sent)
    actual = validated(chosen, learner, last, at_once=7)
    assert actual == pytest.approx(validated(chosen, learner), rel=1e-5)
    for rank in (first, last):
        assert [int(sums[1, 0].sum()) for sums in rank.sent] == [12, 12]  # images, half of each


def measured(**means: float) -> Means:
    return {name: torch.full((4,), value).double() for name, value in means.items()}


def test_overfitting_is_reported_past_the_stated_gap_and_not_before() -> None:
    trained = measured(loss=0.10, accuracy=0.90)
    assert warning_of_overfitting(measured(loss=0.90, accuracy=0.81), trained) is None
    message = warning_of_overfitting(measured(loss=0.90, accuracy=0.79), trained)
    assert message is not None
    assert "90.0% on training images" in message
    assert "79.0% on held-out ones" in message
    assert warning_of_overfitting(measured(loss=0.109), measured(loss=0.10)) is None
    assert warning_of_overfitting(measured(loss=0.111), measured(loss=0.10)) is not None
    assert warning_of_overfitting(measured(loss=0.05), measured(loss=0.10)) is None


@pytest.mark.slow
def test_a_network_that_learnt_its_images_by_heart_shows_a_gap_and_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = ("watch.validation_images=120", "watch.every_steps=1")
    chosen = tiny.classifier("process.steps=20", "train.precision=float32", *images)
    few = tiny.stripes(12)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 256, (36, 1, 8, 8), generator=generator).to(torch.uint8)
    train = replace(few, images=lambda rows: noise[rows])
    unseen = replace(few, images=lambda rows: noise[12:][rows])  # labels that are unpredictable
    learner, (objective,) = states.learner_of(chosen), build.objectives(chosen, torch.device("cpu"))
    optimizer = torch.optim.AdamW(learner.network.parameters(), lr=3e-3)
    generator = np.random.default_rng(0)
    watch = watch_validation(states.watched(chosen, training=train), unseen)
    for step in range(250):
        batch = with_draws(train, list(range(12)), 0, 12 * step)
        key_dropout(learner.network, batch.draws.key)  # as in training
        objective(learner.network, batch).loss.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in learner.network.named_parameters():
        learner.ema.weights[name].copy_(parameter.detach())
    gap = watch(1, learner)["validation/gap"]
    assert gap > 0.2
    watch(2, learner)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("step 1: overfitting")


def test_images_of_another_size_or_other_classes_are_refused_at_once() -> None:
    run = states.watched(tiny.diffusion())
    with pytest.raises(ValueError, match="the recipe needs"):
        watch_validation(run, tiny.stripes(size=(9, 9)))
    other = replace(held_out(), classes=("bag", "sneaker", "ankle boot"))
    with pytest.raises(
        ValueError, match="stripes and stripes differ in their classes or the order of them"
    ):
        watch_validation(run, other)
