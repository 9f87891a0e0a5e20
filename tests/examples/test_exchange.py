"""examples/exchange.py -> a model in deepinv and azula, and their operators here."""

import sys
from pathlib import Path

import oracle
import pytest
import tiny
import torch
from torch import Tensor

import adm
from adm.diffusion import Threshold, clip
from adm.restoration import DiffPIR, Measurement, Prior
from adm.restoration.method import Method
from adm.restoration.operators import Instrument, operator_of
from adm.samplers import Noise

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from exchange import Estimate, from_azula, from_deepinv, to_azula, to_deepinv

pytestmark = pytest.mark.xdist_group("peers")  # deepinv takes seconds to import
BOX = "inpaint:box=2-2-4-4"
LEVELS = (1, 350, 1000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> adm.Pipeline:
    folder = tmp_path_factory.mktemp("models")
    recipe = tiny.diffusion("process.schedule=linear", "process.steps=1000")  # deepinv's own
    return adm.load(tiny.model(folder / "d.safetensors", recipe), device="cpu")


@pytest.fixture(scope="module")
def x_t(model: adm.Pipeline) -> Tensor:
    return oracle.normal((len(LEVELS), *model.shape), seed=0)


@pytest.fixture(scope="module")
def x_0(model: adm.Pipeline, x_t: Tensor) -> Tensor:
    """The model's own estimates, with one level and class for each image."""
    return model.denoise(torch.arange(3), threshold=None)(x_t.float(), torch.tensor(LEVELS)).x_0


def test_an_estimate_is_the_model_at_the_level_of_each_noise(
    model: adm.Pipeline, x_t: Tensor, x_0: Tensor
) -> None:
    estimate, labels = Estimate(model, None), torch.arange(3)
    signal, ratio = (
        table[list(LEVELS)] for table in (model.schedule.signal, model.schedule.noise_to_signal)
    )
    x = x_t / signal.reshape(-1, 1, 1, 1)
    torch.testing.assert_close(estimate(x, ratio, labels).float(), x_0, rtol=1e-5, atol=1e-5)
    for row in range(3):
        one = estimate(x[row : row + 1], ratio[row], labels[row : row + 1]).float()
        torch.testing.assert_close(one, x_0[row : row + 1], rtol=1e-5, atol=1e-5)
    # With more noise than at level T, the network receives its usual input at T.
    noisiest = estimate(x_t * (1 + 1e8) ** 0.5, torch.tensor(1e4), labels).float()
    last = model.denoise(labels, threshold=None)(x_t.float(), model.schedule.last).x_0
    torch.testing.assert_close(noisiest, last, rtol=1e-5, atol=1e-4)


def test_a_denoiser_of_deepinv_is_the_model_in_its_units(
    model: adm.Pipeline, x_t: Tensor, x_0: Tensor
) -> None:
    deepinv = pytest.importorskip("deepinv")
    denoiser = to_deepinv(model)
    assert isinstance(denoiser, deepinv.models.Denoiser)
    for row, level in enumerate(LEVELS):
        x = (x_t[row : row + 1] / model.schedule.signal[level] + 1) / 2
        sigma = float(model.schedule.noise_to_signal[level]) / 2
        actual = 2 * denoiser(x, sigma, class_labels=torch.tensor([row])).float() - 1
        torch.testing.assert_close(actual, x_0[row : row + 1], rtol=1e-5, atol=1e-5)


def test_a_denoiser_of_azula_is_the_model_at_its_times(
    model: adm.Pipeline, x_t: Tensor, x_0: Tensor
) -> None:
    noise, denoise = pytest.importorskip("azula.noise"), pytest.importorskip("azula.denoise")
    denoiser = to_azula(model)
    time = torch.tensor(LEVELS) / model.schedule.last
    posterior = denoiser(x_t.float(), time, label=torch.arange(3))
    assert isinstance(posterior, denoise.DiracPosterior)
    torch.testing.assert_close(posterior.mean, x_0, rtol=1e-5, atol=1e-5)
    # With another process the model receives the level of the same noise.
    denoiser.schedule = noise.VESchedule(0.02, 20.0)
    alpha, sigma = denoiser.schedule(torch.tensor(0.5))
    level = model.schedule.level_of(-2 * (sigma / alpha).double().log()[None])
    denoise_visited = model.denoise(
        schedule=model.schedule.visiting(level.tolist()), threshold=None
    )
    x = x_t.float()
    expected = denoise_visited(x / (1 + sigma**2).sqrt(), 1).x_0
    torch.testing.assert_close(denoiser(x, torch.tensor(0.5)).mean, expected, rtol=1e-5, atol=1e-5)


def test_operators_of_deepinv_are_ours(model: adm.Pipeline) -> None:
    physics = pytest.importorskip("deepinv.physics")
    images = (oracle.normal((3, *model.shape), seed=2).clamp(-3, 3) / 3).float()
    mean = torch.full((1, 1, 4, 4), 1 / 16)
    known = _instrument(model, BOX).mask
    pairs = {
        BOX: physics.Inpainting(model.shape, mask=known),
        "downsample:factor=4": physics.Downsampling(
            model.shape, filter=mean, factor=4, padding="valid"
        ),
    }
    for spec, theirs in pairs.items():
        theirs.noise_model = physics.GaussianNoise(0.05)
        ours, clean = _instrument(model, spec), theirs.A((images + 1) / 2)
        y, operator, sigma = from_deepinv(theirs, clean)
        instrument = operator.on(model.shape)
        assert instrument.shape == ours.shape
        assert sigma == pytest.approx(0.1)
        torch.testing.assert_close(y, ours.forward(images), rtol=0, atol=1e-5)
        torch.testing.assert_close(instrument.adjoint(y), theirs.A_adjoint(y), rtol=0, atol=1e-5)
        torch.testing.assert_close(instrument.adjoint(y), ours.adjoint(y), rtol=0, atol=1e-5)


def test_our_methods_take_their_operators(model: adm.Pipeline) -> None:
    physics = pytest.importorskip("deepinv.physics")
    images = torch.full((2, *model.shape), 200, dtype=torch.uint8)
    y = model.measure(images, BOX, sigma=0.1)
    ours = model.restore(y, BOX, "diffpir", sigma=0.1, steps=5).images
    mask = _instrument(model, BOX).mask
    theirs = physics.Inpainting(model.shape, mask=mask, noise_model=physics.GaussianNoise(0.05))
    problem = from_deepinv(theirs, theirs.A((y + 1) / 2))
    samples = model.restore(problem.y, problem.operator, "diffpir", sigma=problem.sigma, steps=5)
    assert (samples.images.int() - ours.int()).abs().max() <= 1
    function = from_azula(theirs.A, "hole")
    again = model.restore(y, function, "diffpir", sigma=0.1, steps=5)
    assert (again.images.int() - ours.int()).abs().max() <= 1
    assert again.job.manifest()["restoration"]["operator"] == "function:of=hole"


@pytest.mark.parametrize("package", ["azula", "deepinv"])
def test_diffpir_of_others_takes_our_steps(package: str, model: adm.Pipeline) -> None:
    """Without fresh noise azula's sampler is DDIM's; in deepinv lambda is twice our weight."""
    pytest.importorskip(package)
    weight, instrument = 3.5, _instrument(model, "downsample:factor=4")
    y, sigma = oracle.normal((2, 1, 2, 2), seed=9).float(), 0.1
    x = oracle.normal((2, *model.shape), seed=10).float()
    fresh = 0.0 if package == "azula" else 0.3
    levels = [200, 400, 600, 800, 1000] if package == "azula" else [1, 134, 293, 500, 1000]
    theirs: list[Tensor] = []
    torch.manual_seed(0)
    if package == "azula":
        from azula.guidance import DiffPIRDenoiser
        from azula.sample import DDIMSampler

        denoiser = to_azula(model, clip)
        guided = DiffPIRDenoiser(denoiser, y, instrument.forward, sigma**2, lmbda=weight)
        sampler, now = DDIMSampler(guided, eta=0.0, steps=5, silent=True), x
        for t, s in sampler.timesteps.unfold(0, 2, 1):
            theirs.append(now := sampler.step(now, t, s))
    else:
        from deepinv.optim.data_fidelity import L2
        from deepinv.physics import Downsampling, GaussianNoise
        from deepinv.sampling import DiffPIR as Theirs

        mean = torch.full((1, 1, 4, 4), 1 / 16)
        noise = GaussianNoise(sigma / 2)
        physics = Downsampling(model.shape, mean, 4, padding="valid", noise_model=noise)
        restorer = Theirs(to_deepinv(model), L2(), sigma / 2, 5, zeta=fresh, lambda_=2 * weight)
        out = restorer((y + 1) / 2, physics, x_init=torch.full_like(x, 0.5))
        theirs.append(2 * out - 1)
        torch.manual_seed(0)
        last = model.schedule.noise_to_signal[-1].float()
        x = (last**2 - sigma**2).sqrt() * torch.randn_like(x) * model.schedule.signal[-1].float()
    prior = _prior(model, levels, clip)
    ours = _states(DiffPIR(weight=weight, fresh=fresh), prior, instrument.measured(y, sigma), x)
    expected = ours[:-1] if package == "azula" else ours[-2:-1]  # both leave some noise at the end
    for one, other in zip(theirs, expected, strict=False):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def _instrument(model: adm.Pipeline, spec: str) -> Instrument:
    return operator_of(spec).on(model.shape)


def _prior(model: adm.Pipeline, levels: list[float], threshold: Threshold | None = None) -> Prior:
    schedule = model.schedule.visiting(levels)
    return Prior(model.denoise(schedule=schedule, threshold=None), schedule, threshold=threshold)


def _states(
    method: Method,
    prior: Prior,
    measurement: Measurement,
    x: Tensor,
    sampler: str = "ddim",
    noise: Noise | None = None,
) -> list[Tensor]:
    """All states of sampling, by default with noise of the global generator."""
    drawn = noise or (lambda level, draw=0: torch.randn_like(x))
    states = method.sample(prior, measurement, x, drawn, oracle.sampler_of(sampler))
    return [state.x.detach() for state in states]
