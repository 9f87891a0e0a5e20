"""raw output, image, step -> the released losses, their gradients and the bits per dimension."""

import torch
from parity.goldens import Arrays, assert_close, assert_scaled, each_entry
from parity.stand_in import StandIn, parameterization_of, schedule_of, threshold_of

from adm import losses
from adm.diffusion import denoiser
from adm.diffusion.likelihood import bits_per_dimension


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
    example = losses.noised(schedule, shared["x_start"], shared["noise"], level)
    raw = network(example.x_t, schedule.timestep(level, example.x_t)).requires_grad_()
    got = loss_of(case, schedule, model.variance.learned)(model, schedule, raw, example)
    (gradient,) = torch.autograd.grad(got.loss.sum(), raw)

    assert torch.equal(network.heard[0].double(), want["model_t"])
    absolute = 1e-5 * (schedule.last if case["loss_type"] == "rescaled_kl" else 1)
    assert_close(got.loss, want["loss"], 1e-4, absolute)
    if "mse" in case["terms"]:
        assert got.mse is not None
        assert_close(got.mse, want["mse"], 1e-5, 1e-7)
    if "vb" in case["terms"]:
        assert got.vlb is not None
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
        network.heard.clear()
        return bits_per_dimension(
            denoise, schedule, shared["x_start"], lambda level: noise[schedule.last - level]
        )

    errors, got = bound(threshold), bound(model.mean_threshold(threshold))
    assert torch.equal(torch.stack(network.heard).double(), want["model_t"])
    assert_close(got.terms, want["vb"], 1e-4, 1e-5)
    assert_close(got.prior, want["prior_bpd"], 1e-4, 1e-5)
    assert_close(got.total, want["total_bpd"], 1e-4, 1e-5)
    assert_close(errors.x_0_mse, want["xstart_mse"], 1e-4, 1e-4)
    assert_close(errors.noise_mse, want["mse"], 1e-4, 1e-4)
