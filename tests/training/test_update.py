"""one step, cut into micro-batches of any size, in any precision -> the same step."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file
from torch import nn

from adm.images import to_float
from adm.processes import Devices
from adm.recipes import Recipe
from adm.runs import run
from adm.training import loop
from adm.training.batches import Augmentation, Batch, batch_at
from adm.training.ema import averages
from adm.training.learner import Learner, LossScale
from adm.training.loop import Progress
from adm.training.microbatch import largest
from adm.training.objective import Outcome
from adm.training.update import StepSettings, Update, update

SETTINGS = ("train.batch_size=16", "train.precision=float32", "train.steps=3")
OWN = {"diffusion": ("unet.dropout=0.3",), "classifier": ("classifier.dropout=0.3",)}


def trained(recipe: Recipe, folder: Path, micro_batch: int | None = None) -> list[Progress]:
    options = run.TrainOptions(micro_batch=micro_batch)
    return list(run.train_steps(recipe, tiny.stripes(), folder, torch.device("cpu"), options))


def figures(progress: list[Progress], name: str) -> torch.Tensor:
    return torch.tensor([state.shown[name] for state in progress], dtype=torch.float64)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_step_does_not_depend_on_how_its_batch_is_cut(tmp_path: Path, kind: str) -> None:
    recipe = tiny.KINDS[kind](*SETTINGS, *OWN.get(kind, ()))
    whole, *cut = (trained(recipe, tmp_path / str(size), size) for size in (16, 1, 5))
    for name, parts in product(("loss", "gradient_norm"), cut):
        torch.testing.assert_close(figures(parts, name), figures(whole, name), rtol=2e-4, atol=1e-6)


def test_importance_counts_a_step_once_however_it_is_cut(tmp_path: Path) -> None:
    own = ("levels=by-loss", "loss=vlb", "process.steps=4", "train.steps=8")
    recipe = tiny.diffusion(*SETTINGS[:2], *own)  # warm after some steps, and then it matters
    whole = trained(recipe, tmp_path / "whole", 16)
    parts = trained(recipe, tmp_path / "parts", 4)
    torch.testing.assert_close(figures(parts, "loss"), figures(whole, "loss"), rtol=2e-3, atol=0)


def test_a_continued_run_keeps_its_micro_batch(tmp_path: Path) -> None:
    recipe = tiny.diffusion("train.save_every_steps=2", "train.batch_size=8")
    steps = run.train_steps(
        recipe, tiny.stripes(), tmp_path, torch.device("cpu"), run.TrainOptions(micro_batch=2)
    )
    for state in steps:
        if state.step == 2:
            break
    steps.close()  # type: ignore[attr-defined]
    trained(recipe, tmp_path)
    numbers = loop.checkpoint.read_numbers(tmp_path / "checkpoints/step-0000004")
    assert numbers.micro_batch == 2


@pytest.mark.parametrize(("precision", "apart"), [("float16", 0.02), ("bfloat16", 0.1)])
def test_half_precision_follows_single(tmp_path: Path, precision: str, apart: float) -> None:
    ways = ("float32", precision)
    shown = {way: trained(tiny.diffusion(f"train.precision={way}"), tmp_path / way) for way in ways}
    for name in ("loss", "gradient_norm"):
        single, half = (figures(shown[way], name) for way in ways)
        assert not torch.equal(half, single)
        torch.testing.assert_close(half, single, rtol=apart, atol=0)
    last = [tmp_path / way / "checkpoints/step-0000004" for way in ways]
    single, half = (load_file(folder / "optimizer.safetensors") for folder in last)
    ours, theirs = (torch.cat([m[key].flatten() for key in single]) for m in (half, single))
    assert (ours - theirs).norm() < 2.5 * apart * theirs.norm(), "moments of gradients as they are"
    raw = load_file(last[1] / "raw.safetensors").values()
    assert {weight.dtype for weight in raw} == {torch.float32}


class Squares:
    """An objective whose gradient is twice the weights times the images' levels, or overflows."""

    def __init__(self, overflows: bool = False) -> None:
        self.overflows = overflows

    def __call__(self, network: nn.Module, batch: Batch) -> Outcome:
        levels = to_float(batch.images).flatten(1).mean(dim=1)
        (weight,) = network.parameters()
        loss = levels * weight.square().sum()
        if self.overflows:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return Outcome(loss, {"loss": loss.detach()}, torch.ones(batch.size))


def learner_of(scale: float, optimizer: Callable, overflows_at: Sequence[int] = ()) -> Learner:
    """A network of one weight matrix, which learns at a loss scale."""
    torch.manual_seed(0)
    network = nn.Linear(3, 5, bias=False)
    return Learner(
        network,
        network,
        lambda step: Squares(step in overflows_at),
        optimizer(network.parameters()),
        averages(network, 0.9),
        LossScale(scale, 0, True),
    )


def step(learner: Learner, clip: float | None = None) -> Update:
    batch = batch_at(tiny.stripes(), 0, 0, 4, Augmentation())
    return update(learner, batch, StepSettings(Devices(torch.device("cpu")), 4, 2, clip))


def stepped(scale: float, clip: float | None, optimizer: Callable) -> tuple[Update, dict]:
    """One step of a network of one weight matrix, at a loss scale."""
    learner = learner_of(scale, optimizer)
    taken, network = step(learner, clip), learner.network
    return taken, {"weight": network.weight, **learner.optimizer.state[network.weight]}


OPTIMIZERS = {
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),  # updates are proportional
    "AdamW": partial(torch.optim.AdamW, lr=0.1),  # moments are proportional
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.01])
@pytest.mark.parametrize("scale", [2.0, 2.0**16])
def test_a_step_without_overflow_is_the_same_at_any_loss_scale(
    scale: float, clip: float | None, optimizer: Callable
) -> None:
    """Bit for bit: a power of two only moves the exponents, and is divided out again."""
    plain, without = stepped(1.0, clip, optimizer)
    scaled, with_scale = stepped(scale, clip, optimizer)
    assert scaled.skipped is None
    assert scaled.gradient_norm == plain.gradient_norm > 0.01
    assert without.keys() == with_scale.keys()
    for name, value in without.items():
        assert torch.equal(with_scale[name], value), name


def test_the_gradient_is_that_of_the_mean_over_the_batch() -> None:
    """In closed form: the mean of l |W|^2 over images of level l has the gradient 2 mean(l) W."""
    torch.manual_seed(0)
    weight = nn.Linear(3, 5, bias=False).weight
    levels = to_float(batch_at(tiny.stripes(), 0, 0, 4, Augmentation()).images)
    taken, _ = stepped(1.0, None, OPTIMIZERS["momentum"])
    expected = 2 * levels.mean().abs() * weight.norm()
    assert taken.gradient_norm == pytest.approx(expected.item(), rel=1e-5)


def test_a_gradient_that_is_shorter_than_the_clip_is_left_as_it_is() -> None:
    (_, free), (_, loose) = (stepped(1.0, clip, OPTIMIZERS["momentum"]) for clip in (None, 1e6))
    assert all(torch.equal(loose[name], value) for name, value in free.items())


def test_the_update_of_a_clipped_gradient_has_the_norm_of_the_clip() -> None:
    once = partial(torch.optim.SGD, lr=1.0)
    torch.manual_seed(0)
    start = nn.Linear(3, 5, bias=False).weight.detach().clone()
    for scale in (1.0, 2.0**16):
        _, after = stepped(scale, 0.01, once)
        assert (after["weight"].detach() - start).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_the_loss_scale_falls_on_overflow_and_rises_after_a_thousand_good_steps() -> None:
    scale = LossScale.of("float16")
    first = scale.value
    scale.adapt(finite=False)
    assert scale.value == first / 2
    for _ in range(999):
        scale.adapt(finite=True)
    assert scale.value == first / 2
    scale.adapt(finite=True)
    assert scale.value == first
    for _ in range(100):
        scale.adapt(finite=False)
    assert (scale.value, scale.can_fall) == (1.0, False)
    unscaled = LossScale.of("bfloat16")
    unscaled.adapt(finite=False)
    assert unscaled.value == 1.0


def test_an_overflow_is_a_bad_step_once_no_smaller_scale_can_cure_it() -> None:
    learner = learner_of(4.0, OPTIMIZERS["AdamW"], overflows_at=range(4))
    bad = []
    for _ in range(5):
        step(learner)
        bad.append(learner.bad_steps)
    assert bad == [0, 0, 1, 2, 0]
    assert learner.step == 5


@pytest.mark.parametrize(("memory", "expected"), [(100, 64), (33, 32), (7, 4), (1, 1), (0, None)])
def test_the_largest_micro_batch_is_the_first_half_that_fits(
    memory: int, expected: int | None
) -> None:
    tried = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= memory

    assert largest(fits, 64) == expected
    assert tried == [64 >> i for i in range(len(tried))]
