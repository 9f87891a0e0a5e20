"""Mathematics and networks in docs/ -> their names exist; their numbers are those of the code."""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adm.diffusion import (
    FIXED_LARGE,
    FIXED_SMALL,
    NOISE,
    Denoise,
    Level,
    Parameterization,
    Prediction,
    Schedule,
    linear,
    schedule,
    targets,
)
from adm.diffusion.prediction import VarianceRule
from adm.diffusion.spacing import even
from adm.guidance.gradients import Gradient
from adm.samplers import DDIM, Ancestral

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "concepts" / f"{name}.md" for name in ("mathematics", "networks")]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")

Table = list[dict[str, str]]


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of each table, as cells."""
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE):
        lines = [line.strip().strip("|") for line in block.splitlines()]
        header, rule, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
        assert set("".join(rule)) <= set("-: "), f"no rule under {header}"
        yield header, rows


def named_rows() -> list[tuple[str, str]]:
    """(name, source file) of every row that has both."""
    return [
        (row[header.index("name")].strip("`"), LINK.findall(row[header.index("where")])[0])
        for header, rows in tables(TEXT)
        if {"name", "where"} <= set(header)
        for row in rows
    ]


def resolve(name: str, module: str) -> None:
    """Find `thing`, `Class.member` or `function(parameter)`; AssertionError without it."""
    path, _, parameter = name.rstrip(")").partition("(")
    first, *members = path.split(".")
    target = vars(importlib.import_module(module)).get(first)
    assert target is not None, f"{module} has no {first}"
    for member in members:
        fields = [f.name for f in dataclasses.fields(target)] if is_dataclass(target) else []
        assert member in fields or hasattr(target, member), f"{module}: no {path}"
        target = getattr(target, member, None)
    if parameter:
        assert callable(target)
        assert parameter in inspect.signature(target).parameters, f"{path} takes no {parameter}"


def module_of(source: str) -> str:
    """../src/adm/x/y.py -> adm.x.y."""
    relative = (PAGES[0].parent / source).resolve().relative_to(ROOT / "src")
    return ".".join(relative.with_suffix("").parts)


def denoiser_of_zeros(schedule: Schedule, variance: VarianceRule) -> Denoise:
    """A model that predicts no noise anywhere."""

    def denoise(x_t: Tensor, level: Level) -> Prediction:
        return Parameterization(NOISE, variance).predict(
            schedule, torch.zeros_like(x_t), x_t, level
        )

    return denoise


def push(sampler: str, schedule: Schedule, variance: VarianceRule = FIXED_LARGE) -> float:
    """How far a gradient of 1 moves the first step of a sampler, with no noise drawn."""
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    run = {
        "ancestral": Ancestral(),
        "ddim": DDIM(),
        "ddim, eta 1": DDIM(eta=1.0),
    }[sampler]
    denoise = denoiser_of_zeros(schedule, variance)

    def first(gradient: Gradient | None) -> float:
        return next(
            run(denoise, x, schedule, lambda t, draw=0: torch.zeros_like(x), gradient)
        ).x.item()

    return first(lambda x_t, t, p: torch.ones_like(x_t)) - first(None)


def push_ratios(steps: int) -> tuple[float, float, float]:
    """The page's three ratios of guidance, half-way down a linear schedule of 1000 respaced."""
    halved = linear(1000).respaced(even(1000, steps)).respaced(range(1, steps // 2 + 1))
    stochastic = push("ddim, eta 1", halved)
    return (
        stochastic / push("ancestral", halved, FIXED_LARGE),
        stochastic / push("ancestral", halved, FIXED_SMALL),
        push("ddim", halved) / stochastic,
    )


def test_every_name_exists() -> None:
    assert len(named_rows()) > 50
    for name, source in named_rows():
        resolve(name, module_of(source))


def rows_under(*columns: str) -> Table:
    """The rows of the one table that has these columns."""
    [rows] = [
        [dict(zip(header, row, strict=True)) for row in body]
        for header, body in tables(TEXT)
        if set(columns) <= set(header)
    ]
    return rows


def test_conditioning_numbers() -> None:
    """How far one unit of error in each target moves x_0 at the noisiest level."""
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for row in rows_under("`NOISE`", "`VELOCITY`"):
        process = vars(schedule)[row.pop("schedule").strip("`")](1000)
        signal = row.pop(r"$\sqrt{\bar\alpha_T}$")
        assert signal == f"{float(process.signal[process.last]):.4g}"
        for name, stated in row.items():
            target = vars(targets)[name.strip("`")]
            moved = target.to_x_0(process, zero, zero + 1, process.last).abs().item()
            assert float(stated) == pytest.approx(moved, rel=5e-4), (name, stated, moved)


def test_numbers_of_the_noisiest_level() -> None:
    process = schedule.cosine(1000)
    half = process.log_snr / 2
    assert rf"$\rho={float((process.sigma / process.signal)[-1]):.0f}$" in TEXT
    assert rf"$\lambda={float(half[-1]):.1f}$" in TEXT
    assert f"`start={int((half[1:] >= -5.1).sum())}` of 1000" in TEXT


def test_guidance_ratios() -> None:
    """Algorithm 2 against Algorithm 1, through the samplers themselves."""
    rows = [list(row.values()) for row in rows_under("steps", r"$\eta=0$ over $\eta=1$")]
    assert rows
    for steps, *stated in rows:
        assert stated == [f"{ratio:.3f}" for ratio in push_ratios(int(steps))]
