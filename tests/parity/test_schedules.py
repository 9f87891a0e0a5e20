"""T, spacing -> the released tables, retained steps, strides and refusals."""

import re

import numpy as np
import pytest
import torch
from parity.goldens import Arrays, assert_close, each_entry, each_file
from parity.stand_in import SCHEDULES, levels_of, schedule_of

from adm.diffusion import cosine
from adm.diffusion.process import posterior_coefficients
from adm.diffusion.spacing import strided

RELATIVE = 1e-10  # absolute where the value is 0


def tables_of(schedule):
    """Our schedule under the released names; released tables leave out the clean image."""
    bar, zero = schedule.alpha_bar, torch.zeros(1, dtype=torch.float64)
    to_x_0, to_x_t = posterior_coefficients(schedule)
    return {
        "betas": schedule.beta[1:],
        "alphas_cumprod": bar[1:],
        "alphas_cumprod_prev": bar[:-1],
        "alphas_cumprod_next": torch.cat([bar[2:], zero]),
        "sqrt_alphas_cumprod": schedule.signal[1:],
        "sqrt_one_minus_alphas_cumprod": schedule.sigma[1:],
        "log_one_minus_alphas_cumprod": (1 - bar[1:]).log(),
        "sqrt_recip_alphas_cumprod": (1 / bar[1:]).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / bar[1:] - 1).sqrt(),
        "posterior_variance": schedule.posterior_variance[1:],
        "posterior_log_variance_clipped": schedule.posterior_log_variance[1:],
        "posterior_mean_coef1": to_x_0[1:],
        "posterior_mean_coef2": to_x_t[1:],
        "timestep_map": schedule.timesteps[1:],
    }


def assert_tables(schedule, arrays, names):
    ours = tables_of(schedule)
    assert names
    for name in names:
        want = arrays[name].double()
        got = ours[name].double()
        assert got.shape == want.shape
        zero = want == 0
        assert_close(got[~zero], want[~zero], RELATIVE)
        assert_close(got[zero], want[zero], 0, RELATIVE)


@each_file("schedules/*_[0-9]*.npz")
def test_tables(path):
    match = re.fullmatch(r"(.+)_(\d+)", path.stem)
    assert match
    arrays = Arrays(f"schedules/{path.name}")
    assert_tables(SCHEDULES[match[1]](int(match[2])), arrays, arrays.names)


@each_entry("schedules/respaced.json")
def test_respaced_tables(case):
    schedule = schedule_of(case)
    arrays = Arrays("schedules/respaced.npz", case["id"])
    assert schedule.last == case["count"]
    assert torch.equal(schedule.timesteps[1:].long(), arrays["timestep_map"])
    assert_tables(schedule, arrays, arrays.names)


@each_entry("schedules/spacing.json")
def test_spacing(case):
    total, counts = case["num_timesteps"], case["section_counts"]
    if "error" in case:
        with pytest.raises(ValueError):  # noqa: PT011
            levels_of(total, counts)
        return
    levels = levels_of(total, counts)
    want = Arrays("schedules/spacing.npz")[case["id"]].tolist()
    assert [level - 1 for level in levels] == want
    assert len(levels) == case["count"]
    if "process_error" in case:
        with pytest.raises(ValueError, match="at least 2 steps"):
            cosine(total).respaced(levels)


def test_strides():
    arrays = Arrays("schedules/ddim_strides.npz")
    for name in arrays.names:
        total = int(name.removeprefix("stride_T"))
        assert [_stride(total, k) for k in range(len(arrays[name]))] == arrays[name].tolist()


def _stride(total, count):
    try:
        levels = strided(total, count)
    except ValueError:
        return 0
    stride = int(np.diff(levels)[0]) if len(levels) > 1 else total
    assert levels == list(range(1, total + 1, stride))
    return stride


@each_entry("schedules/edge_cases.json")
def test_short_and_unknown_schedules(case):
    if case["error"] is not None:
        with pytest.raises((ValueError, KeyError)):
            SCHEDULES[case["schedule"]](case["num_timesteps"])
        return
    schedule = SCHEDULES[case["schedule"]](case["num_timesteps"])
    first, last = schedule.beta[1].item(), schedule.beta[-1].item()
    assert first == pytest.approx(case["beta_first"], rel=RELATIVE)
    assert last == pytest.approx(case["beta_last"], rel=RELATIVE)
    broken = [name for name, table in tables_of(schedule).items() if not table.isfinite().all()]
    assert sorted(broken) == sorted(case["non_finite_tables"])
