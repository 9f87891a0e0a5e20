"""recipe -> bytes of a training step: what a walk without computing tells is what a step takes."""

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

from adm.networks import recompute
from adm.recipes import Recipe, build, recipe
from adm.runs import memory
from adm.runs.memory import Ledger, Memory, batch_sizes, estimate, walk
from adm.runs.memory import _peaks as peaks
from adm.training.batches import Augmentation, batch_at

CASES = [
    (tiny.diffusion, "float32", False),
    (tiny.diffusion, "bfloat16", True),
    (tiny.classifier, "bfloat16", False),
    (tiny.upsampler, "bfloat16", False),
    (tiny.upsampler, "float32", True),
]


def trained(base: Recipe, **changes: object) -> Recipe:
    return replace(base, train=replace(base.train, **changes))


def computed(chosen: Recipe, images: int) -> int:
    """The peak of a step that is taken, counted by the same ledger."""
    network = build.network(chosen).train()
    recompute(network, chosen.train.checkpoint_activations)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    size, channels = chosen.data.size, chosen.data.channels
    batch = batch_at(tiny.stripes(size=size, channels=channels), 0, 0, images, Augmentation())
    return walk(network, build.objective(chosen, torch.device("cpu")), batch)


def test_a_ledger_counts_what_lives_once_and_what_died_in_the_peak_alone() -> None:
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
    told = peaks(chosen, [1, 6], copying=False)
    # Views of one tensor may be copied or not where values are looked at.
    assert told == pytest.approx([computed(chosen, 1), computed(chosen, 6)], rel=0.03)


@pytest.mark.parametrize("recomputed", [False, True])
def test_the_line_told_is_not_below_the_peak(recomputed: bool) -> None:
    chosen = trained(tiny.diffusion(), checkpoint_activations=recomputed)
    told = estimate(chosen, "cuda")
    sizes = [1, 6, 20, batch_sizes(chosen)[-1]]
    found = peaks(chosen, sizes, copying=False)
    held = told.fixed - (found[0] - told.per_image)  # weights, gradients, moments, average
    for size, peak in zip(sizes, found, strict=True):
        assert told.of(size) >= held + peak


def test_a_further_average_takes_four_bytes_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_peaks", lambda recipe, sizes, copying, teach: [100, 420, 740])
    base = recipe("digits")
    count = sum(p.numel() for p in build.network(base).parameters())
    more = trained(base, ema_others=(0.9,), ema_widths=(0.05, 0.1))
    assert estimate(more).fixed - estimate(base).fixed == 3 * 4 * count
    assert estimate(base, "cuda") == Memory(5 * 4 * count + 90, 10)


def test_halves_and_recomputed_features_take_less() -> None:
    base = trained(recipe("digits"), precision="float32")
    kept, halved, again = (
        peaks(chosen, [32], copying=False)[0]
        for chosen in (
            base,
            trained(base, precision="bfloat16"),
            trained(base, checkpoint_activations=True),
        )
    )
    assert halved < 0.8 * kept
    assert again < 0.7 * kept


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of a process from Linux")
@pytest.mark.parametrize(("precision", "images"), [("float32", 64), ("bfloat16", 64)])
def test_a_process_that_trains_grows_by_about_the_estimate(precision: str, images: int) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "recipes.py"
    words = [sys.executable, str(script), "--child", "fashion", precision, "0", str(images)]
    # Freed memory goes back at once.
    lean = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=lean)
    out = done.stdout
    measured = float(out.strip().splitlines()[-1].strip("[]").split(",")[0])
    told = estimate(trained(recipe("fashion"), precision=precision)).of(images)
    assert 0.8 < measured / told < 1.2
