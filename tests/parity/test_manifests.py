"""released flags -> every name, shape, order and head count of a released network."""

import json

import torch
from parity.goldens import each_file

from adm.models.convert.flags import network_of, read_flags
from adm.models.convert.released import export_state, recognise, released_names
from adm.networks import UNetConfig, on_meta
from adm.recipes.released import RELEASED


def _manifest(path):
    manifest = json.loads(path.read_text())
    return manifest, manifest["model_flags"] | (manifest["diffusion_flags"] or {})


@each_file("manifests/*.json")
def test_names_order_shapes_and_count(path):
    manifest, flags = _manifest(path)
    config = network_of(read_flags(flags))
    exported = export_state(on_meta(config).state_dict(), config, _legacy(flags))
    assert [[name, list(t.shape)] for name, t in exported.items()] == manifest["state_dict"]
    assert {t.dtype for t in exported.values()} == {torch.float32}
    assert len(exported) == manifest["num_tensors"]
    assert sum(t.numel() for t in exported.values()) == manifest["parameter_count"]


@each_file("manifests/*.json")
def test_readme_flags_alone_make_the_same_network(path):
    manifest, flags = _manifest(path)
    readme_flags = manifest["flags_given_in_readme"]
    if manifest["kind"] == "classifier":
        readme_flags = readme_flags | {"kind": "classifier"}
    assert network_of(read_flags(readme_flags)) == network_of(read_flags(flags))


@each_file("manifests/*.json")
def test_attention_has_the_released_heads(path):
    manifest, flags = _manifest(path)
    config = network_of(read_flags(flags))
    network, ours = on_meta(config), {new: old for old, new in released_names(config).items()}
    pool = "qkv_proj.weight"
    assert len(manifest["attention"]) == sum(n.endswith((".qkv.weight", pool)) for n in ours)
    for attention in manifest["attention"]:
        pools = attention.get("pool", False)
        name = ours[f"{attention['module']}.{pool if pools else 'qkv.weight'}"]
        module = network.get_submodule(name.removesuffix(".qkv.weight"))
        assert module.heads == attention["heads"]
        assert module.heads * attention["head_channels"] == attention["channels"]
        assert ("legacy" in attention["qkv_layout"]) == (_legacy(flags) and not pools)


@each_file("manifests/*.json")
def test_resolved_settings(path):
    manifest, flags = _manifest(path)
    config, resolved = network_of(read_flags(flags)), manifest["resolved"]
    assert list(config.multipliers) == resolved["channel_mult"]
    assert list(config.attention_factors) == resolved["attention_downsample_factors"]
    assert config.channels == resolved["model_channels"]
    if isinstance(config, UNetConfig):
        assert config.out_channels == resolved["out_channels"]
        assert config.classes == resolved["num_classes"]
        times = 2 if config.super_resolution else 1
        assert config.in_channels * times == resolved["in_channels"]


@each_file("manifests/*.json")
def test_recognised_from_names_and_shapes(path):
    manifest, flags = _manifest(path)
    known = RELEASED.get(manifest["checkpoint"])
    if known is None:
        return
    assert manifest["checkpoint"] in recognise(
        {name: tuple(sides) for name, sides in manifest["state_dict"]}
    )
    assert known.config == network_of(read_flags(flags))
    assert known.legacy_attention_order == _legacy(flags)
    sampling = manifest.get("readme_sampling") or {}
    assert known.classifier == sampling.get("classifier_checkpoint")
    assert known.scale == sampling.get("classifier_scale", 0)
    if sampling:
        steps = sampling.get("timestep_respacing_best", sampling["timestep_respacing"])
        assert known.sample.grid.steps == int(steps)
    if manifest["diffusion_flags"] is not None:
        assert known.process.schedule == flags["noise_schedule"]
        assert known.process.steps == flags["diffusion_steps"]
        assert flags["learn_sigma"]
        assert not flags["predict_xstart"]
        assert not flags["rescale_timesteps"]


def _legacy(flags):
    return not read_flags(flags).use_new_attention_order
