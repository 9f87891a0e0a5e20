"""Sampling in "auto", model -> the precision that is measured to be fastest, and kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch

from adm import processor
from adm.generation import precision
from adm.generation.diffusion import DiffusionGenerator
from adm.models.load import load_diffusion
from adm.models.trained import DiffusionModel
from adm.samplers import Sampling


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DiffusionModel:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "absent")  # then precisions are measured
    return load_diffusion(tiny.model(tmp_path / "d.safetensors", tiny.diffusion()))


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[[], float]]:
    """Return a clock on which a forward pass takes as long as told, and gives what is told."""

    def clock(seconds: dict[str, float], output: dict[str, float]) -> Callable[[], float]:
        now = 0.0

        def run(model: DiffusionModel, name: str) -> Callable[[], torch.Tensor]:
            def passes() -> torch.Tensor:
                nonlocal now
                now += seconds[name]
                return torch.full((2,), output.get(name, 1.0))

            return passes

        monkeypatch.setattr(precision, "_run", run)
        return lambda: now

    return clock


@pytest.mark.parametrize(
    ("half", "output", "chosen"),
    [
        (0.5, 1.0, "bfloat16"),
        (0.86, 1.0, "bfloat16"),  # 1.16 times as fast
        (0.88, 1.0, "float32"),  # 1.14 times
        (2.0, 1.0, "float32"),
        (0.5, 1.009, "bfloat16"),
        (0.5, 1.02, "float32"),  # fast and wrong
        (0.5, float("nan"), "float32"),
    ],
)
def test_half_precision_must_be_clearly_faster_and_near(
    model: DiffusionModel,
    timed: Callable[..., Callable[[], float]],
    half: float,
    output: float,
    chosen: str,
) -> None:
    clock = timed({"float32": 1.0, "bfloat16": half}, {"bfloat16": output})
    assert precision.measured(model, clock)[0] == chosen


def test_it_is_measured_once_and_recorded_as_what_it_is(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(model: DiffusionModel) -> tuple[str, str]:
        asked.append(model)
        return ("bfloat16", "float32")[len(asked) - 1], ""

    monkeypatch.setattr(precision, "measured", measured)
    sampling = Sampling(precision="auto", grid=replace(model.recipe.sample.grid))
    for _ in range(2):
        generator = DiffusionGenerator(model, sampling)
        assert generator.sampling.precision == "bfloat16"
        assert generator.manifest()["sampling"]["precision"] == "bfloat16"
    assert len(asked) == 1
    precision.cache_file(model).write_text('{"precision": "auto"}')  # damaged
    assert DiffusionGenerator(model, sampling).sampling.precision == "float32"


def test_another_network_or_number_of_threads_is_measured_by_itself(
    model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_diffusion(tiny.model(tmp_path / "e.safetensors", tiny.diffusion("unet.depth=2")))
    same = load_diffusion(tiny.model(tmp_path / "f.safetensors", tiny.diffusion(), seed=1))
    first = precision.cache_file(model)
    assert precision.cache_file(same) == first != precision.cache_file(other)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert precision.cache_file(model) != first


def test_a_precision_that_is_given_is_not_measured(
    model: DiffusionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measured", None)
    for given in ("float32", "bfloat16", "float16"):
        sampling = replace(model.recipe.sample, precision=given)
        assert precision.concrete(sampling, model) is sampling


def test_a_cache_that_cannot_be_written_to_costs_a_measurement_only(
    model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(precision, "measured", lambda model: ("bfloat16", ""))
    sampling = replace(model.recipe.sample, precision="auto")
    assert precision.concrete(sampling, model).precision == "bfloat16"


def test_every_pass_is_a_block_of_the_model(model: DiffusionModel) -> None:
    assert precision.measured(model)[0] in precision.candidates(torch.device("cpu"))


@pytest.mark.parametrize(
    ("flags", "wanted"), [("avx2 avx512f", ("float32",)), ("avx512_bf16", ("float32", "bfloat16"))]
)
def test_bfloat16_is_measured_only_where_the_cpu_has_instructions_for_it(
    model: DiffusionModel,
    flags: str,
    wanted: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags}\n", "utf-8")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    ran = []
    run = precision._run
    monkeypatch.setattr(precision, "_run", lambda model, name: ran.append(name) or run(model, name))
    sampling = precision.concrete(replace(model.recipe.sample, precision="auto"), model)
    assert precision.candidates(torch.device("cpu")) == wanted
    assert tuple(ran) == (wanted if len(wanted) > 1 else ())
    assert sampling.precision in wanted
