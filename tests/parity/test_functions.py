"""numbers -> the released likelihoods, divergences and embeddings of single values."""

import math
import re

import numpy as np
import pytest
import torch
from parity.goldens import Arrays, assert_close, assert_scaled
from torch.nn import functional as F

from adm.diffusion.likelihood import approximate_normal_cdf, binned_log_likelihood, kl
from adm.networks.blocks import sinusoidal

FILE = "process/functions.npz"


def test_likelihood_of_8_bit_values():
    of = Arrays(FILE, "dgll")
    got = binned_log_likelihood(of["x"], of["means"], of["log_scales"])
    # Elsewhere float32 cancels in the tails, and the reference is itself far from the truth.
    good = of["well_conditioned"]
    assert good.any()
    assert_close(got[good], of["value_float64"][good], 2e-4, 1e-4)
    assert_close(got[good], of["value"][good], 2e-4, 1e-4)


def test_approximate_normal_distribution():
    of = Arrays(FILE, "cdf")
    assert_close(approximate_normal_cdf(of["x"]), of["value"], 0, 1e-6)


def test_divergence_of_normal_distributions():
    of = Arrays(FILE, "kl")
    mean, log_variance = of["mean1"], of["logvar1"]
    got = kl(mean, log_variance, of["mean2"], of["logvar2"])
    assert_scaled(got[None], of["value"][None], 1e-6, "kl")
    if "value_vs_standard_normal" in of:
        zero = torch.zeros_like(mean)
        standard = kl(mean, log_variance, zero, zero)
        assert_scaled(standard[None], of["value_vs_standard_normal"][None], 1e-6, "standard")


def test_step_embedding():
    of = Arrays(FILE, "temb")
    tables = [n for n in of.names if not n.startswith("t_")]
    if not tables:
        pytest.skip("these reference vectors have no step embeddings")
    for name in tables:
        match = re.fullmatch(r"(int|float)_dim(\d+)(?:_maxperiod(\d+))?", name)
        assert match, name
        period, width, timestep = float(match[3] or 10_000), int(match[2]), of[f"t_{match[1]}"]
        exponents = -math.log(period) * torch.arange(width // 2).float() / (width // 2)
        frequencies = exponents.exp()
        angles = timestep[:, None] * frequencies
        # Processors differ in the last bit of float32's exp, and timesteps multiply that bit.
        last_bit = timestep[:, None] * torch.from_numpy(np.spacing(frequencies.numpy()))
        slack = last_bit + torch.from_numpy(np.spacing(angles.float().numpy()))
        slack = F.pad(slack.repeat(1, 2), (0, width % 2))
        error = (sinusoidal(timestep, width, period) - of[name]).abs()
        assert (error <= 2e-6 + slack).all(), f"{name}: {error.max()}"
