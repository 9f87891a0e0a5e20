"""a stand-in network, recorded noise -> the released trajectories, step by step."""

import pytest
import torch
from parity.goldens import Arrays, assert_scaled, each_entry
from parity.stand_in import StandIn, parameterization_of, schedule_of, threshold_of

from adm.diffusion import denoiser
from adm.guidance import folded
from adm.samplers import ancestral, ddim, encode


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
        return ancestral(denoise, x, schedule, drawn, gradient)
    assert case["kind"] == "ddim"
    if gradient is not None:
        denoise = folded(denoise, gradient, schedule)
    return ddim(denoise, x, schedule, drawn, eta=case["eta"] or 0.0)


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
    assert torch.equal(torch.stack(network.heard).double(), want["model_t"])
    assert_scaled(torch.stack([s.x for s in states]), want["samples"], 1e-4, "x")
    # The released x_0 of ancestral sampling is the one before guidance, and is always clipped.
    before = case["kind"] == "ancestral"
    found = unguided if before and case["guided"] else [s.prediction.x_0 for s in states]
    x_0 = torch.stack(found)
    if before and (released := threshold_of(case)) is not None and model.target.is_mean:
        x_0 = released(x_0)
    assert_scaled(x_0, want["pred_xstart"], 2e-4, "x_0")
    if case["guided"]:
        assert torch.equal(torch.stack(network.pulled).double(), want["cond_t"].double())
        assert_scaled(torch.stack(network.gradients), want["cond_grad"], 2e-4, "gradient")
