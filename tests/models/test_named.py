"""openai/NAME -> file on a server -> model -> images, and back: for every kind of released file."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

import adm
from adm.models import export, paths
from adm.models.convert.released import export_state
from adm.models.load import load_any
from adm.models.trained import ClassifierModel
from adm.networks import Classifier, HeadCount, HeadWidth, UNet, UNetConfig
from adm.recipes import released
from adm.recipes.released import RELEASED, Released, public_name
from adm.spec import SettingError

KINDS = [
    "64x64_diffusion.pt",
    "512x512_diffusion.pt",
    "64_256_upsampler.pt",
    "256x256_classifier.pt",
    "imagenet64_cond_270M_250K.pt",
    "lsun_uncond_100M_1200K_bs128.pt",
    "edm_imagenet64_ema.pt",
    "ct_cat256.pt",
]


def narrowed(known: Released) -> Released:
    """The same form of network with few channels, blocks and classes, on small images."""
    config = known.config
    size = 2 * config.reduction
    changes = {
        "channels": 32 if min(config.multipliers) >= 1 else 64,
        "depth": 1,
        "heads": HeadCount(2) if isinstance(config.heads, HeadCount) else HeadWidth(32),
        "classes": config.classes and 5,
    }
    if not isinstance(config, UNetConfig):
        changes["size"] = (size, size)
    low = known.low_res and size // (known.size // known.low_res)
    narrow = replace(config, **changes)
    return replace(known, config=narrow, size=size, low_res=low, known=None, size_bytes=None)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in the place of the server of released files, and an empty cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setattr(released, "SERVER", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield folder
    server.shutdown()
    server.server_close()


def publish(file: str, served: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Put a narrow network with random weights on the server; return them by released name."""
    known = narrowed(RELEASED[file])
    monkeypatch.setitem(RELEASED, file, known)
    torch.manual_seed(0)
    config = known.config
    network = UNet(config) if isinstance(config, UNetConfig) else Classifier(config)
    random = {name: torch.randn_like(each) / 8 for name, each in network.state_dict().items()}
    legacy, flat = known.legacy_attention_order, known.flat_attention
    state = export_state(random, config, legacy, flat)
    path = served / known.repository.folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return state


@pytest.mark.parametrize("file", KINDS)
def test_a_name_is_fetched_converted_converted_back_and_sampled(
    file: str, served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, name = publish(file, served, monkeypatch), public_name(file)
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pt"
    export.convert(name, ours)
    export.convert_to_released(ours, back)
    again = torch.load(back, weights_only=True)
    assert list(again) == list(state)
    assert all(torch.equal(again[key], each) for key, each in state.items())
    model = load_any(ours)
    if isinstance(model, ClassifierModel):
        assert model.classify(torch.zeros(1, *model.shape)).shape == (1, 5)
        return
    pipelines = [adm.load(each, device="cpu") for each in (name, ours)]
    low = RELEASED[file].low_res
    start = None if low is None else torch.zeros(2, 3, low, low, dtype=torch.uint8)
    one_step = RELEASED[file].sample.sampler.name == "consistency"
    settings = {} if one_step else {"steps": 2}
    images = [each.sample(count=2, inputs=start, scale=0, **settings) for each in pipelines]
    assert images[0].images.shape == (2, *model.shape)
    assert torch.equal(images[0].images, images[1].images)


def test_a_guided_name_brings_its_classifier(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("64x64_diffusion.pt", served, monkeypatch)
    publish("64x64_classifier.pt", served, monkeypatch)
    pipeline = adm.load("openai/64x64-diffusion", device="cpu")
    classifier = paths.released("openai/64x64-classifier", download=False)
    assert not classifier.exists()  # until it is needed
    assert pipeline.sampling == pipeline.sampling.change(scale=1.0, steps=250)
    pipeline.sample("3:1", steps=2)
    assert classifier.exists()


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean openai/256x256-diffusion"):
        adm.load("openai/256x256-difusion")


def test_the_name_of_another_model_is_refused(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("cd_imagenet64_l2.pt", served, monkeypatch)
    for file in ("edm_imagenet64_ema.pt", "64x64_diffusion.pt", "ct_imagenet64.pt"):
        monkeypatch.setitem(RELEASED, file, narrowed(RELEASED[file]))
    path = next(served.rglob("cd_imagenet64_l2.pt"))
    mine = path.rename(tmp_path / "mine.pt")
    out = tmp_path / "ours.safetensors"
    with pytest.raises(SettingError, match="openai/ct-imagenet64, which are sampled in diff"):
        export.convert(mine, out)
    with pytest.raises(ValueError, match=r"another network: .*outputs: 3, expected 6"):
        export.convert(mine, out, "openai/64x64-diffusion")
    assert export.convert(mine, out, "openai/ct-imagenet64").name == "ct-imagenet64"
    assert not (tmp_path / "ours.safetensors.lock").exists()
