"""a stand-in network, recorded noise -> the released trajectories, step by step."""

import pytest
import torch
from parity.goldens import Arrays, assert_scaled, each_entry
from parity.stand_in import StandIn, parameterization_of, restrain_of, schedule_of

from adm.diffusion import denoiser
from adm.samplers import ancestral, ddim, encode


def sampler_of(case, denoise, schedule, arrays, gradient):
    """The released sampler of a case, at its start: a generator of states."""
    x = arrays["x_init"]
    if case["kind"] == "ddim_reverse":
        return encode(denoise, x, schedule)
    noise = arrays["noise"]
    assert len(noise) == schedule.last

    def drawn(level):
        return noise[schedule.last - level]

    if case["kind"] == "ancestral":
        return ancestral(denoise, x, schedule, drawn, gradient)
    assert case["kind"] == "ddim"
    return ddim(denoise, x, schedule, drawn, gradient, eta=case["eta"] or 0.0)


@each_entry("process/sampling.json")
def test_trajectory(case):
    want = Arrays("process/sampling.npz", case["id"])
    schedule = schedule_of(case)
    network = StandIn(case, Arrays("process/sampling.npz")["y"])
    denoise = denoiser(network, schedule, parameterization_of(case), restrain_of(case))

    def pull(x, level):
        return network.gradient(x, schedule.step(level, x))

    steps = sampler_of(case, denoise, schedule, want, pull if case["guided"] else None)
    if not 0 <= (case.get("eta") or 0) <= 1:
        with pytest.raises(ValueError, match="eta"):
            next(steps)
        return
    states = list(steps)
    assert len(states) == case["num_steps"]
    assert torch.equal(torch.stack(network.heard).double(), want["model_t"])
    assert_scaled(torch.stack([s.x for s in states]), want["samples"], 1e-4, "x")
    x_0 = torch.stack([s.prediction.x_0 for s in states])
    assert_scaled(x_0, want["pred_xstart"], 2e-4, "x_0")
    if case["guided"]:
        assert torch.equal(torch.stack(network.pulled).double(), want["cond_t"].double())
        assert_scaled(torch.stack(network.gradients), want["cond_grad"], 2e-4, "gradient")
