"""Layers that preserve magnitude: of features, of stored weights, and in every other path."""

import copy
import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import torch.distributed as dist
from nets import CONFIG, error, filled
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import adm
from adm.models.convert import released_shapes
from adm.networks import (
    NO_LABEL,
    HeadWidth,
    MagnitudeUNet,
    UNetConfig,
    perturbed,
    prepared,
    renormalise,
    unet,
)
from adm.networks.magnitude import BRANCH_FACTOR, SILU, UnitBlock, UnitWeights, concatenate
from adm.recipes.schema import from_json
from adm.spec import to_json

BASE = replace(CONFIG, layers="magnitude", heads=HeadWidth(16))
WIDE = replace(BASE, channels=64)
STEPS, LABELS = torch.tensor([3.0, 700.0, 0.5]), torch.tensor([0, 2, NO_LABEL])
SIZES = {
    "biggan": {},
    "plain": {"resampling": "plain"},
    "convolution": {"resampling": "convolution"},
}
AXES: dict[str, dict[str, Any]] = {
    **SIZES,
    "one channel": {"in_channels": 1, "out_channels": 1},
    "super-resolution": {"super_resolution": True},
    "unconditional": {"classes": None},
    "conditions": {"conditions": ("next", "scale")},
    "deep": {"multipliers": (1, 2, 3), "depth": 2, "attention_factors": (1, 4)},
}


def new(config: UNetConfig) -> MagnitudeUNet:
    torch.manual_seed(0)
    network = unet(config)
    assert isinstance(network, MagnitudeUNet)
    return network


def inputs(config: UNetConfig, size: tuple[int, int] = (8, 12)) -> tuple[Any, ...]:
    torch.manual_seed(1)
    label = None if config.classes is None else LABELS
    low = torch.randn(3, config.in_channels, 4, 6) if config.super_resolution else None
    conditions = torch.tensor([[30.0, 1.5]] * 3) if config.conditions else None
    return torch.randn(3, config.in_channels, *size), STEPS, label, low, conditions


def magnitude(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def weighted(network: nn.Module) -> list[UnitWeights]:
    return [each for each in network.modules() if isinstance(each, UnitWeights)]


@pytest.mark.parametrize("resampling", SIZES)
@torch.no_grad()
def test_every_stage_of_a_new_network_has_features_of_magnitude_1(resampling: str) -> None:
    network, magnitudes = new(replace(WIDE, **SIZES[resampling])), list[float]()
    embedding = torch.randn(1, 4 * WIDE.channels)

    def renewed(layer: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(each if each is embedding else torch.randn_like(each) for each in arguments)

    within = {1.0: list[float](), BRANCH_FACTOR: list[float]()}  # by the factor of the output
    for each in network.modules():
        if isinstance(each, UnitBlock):
            for layer, factor in ((each.conv_in, 1.0), (each.conv_out, BRANCH_FACTOR)):
                layer.register_forward_hook(
                    lambda m, x, out, f=factor: within[f].append(magnitude(out) / f)
                )
    stages = [*network.encoder.stages, *network.decoder]
    encoder = network.encoder
    layers = [encoder.middle_in, encoder.middle_attention, encoder.middle_out]
    layers += [layer for stage in stages for layer in (stage, *stage.children())]
    for layer in layers:
        layer.register_forward_pre_hook(renewed)
        layer.register_forward_hook(lambda m, arguments, out: magnitudes.append(magnitude(out)))
    skips = network.encoder(torch.randn(1, 3, 64, 64), embedding)
    h = skips.pop()
    for stage in network.decoder:
        h = stage(h, embedding, skips.pop())
    assert len(magnitudes) == len(layers) > 20
    assert min(magnitudes) > 0.9
    assert max(magnitudes) < 1.1
    for each in within.values():  # each varies by 5%, from its few weights
        assert sum(each) / len(each) == pytest.approx(1, abs=0.1)


def test_the_magnitude_of_silu_is_that_for_normal_inputs() -> None:
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / torch.exp(-x.square() / 2).sum()
    assert abs((density * nn.functional.silu(x).square()).sum().sqrt().item() - SILU) < 5e-4


def test_both_inputs_of_a_concatenation_contribute_equally() -> None:
    a, b = torch.ones(1, 8, 2, 2), torch.ones(1, 24, 2, 2)
    both = concatenate(a, b)
    assert magnitude(both) == pytest.approx(1)
    squares = both.square()
    torch.testing.assert_close(squares[:, :8].sum(), squares[:, 8:].sum())
    assert torch.equal(concatenate(b, b), torch.cat([b, b], dim=1))


@torch.no_grad()
def test_the_embedding_has_magnitude_1_at_every_timestep_and_the_output_at_gain_1() -> None:
    network = new(WIDE)
    embeddings = network.step_embedding(torch.tensor([0.0, 0.5, 10.0, 400.0, 999.0]))
    torch.testing.assert_close(embeddings.square().mean(1).sqrt(), torch.ones(5), rtol=0.15, atol=0)
    rows = network.label_embedding(torch.arange(3))
    torch.testing.assert_close(rows.square().mean(1), torch.ones(3))
    nn.init.ones_(network.head.gain)
    assert 0.9 < magnitude(network.head(torch.randn(2, 64, 64, 64))) < 1.1


def test_a_new_network_gives_zero_and_heeds_each_input_when_gains_are_not() -> None:
    for axis in AXES.values():
        config = replace(BASE, **axis)
        assert new(config)(*inputs(config)).abs().max() == 0
        network, arguments = filled(new(config)), inputs(config)
        out = network(*arguments)
        assert out.shape == (3, config.out_channels, 8, 12)
        changes = (arguments[0].roll(1, 2), STEPS + 50, torch.tensor([1, NO_LABEL, 0]), -1.0, 2.0)
        for place, change in enumerate(changes):
            if arguments[place] is not None:
                other = change * arguments[place] if isinstance(change, float) else change
                changed = network(*arguments[:place], other, *arguments[place + 1 :])
                assert ((changed - out).flatten(1).abs().amax(1) > 1e-4).all()


@torch.no_grad()
def test_without_a_label_the_embedding_is_that_of_the_step() -> None:
    network, (x, *_) = filled(new(BASE)), inputs(BASE)
    assert torch.equal(network(x, STEPS, torch.full((3,), NO_LABEL)), network(x, STEPS))


def test_a_student_starts_as_its_teacher() -> None:
    teacher, student = filled(new(BASE)), new(replace(BASE, conditions=("next", "scale"))).eval()
    student.load_state_dict(teacher.state_dict(), strict=False)
    arguments = inputs(BASE)
    conditions = torch.randn(3, 2)
    assert torch.equal(student(*arguments[:4], conditions), teacher(*arguments))


@torch.no_grad()
def test_the_scale_of_stored_weights_changes_no_output() -> None:
    network, arguments = filled(new(BASE)), inputs(BASE)
    before = network(*arguments)
    for each in weighted(network):
        shape = (len(each.weight), *[1] * (each.weight.dim() - 1))
        each.weight.mul_(torch.logspace(-2, 2, len(each.weight)).view(shape))
    assert error(network(*arguments), before) < 1e-5


def test_gradients_are_orthogonal_to_the_weights_of_every_output() -> None:
    network = filled(new(BASE)).train().requires_grad_()
    network(*inputs(BASE)).square().sum().backward()
    for each in weighted(network):
        weight, gradient = each.weight.detach().flatten(1), each.weight.grad
        assert gradient is not None
        gradient = gradient.flatten(1)
        assert gradient.norm() > 0
        along = (weight * gradient).sum(1).abs() / weight.norm(dim=1)
        assert along.max() < 1e-5 * gradient.norm()


def test_a_forward_pass_changes_no_stored_weight() -> None:
    """So that micro-batches, ranks and recomputed activations all see the same ones."""
    network = filled(new(BASE)).train()
    before = {name: w.clone() for name, w in network.state_dict().items()}
    network(*inputs(BASE))
    assert all(torch.equal(w, before[name]) for name, w in network.state_dict().items())


def test_stored_weights_have_magnitude_1_after_a_step_and_at_first(tmp_path: Path) -> None:
    recipe = tiny.diffusion("unet.layers=magnitude", "train.learning_rate=0.3")
    first = tiny.steps(recipe, tiny.stripes(), tmp_path)
    (file,) = (tmp_path / "checkpoints").rglob("step-0000004/raw.safetensors")
    after, start = load_file(file), new(recipe.unet).state_dict()
    assert len(first) == 4
    for name, weight in after.items():
        if name.endswith("weight"):
            for stored in (weight, start[name]):
                rows = stored.flatten(1).square().mean(1).sqrt()
                torch.testing.assert_close(rows, torch.ones_like(rows), rtol=1e-5, atol=0)
            assert error(weight, start[name]) > 0.01
        else:
            assert weight.abs().min() > 0, "a gain was trained"


def test_renormalising_leaves_other_layers_alone() -> None:
    network = filled(unet(CONFIG))
    before = {name: w.clone() for name, w in network.state_dict().items()}
    renormalise(network)
    assert all(torch.equal(w, before[name]) for name, w in network.state_dict().items())


@pytest.mark.skipif(not dist.is_gloo_available(), reason="shards need torch.distributed")
def test_shards_are_renormalised_as_the_whole_is() -> None:
    network = filled(new(BASE))
    weights = {n: m for n, m in network.named_modules() if isinstance(m, UnitWeights)}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        sharded = copy.deepcopy(network)
        for name in weights:
            layer = sharded.get_submodule(name)
            layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [Shard(0)]))
        renormalise(sharded)
        renormalise(network)
        for name, each in weights.items():
            whole = sharded.get_submodule(name).weight.full_tensor()
            torch.testing.assert_close(whole, each.weight)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("axis", AXES)
def test_a_prepared_copy_is_the_same_function_with_the_same_gradient(axis: str) -> None:
    config = replace(BASE, **AXES[axis])
    network, (x, *others) = filled(new(config)), inputs(config)
    outcomes = []
    for each in (network, prepared(network)):
        leaf = x.clone().requires_grad_()
        out = each(leaf, *others)
        assert out.dtype == torch.float32
        assert out.is_contiguous()
        outcomes.append((out.detach(), torch.autograd.grad(out.square().sum(), leaf)[0]))
    for actual, expected in zip(outcomes[1], outcomes[0], strict=True):
        assert error(actual, expected) < 3e-6
    assert torch.equal(network(x, *others), outcomes[0][0]), "preparing changes nothing"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_stays_near(dtype: torch.dtype) -> None:
    network, arguments = filled(new(BASE)), inputs(BASE)
    copy = prepared(network, dtype)
    assert 0 < error(copy(*arguments), network(*arguments)) < 0.02
    assert not any(each.requires_grad for each in copy.parameters())


@pytest.mark.parametrize("kind", [lambda network: network, prepared], ids=["plain", "prepared"])
@torch.no_grad()
def test_perturbed_each_position_of_the_middle_attends_to_itself_alone(kind: Any) -> None:
    network, arguments = filled(new(BASE)), inputs(BASE)
    original = kind(network)
    (x,), attention = [torch.randn(2, 32, 1, 1)], original.encoder.middle_attention
    changed = perturbed(original)
    alone = changed.encoder.middle_attention
    # A single position attends to itself whatever its keys are.
    torch.testing.assert_close(alone(x), attention(x))
    each = torch.cat([alone(x), alone(2 * x)], dim=3)
    torch.testing.assert_close(alone(torch.cat([x, 2 * x], dim=3)), each)
    assert error(changed(*arguments), original(*arguments)) > 1e-3
    assert torch.equal(original(*arguments), kind(network)(*arguments))


def test_a_trained_model_is_saved_loaded_and_sampled(tmp_path: Path) -> None:
    recipe = tiny.diffusion("unet.layers=magnitude")
    tiny.steps(recipe, tiny.stripes(), tmp_path)
    model = adm.load(tmp_path)
    assert isinstance(model.model.network, MagnitudeUNet)
    assert model.model.recipe == recipe
    once, again = (model.sample(classes=[0, 2], seed=3).images for _ in range(2))
    assert once.shape == (2, 1, 8, 8)
    assert torch.equal(once, again)
    other = model.sample(classes=[0, 2], seed=3, guide="attention:scale=2").images
    assert not torch.equal(once, other)


def test_a_recipe_that_names_no_layers_has_those_of_the_paper() -> None:
    recipe = tiny.diffusion()
    stored = to_json(recipe)
    assert stored["unet"].pop("layers") == "adm"
    assert from_json(stored) == recipe
    assert UNetConfig.layers == "adm"


@pytest.mark.parametrize("field", [{"rescale_residual": True}, {"adaptive_norm": False}])
def test_settings_that_the_layers_replace_are_refused(field: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match="leave out"):
        dataclasses.replace(BASE, **field)


def test_the_released_system_has_no_such_network() -> None:
    with pytest.raises(ValueError, match="got layers=magnitude"):
        released_shapes(replace(BASE, norm_groups=32, channels=32))
