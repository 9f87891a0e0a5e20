"""Recipe, processor -> the precision that a run is trained in."""

import json
from pathlib import Path

import pytest
import torch
from tiny import stripes

from adm.data.fingerprint import fingerprint
from adm.processes import Devices
from adm.recipes.resolve import resolve
from adm.runs import processor
from adm.runs.data import Choice, choose, known_facts
from adm.runs.folder import claim, identity
from adm.spec import to_json

CPU = Devices(torch.device("cpu"))
FLAGS = {
    "x86 without": "flags\t\t: fpu avx2 avx512f",
    "x86": "flags\t\t: fpu avx512_bf16 avx2",
    "ARM without": "Features\t: fp asimd",
    "ARM": "Features\t: fp asimd bf16",
    "unknown": "",
}


def precision_of(choice: Choice, run: Path, devices: Devices = CPU) -> str:
    facts = known_facts(choice, run, devices)
    return resolve(choice.recipe, facts, choice.fixed).train.precision


@pytest.fixture
def cpu(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the processor of these flags."""
    file = tmp_path / "cpuinfo"
    file.write_text(f"model name : some\n{FLAGS[request.param]}\n", "utf-8")
    monkeypatch.setattr(processor, "CPUINFO", file)


@pytest.mark.parametrize(
    ("cpu", "precision"),
    [
        ("x86 without", "float32"),
        ("x86", "bfloat16"),
        ("ARM without", "float32"),
        ("ARM", "bfloat16"),
        ("unknown", "float32"),
    ],
    indirect=["cpu"],
)
def test_a_named_recipe_is_trained_in_the_fast_precision_of_the_cpu(
    cpu: None, precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "adm"):
        assert precision_of(choose("digits"), tmp_path) == precision
    assert bool(caplog.messages) == (precision == "float32")


@pytest.mark.parametrize("cpu", ["x86 without"], indirect=True)
def test_the_precision_of_a_setting_a_file_or_another_device_stays(
    cpu: None, tmp_path: Path
) -> None:
    file = tmp_path / "own.json"
    file.write_text(json.dumps(to_json(choose("digits").recipe)), "utf-8")
    for chosen, devices, precision in (
        (choose("digits", ["train.precision=float16"]), CPU, "float16"),
        (choose(file), CPU, "bfloat16"),
        (choose("digits"), Devices(torch.device("cuda")), "bfloat16"),
    ):
        assert precision_of(chosen, tmp_path / "run", devices) == precision


@pytest.mark.parametrize("cpu", ["x86 without", "x86"], indirect=True)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_keeps_the_precision_that_it_began_with(
    cpu: None, precision: str, tmp_path: Path
) -> None:
    original = choose("digits", [f"train.precision={precision}"])
    images = stripes(30)
    claim(tmp_path / "run", identity(original.recipe, images), fingerprint(images))
    assert precision_of(choose("digits"), tmp_path / "run") == precision
