"""stored averages -> any other: exactly where it was stored, closely where not."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy.integrate import quad
from torch import nn

from adm.processes import Devices
from adm.training import posthoc
from adm.training.ema import EMA, Power, averages
from adm.training.model_file import load_model
from adm.training.posthoc import Snapshot, fit, inner_product, profile, reconstruct, snapshot

ALONE = Devices(torch.device("cpu"))
METADATA = {"recipe": {"name": "none"}, "classes": ["a"], "data": "none"}
STORED = (0.05, 0.1)
UNSTORED = (0.03, 0.07, 0.15, 0.2)
STEPS, EVERY = 400, 20
WIDTHS = st.floats(0.02, 0.28)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[float, EMA]]:
    """A run whose weights wander, with averages that it stored and others that it did not."""
    run = tmp_path_factory.mktemp("run")
    generator = torch.Generator().manual_seed(0)
    network = nn.Linear(30, 20)
    emas = averages(network, 0.99, (0.9,), STORED)
    others = averages(network, 0.99, (), UNSTORED)[1:]
    for step in range(STEPS):
        for parameter in network.parameters():
            parameter.data += 0.03 * torch.randn(parameter.shape, generator=generator)
        for average in (*emas, *others):
            average.update(network, step)
        if (step + 1) % EVERY == 0 or step + 1 == 10:
            snapshot(run, step + 1, emas, METADATA, ALONE, dtype=torch.float32)
    power = [one for one in (*emas, *others) if isinstance(one.decay, Power)]
    return run, {one.decay.width: one for one in power if isinstance(one.decay, Power)}


def distance(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Relative, over all tensors."""
    apart = sum(float((a[name] - b[name]).square().sum()) for name in b)
    return (apart / sum(float(b[name].square().sum()) for name in b)) ** 0.5


def test_power_averages_alone_are_stored_and_described(tmp_path: Path) -> None:
    emas = averages(nn.Linear(2, 2), 0.9, (0.99,), STORED)
    snapshot(tmp_path, 1000, emas, METADATA, ALONE)
    files = sorted(path.name for path in (tmp_path / "averages").glob("*.safetensors"))
    assert files == [f"step-0001000.width-{width}.safetensors" for width in STORED]
    path = tmp_path / "averages" / files[0]
    weights, metadata = load_model(path)
    assert metadata == METADATA | {"step": 1000, "width": 0.05}
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}
    torch.testing.assert_close(weights, emas[2].weights, rtol=1e-3, atol=1e-3)


def test_weights_beyond_float16_stay_float32(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    network.weight.data.fill_(1e6)
    snapshot(tmp_path, 1, averages(network, 0.9, (), (0.1,)), METADATA, ALONE)
    assert torch.equal(reconstruct(tmp_path, 0.1)[0]["weight"], network.weight.detach())


@pytest.mark.parametrize("width", STORED)
@pytest.mark.parametrize("step", [10, 200, STEPS])
def test_a_stored_average_is_reconstructed_exactly(
    tracked: tuple[Path, dict[float, EMA]], width: float, step: int
) -> None:
    run, _ = tracked
    weights, fitted = reconstruct(run, width, step)
    stored = load_file(run / "averages" / f"step-{step:07d}.width-{width}.safetensors")
    assert fitted.error < 1e-6
    assert all(torch.equal(weights[name], stored[name]) for name in stored)


@pytest.mark.parametrize("width", UNSTORED)
def test_a_width_that_was_not_stored_is_near_the_one_tracked(
    tracked: tuple[Path, dict[float, EMA]], width: float
) -> None:
    run, power = tracked
    weights, fitted = reconstruct(run, width)
    # Measured: 0.0009, 0.00005, 0.00009 and 0.0008; the nearest stored are 66 to 1261 times as far.
    assert distance(weights, power[width].weights) < 0.005
    nearest = min(distance(power[stored].weights, power[width].weights) for stored in STORED)
    assert distance(weights, power[width].weights) < nearest / 10
    assert not fitted.poor


def test_a_width_outside_what_the_snapshots_span_is_called_poor() -> None:
    few = [Snapshot(step, width) for step in (500, 1000) for width in STORED]
    assert fit(few, 0.01, 1000).poor
    assert fit(few, 0.28, 1000).poor
    assert not fit(few, 0.1, 1000).poor


@given(WIDTHS, st.floats(1, 1e6), WIDTHS, st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_inner_products_are_integrals_of_profiles(
    width: float, step: float, other: float, ratio: float
) -> None:
    end = step * ratio

    def product(tau: float) -> float:
        times = np.array([tau])
        return float((profile(width, step, times) * profile(other, end, times))[0])

    limit = min(step, end)
    expected, _ = quad(product, 0, limit, epsabs=0, epsrel=1e-9, points=[0.9 * limit, 0.99 * limit])
    ours = [(np.array(Power(w).gamma), np.array(t)) for w, t in ((width, step), (other, end))]
    assert inner_product(*ours[0], *ours[1]) == pytest.approx(expected, rel=1e-6, abs=1e-200)
    assert inner_product(*ours[1], *ours[0]) == pytest.approx(inner_product(*ours[0], *ours[1]))


@given(WIDTHS, st.lists(st.integers(1, 2000), min_size=1, max_size=12, unique=True), st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_fit_is_the_same_in_any_order_and_unit_of_time(width: float, steps, random) -> None:
    snapshots = [Snapshot(step, stored) for step in steps for stored in STORED]
    shuffled = random.sample(snapshots, len(snapshots))
    slower = [Snapshot(1000 * one.step, one.width) for one in snapshots]
    fitted = fit(snapshots, width, max(steps))
    assert fit(shuffled, width, max(steps)) == fitted
    scaled = fit(slower, width, 1000 * max(steps))
    times = np.linspace(0, max(steps), 101)
    floor = 1e-6 / max(steps)
    np.testing.assert_allclose(
        1000 * scaled.profile(1000 * times), fitted.profile(times), 1e-3, floor
    )
    assert sum(share for _, share in fitted.shares) == pytest.approx(1)


@given(WIDTHS, st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_the_error_is_the_distance_of_the_profiles(width: float, count: int) -> None:
    snapshots = [Snapshot(100 * i, stored) for i in range(1, count + 1) for stored in STORED]
    fitted = fit(snapshots, width, 100 * count)
    edges = np.linspace(0, 100 * count, 200 * count + 1)
    times = (edges[1:] + edges[:-1]) / 2
    expected = profile(width, 100 * count, times)
    apart = np.linalg.norm(fitted.profile(times) - expected) / np.linalg.norm(expected)
    assert fitted.error == pytest.approx(apart, rel=0.02, abs=1e-4)


def test_more_snapshots_never_fit_worse() -> None:
    errors = [
        fit([Snapshot(i * 64 // n, w) for i in range(1, n + 1) for w in STORED], 0.15, 64).error
        for n in (1, 2, 4, 8, 16, 32)
    ]
    assert all(more < fewer for fewer, more in pairwise(errors))


def test_snapshots_of_the_future_are_not_used_and_those_near_are_named(
    tracked: tuple[Path, dict[float, EMA]], tmp_path: Path
) -> None:
    _, fitted = reconstruct(tracked[0], 0.07, 200)
    assert max(one.step for one, _ in fitted.shares) == 200
    with pytest.raises(ValueError, match="got 47; give 40 or 60"):
        reconstruct(tracked[0], 0.1, 47)
    with pytest.raises(ValueError, match=r"train\.ema_widths=0\.05,0\.1"):
        reconstruct(tmp_path, 0.1)


def run_of(run: Path, seed: int = 0) -> Path:
    """A run with averages of two widths after 5 and 10 steps; returns their folder."""
    torch.manual_seed(seed)
    for step in (5, 10):
        emas = averages(nn.Linear(2, 2), 0.9, (), STORED)
        snapshot(run, step, emas, METADATA | {"labels": str(seed)}, ALONE)
    return run / "averages"


def cut(file: Path, other: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def of_another_run(file: Path, other: Path) -> None:
    file.write_bytes((other / file.name).read_bytes())


def of_another_step(file: Path, other: Path) -> None:
    file.write_bytes(file.with_name(file.name.replace("10", "05")).read_bytes())


@pytest.mark.parametrize("damage", [cut, of_another_run, of_another_step])
def test_a_snapshot_that_is_not_the_run_s_is_named(
    tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    folder, other = run_of(tmp_path / "run"), run_of(tmp_path / "other", 1)
    file = folder / "step-0000010.width-0.1.safetensors"
    reconstruct(tmp_path / "run", 0.07)
    damage(file, other)
    with pytest.raises(ValueError, match=r"averages/step-0.*\.safetensors .*remove that file"):
        reconstruct(tmp_path / "run", 0.07)
    file.unlink()
    reconstruct(tmp_path / "run", 0.07)


def test_a_written_average_is_a_model_file(
    tracked: tuple[Path, dict[float, EMA]], tmp_path: Path
) -> None:
    fitted = posthoc.write(tracked[0], 0.07, tmp_path / "deep" / "model.safetensors", 200)
    weights, metadata = load_model(tmp_path / "deep" / "model.safetensors")
    described = {"step": 200, "width": 0.07, "width_error": fitted.error}
    assert metadata == METADATA | described
    assert torch.equal(weights["weight"], reconstruct(tracked[0], 0.07, 200)[0]["weight"])
