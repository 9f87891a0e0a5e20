"""released networks, classifier, recorded noise -> the released guided images, step by step.

Every run is replayed twice: left to itself, and with each step started from the recorded state.
"""

import json
from functools import lru_cache

import pytest
import torch
from parity.goldens import FOLDER, absent, assert_scaled, located, tensors
from parity.stand_in import parameterization_of, schedule_of, threshold_of
from parity.test_networks import load_network

from adm.diffusion import denoiser, process
from adm.guidance import classifier_gradient, scaled
from adm.images import to_uint8_truncated
from adm.samplers import DDIM, Ancestral

LIMIT = 2e-4


def _listed():
    if FOLDER is None or not (FOLDER / "guided/guided.json").is_file():
        return {"models": {}, "runs": []}
    return json.loads((FOLDER / "guided/guided.json").read_text())


LISTED = _listed()
RUNS = [
    pytest.param(run, id=f"{run['file'].removesuffix('.safetensors')}-{run['tag']}")
    for run in LISTED["runs"]
]
each_run = pytest.mark.parametrize("run", RUNS or [absent("guided/guided.json")])


@lru_cache(maxsize=8)
def _network(name):
    weights = tensors(located("guided/guided.json").parent / f"{name}.weights.safetensors")
    return load_network(LISTED["models"][name]["config"], weights)


class Replay:
    """One run, with a list of every quantity along its steps."""

    def __init__(self, run, forced):
        self.run, self.schedule = run, schedule_of(run)
        recorded = tensors(located("guided/guided.json").parent / run["file"])
        self.shared = {name: value for name, value in recorded.items() if "." not in name}
        tag = f"{run['tag']}."
        self.want = {n.removeprefix(tag): v for n, v in recorded.items() if n.startswith(tag)}
        starts = torch.cat([self.shared["x_init"][None], self.want["samples"][:-1]])
        self.starts = starts if forced else None
        self.got = {name: [] for name in ("model_t", "mean", "log_variance", "pred_xstart")}
        self.got |= {name: [] for name in ("gradient", "samples", "guided_pred_xstart")}
        self.got["guided_mean"] = []
        self.sample()

    def sample(self):
        run, schedule, shared = self.run, self.schedule, self.shared
        unet = _network(run["model"])
        label = shared["labels"] if unet.config.classes is not None else None

        def output(x, step):
            self.got["model_t"].append(step)
            return unet(x, step, label)

        inner = denoiser(output, schedule, parameterization_of(run), threshold_of(run))

        def denoise(x, level):
            if self.starts is not None:
                # The sampler's own tensor, so that all it does with it starts from here as well.
                x.copy_(self.starts[schedule.last - level])
            p = inner(x, level)
            mean = process.posterior(schedule, p.x_0, x, level).mean
            self.got["mean"].append(mean)
            self.got["log_variance"].append(p.variance.log.expand_as(mean))
            self.got["pred_xstart"].append(p.x_0)
            return p

        def noise(level, draw=0):
            return shared["noise"][schedule.last - level]

        start, gradient = shared["x_init"].clone(), self._gradient()
        if run["sampler"] == "ancestral":
            states = Ancestral()(denoise, start, schedule, noise, gradient)
        else:
            assert run["sampler"] == "ddim"
            sampler = DDIM(eta=run["eta"])
            states = sampler(denoise, start, schedule, noise, gradient)
        with torch.no_grad():
            for state in states:
                self.got["samples"].append(state.x.clone())
                level = state.level + 1
                spread = torch.exp(0.5 * state.prediction.variance.log)
                fresh = spread * noise(level) if level > 1 else 0.0
                self.got["guided_mean"].append(state.x - fresh)
                self.got["guided_pred_xstart"].append(state.prediction.x_0)

    def _gradient(self):
        scale = self.run["classifier_scale"]
        if scale is None:
            return None
        (guide,) = (n for n, m in LISTED["models"].items() if "pool" in m["config"])
        plain = classifier_gradient(_network(guide), self.schedule, self.shared["labels"])
        inner = scaled(plain, scale)

        def gradient(x, level, prediction):
            pull = inner(x, level, prediction)
            self.got["gradient"].append(pull)
            return pull

        return gradient


@each_run
def test_left_to_itself(run):
    replay = Replay(run, forced=False)
    steps = torch.stack(replay.got["model_t"])
    assert torch.equal(steps.double(), replay.shared["model_t"].double())
    assert_scaled(torch.stack(replay.got["samples"]), replay.want["samples"], LIMIT, "samples")
    _assert_same_bytes(replay)


@each_run
def test_one_step_at_a_time(run):
    replay = Replay(run, forced=True)
    recorded = set(replay.want) - {"image_uint8"}
    assert "samples" in recorded
    for name in recorded:
        assert_scaled(torch.stack(replay.got[name]), replay.want[name], LIMIT, name)


def _assert_same_bytes(replay):
    got = to_uint8_truncated(replay.got["samples"][-1]).permute(0, 2, 3, 1)
    apart = (got.int() - replay.want["image_uint8"].int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() <= 0.01
