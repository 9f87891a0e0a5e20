"""x_0, noise, step, raw output -> the released x_t, losses, trajectories and likelihoods."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from parity.goldens import Arrays, assert_close, assert_scaled, each_entry
from parity.stand_in import StandIn, parameterization_of, schedule_of, threshold_of
from torch.nn import functional as F

from adm import losses
from adm.diffusion import denoiser, process
from adm.diffusion.likelihood import (
    approximate_normal_cdf,
    binned_log_likelihood,
    bits_per_dimension,
    kl,
)
from adm.losses import TimestepImportance
from adm.networks.blocks import sinusoidal
from adm.samplers import DDIM, Ancestral, encode

PRED_XSTART = {"x0": 1e-5, "epsilon": 1e-4, "x_prev": 1e-3}


@each_entry("process/q.json")
def test_forward_process(case):
    shared, want = Arrays("process/q.npz"), Arrays("process/q.npz", case["id"])
    x_0, noise, x_t = shared["x_start"], shared["noise"], shared["x_t"]
    schedule, level = schedule_of(case), want["t"] + 1
    marginal = process.marginal(schedule, x_0, level)
    posterior = process.posterior(schedule, x_0, x_t, level)
    got = {
        "q_sample": process.diffuse(schedule, x_0, noise, level),
        "q_mean": marginal.mean,
        "q_variance": marginal.variance,
        "q_log_variance": marginal.log_variance,
        "posterior_mean": posterior.mean,
        "posterior_variance": posterior.variance,
        "posterior_log_variance_clipped": posterior.log_variance,
        "x0_from_eps": process.x_0_from_noise(schedule, x_t, noise, level),
        "eps_from_x0": process.noise_from_x_0(schedule, x_t, x_0, level),
        "x0_from_x_prev": process.x_0_from_previous(schedule, x_t, noise, level),
    }
    for name in set(want.names) - {"t"}:
        assert_scaled(got[name], want[name], 1e-6, name)


@each_entry("process/p_mean_variance.json")
def test_prediction(case):
    shared, want = (
        Arrays("process/p_mean_variance.npz"),
        Arrays("process/p_mean_variance.npz", case["id"]),
    )
    network, schedule = StandIn(case, shared["y"]), schedule_of(case)
    model, level = parameterization_of(case), want["t"] + 1
    threshold = threshold_of(case)
    prediction = denoiser(network, schedule, model, threshold)(shared["x"], level)
    drawn = denoiser(network, schedule, model, model.mean_threshold(threshold))(shared["x"], level)
    mean = process.posterior(schedule, drawn.x_0, shared["x"], level).mean
    assert torch.equal(network.timesteps[0].double(), want["model_t"])
    assert_scaled(mean, want["mean"], 1e-5, "mean")
    assert_scaled(prediction.variance.value, want["variance"], 1e-5, "variance")
    assert_scaled(prediction.variance.log, want["log_variance"], 1e-5, "log_variance")
    assert_scaled(prediction.x_0, want["pred_xstart"], PRED_XSTART[case["mean_type"]], "x_0")


def loss_of(case, schedule, learned):
    """The released loss type as one of our losses."""
    kind, steps = case["loss_type"], schedule.last
    if kind == "kl":
        return losses.vlb(1)
    if kind == "rescaled_kl":
        return losses.vlb(steps)
    if not learned:
        return losses.simple
    return losses.hybrid({"mse": 1.0, "rescaled_mse": steps / 1000}[kind])


@each_entry("process/training_losses.json")
def test_loss_terms_and_gradient(case):
    shared, want = (
        Arrays("process/training_losses.npz"),
        Arrays("process/training_losses.npz", case["id"]),
    )
    schedule, model = schedule_of(case), parameterization_of(case)
    level, network = want["t"] + 1, StandIn(case, shared["y"])
    example = losses.Example.of(schedule, shared["x_start"], shared["noise"], level)
    raw = network(example.x_t, schedule.timestep(level, example.x_t)).requires_grad_()
    got = loss_of(case, schedule, model.variance.learned)(model, schedule, raw, example)
    (gradient,) = torch.autograd.grad(got.loss.sum(), raw)

    assert torch.equal(network.timesteps[0].double(), want["model_t"])
    absolute = 1e-5 * (schedule.last if case["loss_type"] == "rescaled_kl" else 1)
    assert_close(got.loss, want["loss"], 1e-4, absolute)
    if "mse" in case["terms"]:
        assert_close(got.mse, want["mse"], 1e-5, 1e-7)
    if "vb" in case["terms"]:
        assert_close(got.vlb, want["vb"], 1e-4, absolute)
    assert_scaled(gradient, want["grad_output"], 1e-3, "gradient")


@each_entry("process/bpd.json")
def test_bits_per_dimension(case):
    shared, want = Arrays("process/bpd.npz"), Arrays("process/bpd.npz", case["id"])
    schedule, network = schedule_of(case), StandIn(case, shared["y"])
    noise = want["noise"]
    assert schedule.last == case["num_steps"] == len(noise)
    model, threshold = parameterization_of(case), threshold_of(case)

    def bound(threshold):
        denoise = denoiser(network, schedule, model, threshold)
        network.timesteps.clear()
        return bits_per_dimension(
            denoise, schedule, shared["x_start"], lambda level: noise[schedule.last - level]
        )

    errors, got = bound(threshold), bound(model.mean_threshold(threshold))
    assert torch.equal(torch.stack(network.timesteps).double(), want["model_t"])
    assert_close(got.terms, want["vb"], 1e-4, 1e-5)
    assert_close(got.prior, want["prior_bpd"], 1e-4, 1e-5)
    assert_close(got.total, want["total_bpd"], 1e-4, 1e-5)
    assert_close(errors.x_0_mse, want["xstart_mse"], 1e-4, 1e-4)
    assert_close(errors.noise_mse, want["mse"], 1e-4, 1e-4)


def sampler_of(case, denoise, schedule, arrays, gradient):
    """The released sampler of a case, at its start: a generator of states."""
    x = arrays["x_init"]
    if case["kind"] == "ddim_reverse":
        return encode(denoise, x, schedule)
    noise = arrays["noise"]
    assert len(noise) == schedule.last

    def drawn(level, draw=0):
        return noise[schedule.last - level]

    if case["kind"] == "ancestral":
        return Ancestral()(denoise, x, schedule, drawn, gradient)
    assert case["kind"] == "ddim"
    return DDIM(eta=case["eta"] or 0.0)(denoise, x, schedule, drawn, gradient)


@each_entry("process/sampling.json")
def test_trajectory(case):
    want = Arrays("process/sampling.npz", case["id"])
    schedule = schedule_of(case)
    network = StandIn(case, Arrays("process/sampling.npz")["y"])
    model, threshold = parameterization_of(case), threshold_of(case)
    if case["kind"] == "ancestral":
        threshold = model.mean_threshold(threshold)
    denoise = denoiser(network, schedule, model, threshold)
    unguided = []

    def pull(x, level, prediction):
        unguided.append(prediction.x_0)
        return network.gradient(x, schedule.timestep(level, x))

    steps = sampler_of(case, denoise, schedule, want, pull if case["guided"] else None)
    if not 0 <= (case.get("eta") or 0) <= 1:
        with pytest.raises(ValueError, match="eta"):
            next(steps)
        return
    states = list(steps)
    assert len(states) == case["num_steps"]
    assert torch.equal(torch.stack(network.timesteps).double(), want["model_t"])
    assert_scaled(torch.stack([s.x for s in states]), want["samples"], 1e-4, "x")
    # The released x_0 of ancestral sampling is the one before guidance, and is always clipped.
    before = case["kind"] == "ancestral"
    estimates = unguided if before and case["guided"] else [s.prediction.x_0 for s in states]
    x_0 = torch.stack(estimates)
    if before and (released := threshold_of(case)) is not None and model.target.is_mean:
        x_0 = released(x_0)
    assert_scaled(x_0, want["pred_xstart"], 2e-4, "x_0")
    if case["guided"]:
        assert torch.equal(
            torch.stack(network.gradient_timesteps).double(), want["cond_t"].double()
        )
        assert_scaled(torch.stack(network.gradients), want["cond_grad"], 2e-4, "gradient")


FUNCTIONS = "process/functions.npz"


def test_likelihood_of_8_bit_values():
    of = Arrays(FUNCTIONS, "dgll")
    got = binned_log_likelihood(of["x"], of["means"], of["log_scales"])
    # Elsewhere float32 cancels in the tails, and the reference is itself far from the truth.
    good = of["well_conditioned"]
    assert good.any()
    assert_close(got[good], of["value_float64"][good], 2e-4, 1e-4)
    assert_close(got[good], of["value"][good], 2e-4, 1e-4)


def test_approximate_normal_distribution():
    of = Arrays(FUNCTIONS, "cdf")
    assert_close(approximate_normal_cdf(of["x"]), of["value"], 0, 1e-6)


def test_divergence_of_normal_distributions():
    of = Arrays(FUNCTIONS, "kl")
    mean, log_variance = of["mean1"], of["logvar1"]
    got = kl(mean, log_variance, of["mean2"], of["logvar2"])
    assert_scaled(got[None], of["value"][None], 1e-6, "kl")
    if "value_vs_standard_normal" in of:
        zero = torch.zeros_like(mean)
        standard = kl(mean, log_variance, zero, zero)
        assert_scaled(standard[None], of["value_vs_standard_normal"][None], 1e-6, "standard")


def test_step_embedding():
    of = Arrays(FUNCTIONS, "temb")
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


RELATIVE = 1e-12
MOMENT = "resampler/loss_second_moment"


@each_entry(f"{MOMENT}.json")
def test_weights_after_every_batch(case):
    of = {name: array.numpy() for name, array in _arrays(case).items()}
    ours = TimestepImportance(case["num_timesteps"], case["history_per_term"], case["uniform_prob"])
    offsets = of["batch_offsets"]
    for batch, (start, end) in enumerate(pairwise(offsets)):
        ours.update(of["timesteps"][start:end] + 1, of["losses"][start:end])
        p = ours.probabilities
        np.testing.assert_allclose(ours.weights, of["weights"][batch], rtol=RELATIVE)
        np.testing.assert_allclose(p, of["probabilities"][batch], rtol=RELATIVE)
        # A uniform number in the middle of each level's share draws every level once, in order.
        drawn, importance = ours.draw(p.cumsum() - p / 2)
        assert drawn.tolist() == list(range(1, len(p) + 1))
        np.testing.assert_allclose(importance, of["importance"][batch], rtol=RELATIVE)
        assert ours.warm == of["warmed_up"][batch]
        assert ours.counts.tolist() == of["counts"][batch].tolist()
    np.testing.assert_allclose(ours.history, of["final_history"], rtol=RELATIVE)


def _arrays(case):
    arrays = Arrays(f"{MOMENT}.npz", case["name"])
    return {name: arrays[name] for name in arrays.names}
