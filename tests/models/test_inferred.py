"""Shapes of a custom checkpoint, flags -> its recipe; what the shapes leave open is named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adm.diffusion import NOISE, VELOCITY, X_0
from adm.models import export
from adm.models.convert.flags import network_of, read_flags, recipe_from_flags
from adm.models.convert.released import export_state, released_shapes
from adm.models.load import load_diffusion
from adm.networks import ClassifierConfig, HeadCount, HeadWidth, UNet, UNetConfig
from adm.recipes.released import RELEASED
from adm.recipes.schema import DiffusionRecipe
from adm.spec import SettingError, to_json
from adm.training.model_file import save_model

SOURCE = Path("mine.pt")
BASE = UNetConfig(
    channels=32,
    multipliers=(1, 2, 3),
    depth=2,
    attention_factors=(2, 4),
    heads=HeadCount(2),
    out_channels=6,
    classes=7,
)
OPEN = {"num_heads": 2, "image_size": 64, "diffusion_steps": 4000, "noise_schedule": "cosine"}
CONFIGS = {
    "biggan": BASE,
    "convolution": replace(BASE, resampling="convolution"),
    "plain": replace(BASE, resampling="plain"),
    "added": replace(BASE, adaptive_norm=False, attention_factors=(1,)),
    "no attention": replace(BASE, attention_factors=()),
    "one level": replace(BASE, multipliers=(2,), attention_factors=(1,), depth=3),
    "unlabelled": replace(BASE, classes=None, out_channels=3),
    "grey": replace(BASE, in_channels=1, out_channels=2),
    "deep": replace(BASE, multipliers=(1, 1, 2, 2, 4), depth=1, attention_factors=(8, 16)),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_shapes_and_the_open_flags_give_the_network(config: UNetConfig) -> None:
    recipe, _ = recipe_from_flags(SOURCE, released_shapes(config), OPEN)
    assert isinstance(recipe, DiffusionRecipe)
    assert released_shapes(recipe.unet) == released_shapes(config)
    assert replace(recipe.unet, resampling=config.resampling) == config
    assert (recipe.process.schedule, recipe.process.steps) == ("cosine", 4000)
    learned = config.out_channels == 2 * config.in_channels
    assert recipe.process.variance == ("learned_range" if learned else "fixed_large")


@pytest.mark.parametrize("file", [name for name in RELEASED if "classifier" not in name])
def test_every_released_network_follows_from_its_shapes_and_its_heads(file: str) -> None:
    expected = RELEASED[file].config
    assert isinstance(expected, UNetConfig)
    heads = expected.heads
    own = {"num_heads": heads.heads} if isinstance(heads, HeadCount) else {"num_head_channels": 64}
    size = RELEASED[file].size
    size_flags = {"large_size": size, "small_size": size // 4} if expected.super_resolution else {}
    flags = {
        "diffusion_steps": 1000,
        "noise_schedule": "linear",
        "image_size": size,
        **own,
        **size_flags,
    }
    recipe, _ = recipe_from_flags(SOURCE, released_shapes(expected), flags)
    assert recipe.config == replace(expected, dropout=0.0)


@pytest.mark.parametrize("pool", ["attention", "adaptive"])
@pytest.mark.parametrize("attention", [(2,), ()])
def test_a_classifier_follows_too(pool: str, attention: tuple[int, ...]) -> None:
    config = ClassifierConfig(
        channels=32,
        multipliers=(1, 2),
        depth=2,
        attention_factors=attention,
        heads=HeadWidth(16),
        classes=7,
        size=(8, 8),
        pool=pool,  # type: ignore[arg-type]
    )
    flags = {"num_head_channels": 16, "image_size": 8, "pool": pool}
    flags |= {"diffusion_steps": 1000, "noise_schedule": "linear"}
    recipe, _ = recipe_from_flags(SOURCE, released_shapes(config), flags)
    assert released_shapes(recipe.config) == released_shapes(config)  # type: ignore[arg-type]


def test_what_the_shapes_leave_open_is_named_with_the_values_that_fit() -> None:
    with pytest.raises(SettingError) as raised:
        recipe_from_flags(SOURCE, released_shapes(BASE), {"noise_schedule": "linear"})
    message = str(raised.value)
    assert "1 or 2 or 4 or 8 heads, or 16 or 32 channels each" in message
    assert "image_size (32 or 64 or 128 or 256 or 512)" in message
    assert "diffusion_steps (1000 or 4000)" in message
    assert "noise_schedule" not in message


def test_what_a_network_predicts_is_a_flag_and_an_unknown_schedule_is_refused() -> None:
    shapes = released_shapes(BASE)
    noise, _ = recipe_from_flags(SOURCE, shapes, OPEN)
    x_0, _ = recipe_from_flags(SOURCE, shapes, OPEN | {"predict_xstart": "True"})
    assert isinstance(noise, DiffusionRecipe)
    assert isinstance(x_0, DiffusionRecipe)
    assert (noise.process.prediction, x_0.process.prediction) == (NOISE, X_0)
    with pytest.raises(SettingError, match="noise_schedule must be linear or cosine, got 'sqrt'"):
        recipe_from_flags(SOURCE, shapes, OPEN | {"noise_schedule": "sqrt"})


@pytest.mark.parametrize("shape", [None, ()])
def test_weights_of_a_part_of_a_network_are_refused(shape: tuple[int, ...] | None) -> None:
    name = "input_blocks.1.0.out_layers.3.weight"
    shapes = {each: sides for each, sides in released_shapes(BASE).items() if each != name}
    shapes |= {} if shape is None else {name: shape}
    named = f", such as {name}" if shape is None else ""
    with pytest.raises(ValueError, match=f"lacks weights of a released network{named}, or some"):
        recipe_from_flags(SOURCE, shapes, OPEN)


def test_flags_that_contradict_the_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(export_state(UNet(BASE).state_dict(), BASE), path)
    with pytest.raises(ValueError, match=r"have num_channels 32, not what"):
        export.convert(path, tmp_path / "out.safetensors", flags=OPEN | {"num_channels": 64})
    with pytest.raises(ValueError, match="flag num_hats"):
        export.convert(path, tmp_path / "out.safetensors", flags=OPEN | {"num_hats": 64})
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.pt"]


def test_a_process_that_the_scripts_do_not_have_is_refused(tmp_path: Path) -> None:
    recipe, _ = recipe_from_flags(SOURCE, released_shapes(BASE), OPEN)
    assert isinstance(recipe, DiffusionRecipe)
    process = replace(recipe.process, prediction=VELOCITY)
    entries = {"recipe": to_json(replace(recipe, process=process)), "classes": [*"abcdefg"]}
    save_model(tmp_path / "v.safetensors", UNet(BASE).state_dict(), entries)
    with pytest.raises(SettingError, match=r"process\.prediction must be noise or x_0"):
        export.convert_to_released(tmp_path / "v.safetensors", tmp_path / "v.pt")
    assert not (tmp_path / "v.pt").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_round_trip_by_the_printed_flags(zipped: bool, tmp_path: Path) -> None:
    state = export_state(UNet(BASE).state_dict(), BASE)
    original, ours, back = tmp_path / "mine.pt", tmp_path / "ours.safetensors", tmp_path / "back.pt"
    torch.save(state, original, _use_new_zipfile_serialization=zipped)
    export.convert(original, ours, flags=OPEN)
    assert load_diffusion(ours).network.config == BASE
    printed = export.convert_to_released(ours, back).split()
    flags = dict(zip((word[2:] for word in printed[::2]), printed[1::2], strict=True))
    again = torch.load(back, weights_only=True)
    assert list(again) == list(state)
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
    assert replace(network_of(read_flags(flags)), classes=7) == replace(BASE, classes=7)
    assert flags["diffusion_steps"] == "4000"
