"""released weights <-> ours: names, rows, recognition, refusals; every command of the README."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import adm
from adm.generation.cascade import CascadeGenerator
from adm.models import load as loading
from adm.models.convert.flags import network_of, read_flags
from adm.models.convert.released import (
    export_state,
    import_state,
    load_released,
    recognise,
    released_shapes,
)
from adm.networks import (
    Classifier,
    ClassifierConfig,
    HeadCount,
    HeadWidth,
    UNet,
    UNetConfig,
    on_meta,
)
from adm.recipes.released import RELEASED
from adm.spec import SettingError

UNET = UNetConfig(
    channels=32,
    multipliers=(1, 2),
    depth=1,
    attention_factors=(1, 2),
    heads=HeadWidth(16),
    out_channels=6,
    classes=10,
)
CLASSIFIER = ClassifierConfig(
    channels=32,
    multipliers=(1, 2),
    depth=1,
    attention_factors=(2,),
    heads=HeadWidth(16),
    classes=10,
    size=(8, 8),
)
# Files whose weights have the same names and shapes.
LSUN = ("lsun_bedroom.pt", "lsun_cat.pt", "lsun_horse.pt", "lsun_horse_nodropout.pt")
ALIKE = [
    {*LSUN, "256x256_diffusion_uncond.pt"},
    {"imagenet64_uncond_100M_1500K.pt", "imagenet64_uncond_vlb_100M_1500K.pt"},
    {"cifar10_uncond_50M_500K.pt", "cifar10_uncond_vlb_50M_500K.pt"},
    {"lsun_uncond_100M_1200K_bs128.pt", "lsun_uncond_100M_2400K_bs64.pt"},
    {file for file in RELEASED if re.match("(edm|cd|ct)_imagenet64", file)},
    {file for file in RELEASED if re.match("(edm|cd|ct)_(bedroom|cat)256", file)},
]


def random_state(config):
    network = UNet(config) if isinstance(config, UNetConfig) else Classifier(config)
    return {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        UNET,
        replace(UNET, resampling="convolution", heads=HeadCount(4), decoder_heads=HeadCount(2)),
        replace(UNET, resampling="plain", adaptive_norm=False, super_resolution=True),
        CLASSIFIER,
        replace(CLASSIFIER, pool="adaptive"),
        replace(CLASSIFIER, pool="spatial"),
        replace(CLASSIFIER, pool="spatial_v2"),
    ],
)
def test_import_undoes_export(config, legacy):
    state = random_state(config)
    back = import_state(export_state(state, config, legacy), config, legacy)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_legacy_rows_go_head_by_head():
    config = replace(UNET, heads=HeadCount(2))
    released = {n: torch.zeros(s) for n, s in released_shapes(config).items()}
    released["middle_block.1.qkv.bias"] = torch.arange(192.0)
    rows = import_state(released, config)["encoder.middle_attention.qkv.bias"]
    # Two heads of 32: queries 0-31 and 96-127, keys 32-63 and 128-159, values 64-95 and 160-191.
    parts = [(0, 32), (96, 128), (32, 64), (128, 160), (64, 96), (160, 192)]
    assert torch.equal(rows, torch.cat([torch.arange(float(a), b) for a, b in parts]))


def test_attention_pool_is_never_in_legacy_order():
    state = random_state(CLASSIFIER)
    exported = export_state(state, CLASSIFIER, legacy_attention_order=True)
    assert torch.equal(exported["out.2.qkv_proj.weight"], state["head.pool.qkv.weight"])
    ours = state["encoder.middle_attention.qkv.weight"]
    assert not torch.equal(exported["middle_block.1.qkv.weight"], ours)


@pytest.mark.parametrize("name", RELEASED)
def test_every_released_file_is_recognised(name):
    names = recognise(released_shapes(RELEASED[name].config))
    assert set(names) == next((alike for alike in ALIKE if name in alike), {name})


def save(path: Path, shapes):
    """Weights of any size in a small file: every tensor is one stored zero, expanded."""
    torch.save({name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}, path)
    return path


def test_load_recognises_by_content(tmp_path):
    shapes = released_shapes(RELEASED["64x64_classifier.pt"].config)
    name, state = load_released(save(tmp_path / "renamed.pt", shapes))
    assert name == "64x64_classifier.pt"
    on_meta(RELEASED[name].config).load_state_dict(state, assign=True)


def test_name_of_the_file_decides_between_equal_shapes(tmp_path):
    shapes = released_shapes(RELEASED["lsun_cat.pt"].config)
    assert load_released(save(tmp_path / "lsun_cat.pt", shapes))[0] == "lsun_cat.pt"
    assert load_released(save(tmp_path / "mine.pt", shapes))[0] in ALIKE[0]


def test_weights_that_may_be_sampled_in_several_ways_are_refused(tmp_path):
    path = save(tmp_path / "mine.pt", released_shapes(RELEASED["ct_imagenet64.pt"].config))
    with pytest.raises(SettingError, match=r"may be openai/edm-imagenet64-ema or openai/cd-"):
        load_released(path)
    assert load_released(path, "ct_imagenet64.pt")[0] == "ct_imagenet64.pt"


def test_a_file_that_was_cut_off_is_named_as_such(tmp_path):
    path = tmp_path / "64x64_classifier.pt"
    path.write_bytes(b"PK" + bytes(1000))
    with pytest.raises(
        ValueError, match=r"was cut off: it has 1,002 bytes, and 64x64_class.* has 2"
    ):
        load_released(path)


def test_convolutions_of_attention_may_have_two_dimensions():
    """As those of consistency_models: (3 C, C, 1, 1) in place of (3 C, C, 1)."""
    state = random_state(UNET)
    exported = export_state(state, UNET, legacy_attention_order=False, flat_attention=False)
    assert exported["middle_block.1.qkv.weight"].shape == (192, 64, 1, 1)
    assert exported["middle_block.1.proj_out.weight"].shape == (64, 64, 1, 1)
    back = import_state(exported, UNET, legacy_attention_order=False)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_foreign_names_are_refused(tmp_path):
    path = save(tmp_path / "resnet.pt", {"conv1.weight": (4, 3, 3, 3), "fc.bias": (10,)})
    with pytest.raises(ValueError, match=r"not the weights of a released network.*conv1\.weight"):
        load_released(path)


def test_errors_name_settings_and_not_tensors():
    wrong = replace(RELEASED["64x64_diffusion.pt"].config, channels=128, classes=None)
    with pytest.raises(ValueError, match=r"compared with 64x64_diffusion\.pt") as raised:
        recognise(released_shapes(wrong))
    assert "channels: 128, expected 192" in str(raised.value)
    assert "label classes: None, expected 1000" in str(raised.value)

    state = export_state(random_state(UNET), UNET)
    with pytest.raises(ValueError, match="outputs: 6, expected 3"):
        import_state(state, replace(UNET, out_channels=3))
    del state["out.2.bias"], state["out.0.bias"]
    with pytest.raises(ValueError, match="another network"):
        import_state(state, UNET)


def test_what_the_released_system_lacks_is_not_exported():
    config = replace(UNET, rescale_residual=True)
    with pytest.raises(ValueError, match=r"--set unet.rescale_residual=false"):
        export_state(random_state(config), config)


def test_attention_at_no_level_is_passed_over_as_the_released_network_does():
    flags = {"image_size": 64, "channel_mult": "1,2", "attention_resolutions": "32,8"}
    assert network_of(read_flags(flags)).attention_factors == (2,)


def test_decoder_heads_count_only_where_no_width_is_set():
    flags = {"num_heads": 2, "num_heads_upsample": 4}
    assert network_of(read_flags(flags)).decoder_heads == HeadCount(4)
    assert network_of(read_flags(flags | {"num_head_channels": 32})).decoder_heads is None


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"num_chanels": 3}, "flag num_chanels"),
        ({"num_channels": "many"}, "flag num_channels: got 'many'"),
        ({"image_size": 48}, "images of size 48 have no default multipliers; set channel_mult"),
    ],
)
def test_flags_that_mean_nothing_are_refused(flags, complaint):
    with pytest.raises(ValueError, match=complaint) as raised:
        network_of(read_flags(flags))
    assert "\n" not in str(raised.value)


GUIDED = [
    ("64x64_diffusion.pt", "64x64_classifier.pt", 1.0),
    ("128x128_diffusion.pt", "128x128_classifier.pt", 0.5),
    ("256x256_diffusion.pt", "256x256_classifier.pt", 1.0),
    ("256x256_diffusion_uncond.pt", "256x256_classifier.pt", 10.0),
    ("512x512_diffusion.pt", "512x512_classifier.pt", 4.0),
]
CASCADES = [
    ("64x64_diffusion.pt", "64_256_upsampler.pt"),
    ("128x128_diffusion.pt", "128_512_upsampler.pt"),
]
UNCONDITIONAL = ["lsun_bedroom.pt", "lsun_cat.pt", "lsun_horse.pt", "lsun_horse_nodropout.pt"]


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of empty files in place of the released ones, whose loading is stubbed."""

    def load_released(path: Path) -> tuple[str, dict[str, torch.Tensor]]:
        return path.name, dict(on_meta(RELEASED[path.name].config).state_dict())

    monkeypatch.setattr(loading, "load_released", load_released)
    for name in RELEASED:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("model", "classifier", "scale"), GUIDED)
def test_a_guided_model_is_paired_with_its_classifier(
    released: Path, model: str, classifier: str, scale: float
) -> None:
    named = adm.load(released / model, released / classifier, device="meta")
    paired = adm.load(released / model, device="meta")  # the classifier that lies beside it
    for pipeline in (named, paired):
        job = pipeline.job("207:2", scale=scale)
        assert job.labels == [207, 207]
        assert len(job.generator.classes) == 1000
        assert pipeline.classifier is not None
        assert pipeline.classifier.path.name == classifier
        assert pipeline.sampling == pipeline.sampling.change(scale=scale)  # that of the README


def test_the_unconditional_model_is_sampled_without_a_class_too(released: Path) -> None:
    pipeline = adm.load(released / "256x256_diffusion_uncond.pt", device="meta")
    assert pipeline.job(count=3, scale=0).labels is None
    assert pipeline.job("207:2", scale=0).labels == [207, 207]  # beside those of another scale


@pytest.mark.parametrize(("base", "upsampler"), CASCADES)
def test_a_base_and_its_upsampler_are_a_cascade(released: Path, base: str, upsampler: str) -> None:
    pipeline = adm.load(released / base, upsampler=released / upsampler, device="meta")
    job = pipeline.job("207:2", scale=1.0)
    assert job.labels == [207, 207]
    assert isinstance(job.generator, CascadeGenerator)
    assert job.generator.upsampler.input_shape == pipeline.shape
    assert job.evaluations == 2 * (250 + 250)


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_an_unconditional_model_is_sampled_by_count(released: Path, name: str) -> None:
    job = adm.load(released / name, device="meta").job(count=2)
    assert job.labels is None
    assert job.evaluations == 2 * 1000
