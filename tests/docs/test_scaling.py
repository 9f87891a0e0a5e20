"""benchmarks/scaling*.py -> the paper's counts, laws of a step, rates that are recovered."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adm.app.runs.estimates import StepMemory
from adm.recipes.schema import override

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "results" / "data" / "scaling.json"
PAGE = ROOT / "docs" / "results" / "scaling.md"
KINDS = ("all_reduce", "all_gather", "reduce_scatter")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of `benchmarks/`; they import each other by their names."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    names = {"run": "scaling", "model": "scaling_model", "page": "scaling_page"}
    return SimpleNamespace(**{name: import_module(file) for name, file in names.items()})


@pytest.fixture
def figures() -> Any:
    return json.loads(FIGURES.read_text("utf-8"))


def counts_of(modules: Any, **changes: Any) -> Any:
    groups = (30_000_000, 20_000_000, 50_000_000)
    counts = modules.model.Counts(10**8, 10**12, 2 * 10**12, 4000, groups, 3 * 10**9, 10**9)
    return counts._replace(**changes)


def gpu(modules: Any, **changes: Any) -> Any:
    machine = modules.model.Machine(
        1e14,
        5e-6,
        1e12,
        modules.model.nccl(2e11, 1e11),
        node=8,
        decode=3e-3,
        draw=1e-3,
        cores=8,
        disk=1e9,
    )
    return replace(machine, **changes)


def plans(modules: Any) -> Iterator[Any]:
    for ranks in (1, 2, 8, 64, 256):
        for sharded in (False, True):
            for most in (2, modules.model.NEVER):
                yield modules.model.Plan(ranks, 256, most, sharded)


def test_another_channel_of_the_output_costs_a_convolution_of_it(modules: Any) -> None:
    plain = modules.run.small(32)
    wider = override(plain, ["unet.out_channels=7"])
    one, other = (modules.model.count(each, traced=False) for each in (plain, wider))
    products = 32 * 32 * 3 * 3 * 32  # pixels, kernel, channels
    assert other.forward - one.forward == 2 * products
    assert other.backward - one.backward == 4 * products  # for the input and for the weight
    assert other.parameters - one.parameters == 3 * 3 * 32 + 1
    assert sum(one.groups) == one.parameters
    assert one.issued == other.issued


def test_the_paper_s_operations_are_counted(modules: Any, figures: Any) -> None:
    counts = {f"{side}x{side}": own["stored"] for side, own in figures["models"].items()}
    counts |= figures["upsamplers"]
    for name, images in modules.page.IDEAL.items():
        counted = modules.page.V100 / modules.model.Counts(*counts[name]).operations
        assert counted == pytest.approx(images, rel=3e-3), name


def test_stored_counts_are_reproduced(modules: Any, figures: Any) -> None:
    counted = modules.model.count(modules.run.small(48), traced=False)
    assert modules.model.Counts(*figures["small"]["48"])._replace(groups=counted.groups) == counted
    assert tuple(figures["small"]["48"][4]) == counted.groups


def test_the_page_is_made_of_the_stored_figures(modules: Any, figures: Any) -> None:
    machine = modules.run.fitted(figures)
    tables = modules.page.tables(figures, machine, modules.run.predictions(figures, machine))
    page = PAGE.read_text("utf-8")
    for name, text in tables.items():
        assert modules.page.between(page, name, text, modules.page.MADE) == page


def test_a_ring_sends_every_byte_once_to_each_other_rank(modules: Any) -> None:
    traffic = modules.model.traffic
    for ranks in (2, 3, 8):
        gathered, scattered = (traffic(kind, 1200, ranks) for kind in KINDS[1:])
        assert gathered * ranks == pytest.approx(1200 * (ranks - 1))
        assert traffic("all_reduce", 1200, ranks) == gathered + scattered


def test_a_call_between_nodes_is_no_faster_than_in_one(modules: Any) -> None:
    near, far = gpu(modules), gpu(modules, node=modules.model.NEVER)
    for kind in KINDS:
        for size in (4, 10**6, 10**9):
            within, between = (each.call(kind, size, 8) for each in (far, near))
            assert within == between
            assert near.call(kind, size, 16) > within
    small, large = (near.call("all_reduce", size, 1024) for size in (4, 10**9))
    assert small < 1e-3 < 2 * 10**9 / 1e11 < large  # in a tree, and at the rate of a node


def test_twice_the_batch_is_twice_the_work(modules: Any) -> None:
    counts, machine = counts_of(modules), gpu(modules, dispatch=0.0)
    for plan in plans(modules):
        once, twice = (
            modules.model.step(counts, each, machine)
            for each in (plan, replace(plan, batch_size=512))
        )
        assert twice.passes == pytest.approx(2 * once.passes)
        assert twice.data == pytest.approx(2 * once.data)


@pytest.mark.parametrize("rate", ["rate", "state_rate", "cores", "disk", "near", "far"])
def test_no_step_is_slower_with_a_faster_part(modules: Any, rate: str) -> None:
    counts, slow = counts_of(modules), gpu(modules)
    if rate in ("near", "far"):
        rates = {"near": 2e11, "far": 1e11}
        fast = replace(slow, wires=modules.model.nccl(**rates | {rate: 2 * rates[rate]}))
    else:
        fast = replace(slow, **{rate: 2 * getattr(slow, rate)})
    gains = []
    for plan in plans(modules):
        before, after = (modules.model.step(counts, plan, each, 1000) for each in (slow, fast))
        gains.append(before.seconds - after.seconds)
    assert min(gains) >= 0
    assert max(gains) > 0 or rate == "cores"  # one thread draws the noise, and is no faster


def test_a_gpu_hides_what_a_cpu_adds_up(modules: Any) -> None:
    counts, gpu_ = counts_of(modules), gpu(modules)
    for plan in plans(modules):
        parts = modules.model.step(counts, plan, gpu_)
        added = modules.model.step(counts, plan, replace(gpu_, asynchronous=False))
        assert parts.passes <= added.passes
        assert parts.exposed <= added.exposed
        assert plan.ranks > 1 or parts.exposed == added.exposed == 0


def test_buckets_hold_every_gradient(modules: Any) -> None:
    for parameters in (10, 10**6, 10**8):
        buckets = counts_of(modules, parameters=parameters).buckets
        assert sum(buckets) == 4 * parameters
        assert max(buckets) <= 25 * 2**20
        assert buckets[0] <= 2**20


def test_memory_is_the_estimate_s_and_sharding_divides_it(modules: Any) -> None:
    counts, plan = counts_of(modules), modules.model.Plan
    estimate = StepMemory(counts.fixed, counts.per_image)
    for sharded in (False, True):
        assert modules.model.memory(counts, plan(1, 8, 2, sharded)) == estimate.of(2)
    sizes = [modules.model.memory(counts, plan(n, 256, 1, True)) for n in (64, 128, 256)]
    assert sizes[0] > sizes[1]
    assert sizes[2] < sizes[1] - 4 * counts.parameters  # of one pass, whose gradients are divided
    assert sizes[2] < modules.model.memory(counts, plan(256, 256, 1))


def test_rates_are_recovered_from_their_own_times(modules: Any, figures: Any) -> None:
    wires = {kind: [modules.model.Wire(0.0, 1e-4 * (1 + i), 1e9)] for i, kind in enumerate(KINDS)}
    slow = {1: 1.0, 2: 1.2, 4: 2.3}
    known = modules.model.Machine(
        6e10, 2e-5, 5e9, wires, asynchronous=False, hook=1e-3, slowdown=slow
    )

    def seconds_of(ranks: int, job: Any) -> float:
        counts, sharded = modules.run.of_width(figures, job), job.way == "fsdp"
        alone = job.way == "alone"
        plan = modules.model.Plan(
            1 if alone else ranks, job.images * (1 if alone else ranks), sharded=sharded
        )
        return modules.model.step(counts, plan, known).seconds * (slow[ranks] if alone else 1.0)

    jobs = [(n, job) for n in slow for job in (*modules.run.FITTED[n], *modules.run.PREDICTED[n])]
    simulated = figures | {
        "steps": [[ranks, *job, seconds_of(ranks, job)] for ranks, job in jobs],
        "calls": [
            [ranks, kind, size, slow[ranks] * known.call(kind, size, ranks)]
            for ranks in (2, 4)
            for kind in KINDS
            for size in modules.run.SIZES
        ],
    }
    fitted = modules.run.fitted(simulated)
    for name in ("rate", "dispatch", "state_rate", "hook"):
        assert getattr(fitted, name) == pytest.approx(getattr(known, name), rel=1e-3), name
    for _, _, measured, predicted in modules.run.predictions(simulated, fitted):
        assert math.isclose(measured, predicted, rel_tol=1e-3)
