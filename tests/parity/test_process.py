"""x_0, noise, step -> the released x_t, posteriors and predictions."""

import torch
from parity.goldens import Arrays, assert_scaled, each_entry
from parity.stand_in import StandIn, parameterization_of, schedule_of, threshold_of

from adm.diffusion import denoiser, process

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
    assert torch.equal(network.heard[0].double(), want["model_t"])
    assert_scaled(mean, want["mean"], 1e-5, "mean")
    assert_scaled(prediction.variance.value, want["variance"], 1e-5, "variance")
    assert_scaled(prediction.variance.log, want["log_variance"], 1e-5, "log_variance")
    assert_scaled(prediction.x_0, want["pred_xstart"], PRED_XSTART[case["mean_type"]], "x_0")
