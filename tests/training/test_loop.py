"""data, objective, network -> trained weights: what the loop does to images, rates and failures."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from adm.data import Source
from adm.training import checkpoint, loop
from adm.training.loop import LoopSettings
from adm.training.objective import Batch, Outcome

SETTINGS = LoopSettings(
    steps=4,
    batch_size=8,
    learning_rate=0.1,
    weight_decay=0.0,
    warmup_steps=0,
    anneal=False,
    ema_decay=0.9,
    gradient_clip=1.0,
    flip=False,
    seed=0,
    save_every_steps=1,
)
DESCRIBED = {"recipe": {}, "classes": list(tiny.CLASSES)}


class Recorder:
    """An objective that keeps its batches, and fails at one image of one step."""

    def __init__(self, fails_at: int | None = None, with_: float = math.nan) -> None:
        self.batches: list[Batch] = []
        self.fails_at, self.with_ = fails_at, with_

    def __call__(self, network: nn.Module, batch: Batch) -> Outcome:
        self.batches.append(batch)
        level = torch.arange(1, len(batch.images) + 1)
        loss = network(torch.ones(len(level), 2)).square().sum(dim=1)
        if len(self.batches) == self.fails_at:
            loss = torch.where(level == 7, loss * self.with_, loss)
        return Outcome(loss, {"loss": loss.detach()}, level)


def looped(
    run: Path, recorder: Recorder, source: Source, settings: LoopSettings = SETTINGS
) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Linear(2, 2)
    device = torch.device("cpu")
    for _ in loop.train(network, recorder, source, settings, run, DESCRIBED, device):
        pass
    return network


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_step_and_level_and_keeps_the_last_checkpoint(
    tmp_path: Path, value: float
) -> None:
    with pytest.raises(FloatingPointError, match=r"step 3 is (nan|inf|-inf), worst at level 7;"):
        looped(tmp_path, Recorder(fails_at=3, with_=value), tiny.stripes())
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    assert latest.name == "step-0000002"
    weights, _ = checkpoint.load_model(latest / "raw.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def test_images_come_whole_and_each_once_a_pass(tmp_path: Path) -> None:
    source, recorder = tiny.stripes(count=16), Recorder()
    looped(tmp_path, recorder, source)
    seen = torch.cat([batch.images for batch in recorder.batches])
    labels = torch.cat([batch.labels for batch in recorder.batches])
    own, own_labels = source.batch(range(16))
    for first in (0, 16):  # two passes of two batches
        found = [same(image, own).nonzero().item() for image in seen[first : first + 16]]
        assert sorted(found) == list(range(16))
        assert torch.equal(labels[first : first + 16], own_labels[found])


def same(image: Tensor, others: Tensor) -> Tensor:
    return (others == image).flatten(1).all(dim=1)


def test_half_of_the_images_are_mirrored_where_asked(tmp_path: Path) -> None:
    source = tiny.stripes(count=40)
    settings = replace(SETTINGS, steps=25, batch_size=16, save_every_steps=25)
    plain, mirrored = Recorder(), Recorder()
    looped(tmp_path / "plain", plain, source, settings)
    looped(tmp_path / "mirrored", mirrored, source, replace(settings, flip=True))
    flips = []
    for a, b in zip(plain.batches, mirrored.batches, strict=True):
        turned = same_each(a.images.flip(3), b.images)
        assert (turned | same_each(a.images, b.images)).all()
        flips.append(turned)
    share = torch.cat(flips).float().mean().item()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt(25 * 16)


def same_each(a: Tensor, b: Tensor) -> Tensor:
    return (a == b).flatten(1).all(dim=1)


def test_the_rate_rises_to_its_peak_and_stays_or_falls_to_nothing() -> None:
    steady = replace(SETTINGS, steps=100, warmup_steps=9)
    assert [steady.rate(step) for step in (0, 4, 9, 99)] == pytest.approx([0.01, 0.05, 0.1, 0.1])
    falling = replace(steady, anneal=True, warmup_steps=0)
    assert [falling.rate(step) for step in (0, 50, 99)] == pytest.approx([0.1, 0.05, 0.001])


def test_the_rate_is_the_one_that_moves_the_weights(tmp_path: Path) -> None:
    # AdamW's first step moves each weight by the rate, whatever its gradient.
    settings = replace(SETTINGS, steps=1, warmup_steps=3)
    torch.manual_seed(0)
    start = nn.Linear(2, 2).weight.detach()
    moved = looped(tmp_path, Recorder(), tiny.stripes(), settings).weight.detach() - start
    torch.testing.assert_close(moved.abs(), torch.full((2, 2), 0.1 / 4), rtol=1e-3, atol=0)


def test_progress_counts_steps_and_images(tmp_path: Path) -> None:
    network, device = nn.Linear(2, 2), torch.device("cpu")
    progress = list(
        loop.train(network, Recorder(), tiny.stripes(), SETTINGS, tmp_path, DESCRIBED, device)
    )
    assert [state.step for state in progress] == [1, 2, 3, 4]
    assert all(state.images_per_second > 0 for state in progress)
