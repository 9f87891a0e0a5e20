"""recipe -> bytes of a training step: a walk without values predicts what a step takes."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from adm.app.runs.estimates import Ledger, batch_sizes, step_memory, walk
from adm.app.runs.estimates import _peaks as peaks
from adm.networks import recompute
from adm.recipes import GANRecipe, Recipe, build, recipe
from adm.training.batches import Augmentation, Batch, batch_at, draw
from adm.training.objective import Objective, Outcome
from adm.training.players import Player, RunState, idle
from adm.training.update import Update


def noisy_upsampler() -> Recipe:
    return tiny.upsampler("data.low_res_noise=9", "unet.conditions=low_res")


CASES = [
    (tiny.diffusion, "float32", False),
    (tiny.classifier, "bfloat16", False),
    (tiny.upsampler, "bfloat16", True),
    (noisy_upsampler, "float32", False),
    (tiny.gan, "bfloat16", False),
    (tiny.gan, "float32", True),
]


def trained(base: Recipe, **changes: object) -> Recipe:
    return replace(base, train=replace(base.train, **changes))


def computed(chosen: Recipe, images: int) -> int:
    """The peak of the passes of a turn with values, counted by the same ledger."""
    networks = {name: each.train() for name, each in build.networks(chosen).items()}
    for network in networks.values():
        recompute(network, chosen.train.checkpoint_activations)
    parts = chosen.adversarial.discriminator_steps if isinstance(chosen, GANRecipe) else 1
    source = tiny.stripes(size=chosen.data.size, channels=chosen.data.channels)
    batch = batch_at(source, 0, 0, images * parts, Augmentation())
    peaks = []

    def walked(player: Player, objective: Objective, batch: Batch, *, parts: int = 1) -> Update:
        peaks.append(walk(player.network, objective, batch, others=networks.values()))
        return Update(torch.empty(0), {}, 0.0, None)

    state = RunState({name: idle(network) for name, network in networks.items()})
    build.turn(chosen, state, torch.device("cpu"))(state, batch, walked)
    assert len(peaks) == (parts + 1 if isinstance(chosen, GANRecipe) else 1)
    return max(peaks)


def test_a_ledger_counts_live_storage_once_and_freed_storage_in_the_peak() -> None:
    with Ledger() as ledger:
        a = torch.zeros(1000)
        view = a[:10].reshape(2, 5)
        assert ledger.alive == 4000
        b = a + 1
        assert ledger.alive == 8000
        del a, view
        gc.collect()
        assert ledger.alive == 4000
        b += 1
        assert (ledger.alive, ledger.peak) == (4000, 8000)


@pytest.mark.parametrize(("make", "precision", "recomputed"), CASES)
def test_a_walk_without_values_takes_what_a_step_with_values_takes(
    make: Callable[[], Recipe], precision: str, recomputed: bool
) -> None:
    chosen = trained(make(), precision=precision, checkpoint_activations=recomputed)
    estimates = peaks(chosen, [1, 6], copying=False)
    # With values, views of one tensor may or may not be copied.
    assert estimates == pytest.approx([computed(chosen, 1), computed(chosen, 6)], rel=0.03)


def test_the_estimated_line_is_not_below_the_peak() -> None:
    chosen = trained(tiny.diffusion(), checkpoint_activations=True)
    estimate = step_memory(chosen, "cuda")
    sizes = [1, 6, 20, batch_sizes(chosen)[-1]]
    measured = peaks(chosen, sizes, copying=False)
    # Weights, gradients, moments, average.
    fixed = estimate.fixed - (measured[0] - estimate.per_image)
    for size, peak in zip(sizes, measured, strict=True):
        assert estimate.of(size) >= fixed + peak


def test_gradients_are_part_of_the_peak_and_freed_after_it() -> None:
    network = torch.nn.Linear(100, 10, bias=False)
    blank = Batch(torch.zeros(2, 100), torch.zeros(2, dtype=torch.int64), draw(0, 0, 2, (1, 1, 1)))

    def objective(network: torch.nn.Module, batch: Batch) -> Outcome:
        loss = network(batch.images).sum(1)
        return Outcome(loss, {}, torch.zeros(2))

    peak = walk(network, objective, blank)
    weights = 4 * 1000
    assert 2 * weights <= peak < 2 * weights + 1000  # the gradient, and its increment
    assert network.weight.grad is None


def test_a_gan_needs_the_weights_of_both_players_and_the_passes_of_one() -> None:
    chosen = tiny.gan("gan.discriminator_channels=64")
    weights = {
        name: sum(p.numel() for p in network.parameters())
        for name, network in build.networks(chosen).items()
    }
    (peak,) = peaks(chosen, [1], copying=False)
    assert peak > 4 * weights["discriminator"]  # gradients
    fixed = (3 + 1) * 4 * sum(weights.values())  # with AdamW's moments and an average
    assert step_memory(chosen, "cuda").of(1) == fixed + peak


def test_an_estimate_leaves_no_pretended_tensor_behind() -> None:
    chosen = trained(recipe("digits"), precision="float32")
    peaks(chosen, [8], copying=False)
    network, x = build.network(chosen).train(), torch.randn(2, 1, 8, 8)
    out = network(x, torch.tensor([5.0, 50.0]), torch.tensor([1, 2]))
    out.sum().backward()
    assert type(out) is torch.Tensor
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(type(each) is torch.Tensor and each.isfinite().all() for each in gradients)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of a process from Linux")
def test_a_process_that_trains_grows_by_about_the_estimate() -> None:
    name, precision, images = "fashion", "bfloat16", 64
    script = Path(__file__).parents[2] / "benchmarks" / "recipes.py"
    words = [sys.executable, str(script), "--child", name, precision, "0", str(images)]
    # Freed memory is returned at once.
    lean = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=lean)
    out = done.stdout
    measured = float(out.strip().splitlines()[-1].strip("[]").split(",")[0])
    estimate = step_memory(trained(recipe(name), precision=precision)).of(images)
    assert 0.8 < measured / estimate < 1.2
