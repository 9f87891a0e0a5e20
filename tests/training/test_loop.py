"""data, objective, network -> trained weights: what the loop does to images, rates and failures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adm.data import Source
from adm.processes import Devices
from adm.training import checkpoint, loop, model_file
from adm.training.batches import Augmentation, Batch
from adm.training.learner import Learner
from adm.training.objective import Outcome
from adm.training.settings import TrainSettings

SETTINGS = TrainSettings(
    steps=4,
    batch_size=8,
    learning_rate=0.1,
    ema_decay=0.9,
    precision="float32",
    give_up_after=2,
    save_every_steps=1,
)
DESCRIBED = {"recipe": {}, "classes": list(tiny.CLASSES)}


class Recorder:
    """An objective that records its batches, and fails at one image of some steps."""

    def __init__(self, *fails_at: int, with_: float = math.nan) -> None:
        self.batches: list[Batch] = []
        self.fails_at, self.with_ = fails_at, with_

    def __call__(self, network: nn.Module, batch: Batch) -> Outcome:
        self.batches.append(batch)
        level = torch.arange(1, len(batch.images) + 1)
        loss = network(torch.ones(len(level), 2)).square().sum(dim=1)
        if len(self.batches) in self.fails_at:
            loss = torch.where(level == 7, loss * self.with_, loss)
        return Outcome(loss, {"loss": loss.detach()}, level)


def run_of(
    folder: Path, recorder: Recorder, source: Source, settings: TrainSettings = SETTINGS
) -> loop.Run:
    torch.manual_seed(0)
    device = Devices(torch.device("cpu"))
    learner = Learner.of(nn.Linear(2, 2), lambda step: recorder, SETTINGS, device)
    return loop.Run(learner, source, settings, folder, DESCRIBED, device)


def looped(
    folder: Path, recorder: Recorder, source: Source, settings: TrainSettings = SETTINGS
) -> nn.Module:
    run = run_of(folder, recorder, source, settings)
    for _ in loop.train(run):
        pass
    return run.learner.network


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_losses_that_stay_not_finite_end_the_run_with_names_and_its_last_checkpoint(
    tmp_path: Path, value: float
) -> None:
    message = r"step 4: the network's output is not finite.* worst at levels 7, .*step-0000002"
    with pytest.raises(FloatingPointError, match=message):
        looped(tmp_path, Recorder(3, 4, with_=value), tiny.stripes())
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    weights = model_file.load_weights(latest / "raw.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_one_step_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    looped(tmp_path, Recorder(3), tiny.stripes())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("skipped_forward") for line in lines] == [None, None, 1.0, None]
    assert lines[2]["loss"] is None  # JSON cannot express it
    # Steps 1, 2 and 4 moved the weights: AdamW counted three.
    moments = load_file(tmp_path / "checkpoints/step-0000004/optimizer.safetensors")
    assert moments["step/weight"] == moments["step/bias"] == 3


class Overflow(Recorder):
    """An objective whose loss stays finite at the steps at which its gradient fails."""

    def __init__(self, *overflows_at: int) -> None:
        super().__init__()
        self.overflows_at = overflows_at

    def __call__(self, network: nn.Module, batch: Batch) -> Outcome:
        outcome = super().__call__(network, batch)
        if len(self.batches) in self.overflows_at:
            outcome.loss.register_hook(lambda gradient: gradient * torch.inf)
        return outcome


@pytest.mark.parametrize(
    ("fails", "why"),
    [(Recorder(3), "forward"), (Overflow(3), "gradient")],
    ids=["forward", "gradient"],
)
def test_a_skipped_step_leaves_weights_moments_and_averages_bit_for_bit(
    tmp_path: Path, fails: Recorder, why: str
) -> None:
    run = run_of(tmp_path, fails, tiny.stripes())
    own = replace(SETTINGS, weight_decay=0.1, ema_others=(0.5, 0.3))
    learner = Learner.of(nn.Linear(2, 2), lambda step: fails, own, run.devices)
    run = replace(run, learner=learner)
    snapshots = []
    for progress in loop.train(run):
        assert (f"skipped_{why}" in progress.shown) == (progress.step == 3)
        snapshots.append(clones(run.learner))
    first, before, after, last = snapshots
    assert len(after) == 7 * 2  # of weight and bias: raw, 2 moments and their count; 3 averages
    assert all(torch.equal(after[name], value) for name, value in before.items())
    for one, other in ((first, before), (after, last)):
        assert not any(torch.equal(one[name], value) for name, value in other.items())


def test_a_run_resumes_from_a_checkpoint_of_skipped_steps_alone(tmp_path: Path) -> None:
    run = run_of(tmp_path, Overflow(1), tiny.stripes(), replace(SETTINGS, steps=1))
    (progress,) = loop.train(run)
    assert math.isfinite(progress.shown["loss"])
    looped(tmp_path, Recorder(), tiny.stripes())


class Full(Recorder):
    """An objective that runs out of a GPU's memory with more than three images."""

    def __call__(self, network: nn.Module, batch: Batch) -> Outcome:
        outcome = super().__call__(network, batch)
        if batch.size > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return outcome


def test_a_trial_of_memory_changes_nothing(tmp_path: Path) -> None:
    full, settings = Full(), replace(SETTINGS, save_every_steps=4)
    list(loop.train(run_of(tmp_path / "fixed", Recorder(), tiny.stripes(), settings), 2))
    list(loop.train(run_of(tmp_path / "auto", full, tiny.stripes(), settings), "auto"))
    assert [batch.size for batch in full.batches[:4]] == [8, 4, 2, 2]
    assert files(tmp_path / "auto") == files(tmp_path / "fixed")
    with pytest.raises(MemoryError, match=r"with 8 images at once; a micro-batch of 2 would fit"):
        looped(tmp_path / "full", Full(), tiny.stripes(), settings)


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_buffers_of_a_network_are_saved_and_restored(tmp_path: Path) -> None:
    for way, ends in {"whole": (4,), "halves": (2, 4)}.items():
        for end in ends:
            run = run_of(tmp_path / way, Recorder(), tiny.stripes())
            network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
            learner = Learner.of(network, run.learner.objective_at, SETTINGS, run.devices)
            for progress in loop.train(replace(run, learner=learner), 4):
                if progress.step == end:
                    break
    assert files(tmp_path / "whole") == files(tmp_path / "halves")
    for file in ("raw", "model"):
        stored = load_file(tmp_path / f"whole/checkpoints/step-0000004/{file}.safetensors")
        assert stored["1.num_batches_tracked"] == 8  # of 4 steps of 2 micro-batches


def clones(learner: Learner) -> dict[str, Tensor]:
    """Copies of all trained tensors, by file and name."""
    files = checkpoint.files_of(learner).items()
    return {
        f"{file}/{key}": t.detach().clone() for file, tensors in files for key, t in tensors.items()
    }


def test_figures_of_a_watch_are_logged_and_its_loss_marks_the_best(tmp_path: Path) -> None:
    losses = {1: 3.0, 2: 1.0, 3: 2.0, 4: 5.0}

    def watch(done: int, learner: object) -> dict[str, float]:
        return {"validation/loss": losses[done]}

    run = replace(run_of(tmp_path, Recorder(), tiny.stripes()), watch=watch)
    for _ in loop.train(run):
        pass
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["validation/loss"] for line in lines] == list(losses.values())
    saved = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert saved == ["step-0000002", "step-0000003", "step-0000004"]
    assert (tmp_path / "checkpoints/best").resolve().name == "step-0000002"


def test_images_come_whole_and_each_once_a_pass(tmp_path: Path) -> None:
    source, recorder = tiny.stripes(count=16), Recorder()
    looped(tmp_path, recorder, source)
    images = torch.cat([batch.images for batch in recorder.batches])
    labels = torch.cat([batch.labels for batch in recorder.batches])
    own, own_labels = source.batch(range(16))
    for first in (0, 16):  # two passes of two batches
        indices = [same_each(image, own).nonzero().item() for image in images[first : first + 16]]
        assert sorted(indices) == list(range(16))
        assert torch.equal(labels[first : first + 16], own_labels[indices])


def test_half_of_the_images_are_mirrored_by_flip(tmp_path: Path) -> None:
    source = tiny.stripes(count=40)
    settings = replace(SETTINGS, steps=25, batch_size=16, save_every_steps=25)
    plain, mirrored = Recorder(), Recorder()
    looped(tmp_path / "plain", plain, source, settings)
    run = run_of(tmp_path / "mirrored", mirrored, source, settings)
    list(loop.train(replace(run, augmentation=Augmentation(flip=True))))
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
    assert [steady.rate(step, 0.1) for step in (0, 4, 9, 99)] == pytest.approx(
        [0.01, 0.05, 0.1, 0.1]
    )
    falling = replace(steady, anneal=True, warmup_steps=0)
    assert [falling.rate(step, 0.1) for step in (0, 50, 99)] == pytest.approx([0.1, 0.05, 0.001])


def test_the_rate_is_the_one_that_moves_the_weights(tmp_path: Path) -> None:
    # AdamW's first step moves each weight by the rate, whatever its gradient.
    settings = replace(SETTINGS, steps=1, warmup_steps=3)
    torch.manual_seed(0)
    start = nn.Linear(2, 2).weight.detach()
    moved = looped(tmp_path, Recorder(), tiny.stripes(), settings).weight.detach() - start
    torch.testing.assert_close(moved.abs(), torch.full((2, 2), 0.1 / 4), rtol=1e-3, atol=0)


def test_bad_steps_before_a_stop_count_after_it(tmp_path: Path) -> None:
    stops = iter([False, False, True])
    run = replace(run_of(tmp_path, Recorder(3), tiny.stripes()), stop=lambda: next(stops))
    assert [state.step for state in loop.train(run)] == [1, 2, 3]
    with pytest.raises(FloatingPointError, match="step 4"):
        looped(tmp_path, Recorder(1), tiny.stripes())


def test_the_log_is_cut_after_the_step_whatever_lines_are_missing(tmp_path: Path) -> None:
    stops = iter([False, False, True])
    run = replace(run_of(tmp_path, Recorder(), tiny.stripes()), stop=lambda: next(stops))
    list(loop.train(run))
    log = tmp_path / "log.jsonl"
    # The first line lost, one of a step beyond the checkpoint, one that a kill cut off.
    later = '{"step": 4, "loss": 1.0}\n{"step": 5, "lo'
    log.write_text("".join(log.read_text().splitlines(keepends=True)[1:]) + later)
    looped(tmp_path, Recorder(), tiny.stripes())
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [2, 3, 4]


def test_a_validation_that_is_not_finite_is_none(tmp_path: Path) -> None:
    losses = iter([math.nan, 2.0, math.inf, 3.0])
    run = run_of(tmp_path, Recorder(), tiny.stripes())
    run = replace(run, watch=lambda done, learner: {"validation/loss": next(losses)})
    list(loop.train(run))
    assert (tmp_path / "checkpoints/best").resolve().name == "step-0000002"
    for state in (tmp_path / "checkpoints").glob("step-*/state.json"):
        json.loads(state.read_text(), parse_constant=lambda word: pytest.fail(word))
