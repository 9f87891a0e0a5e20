"""a trained model, new classes -> an initial network, with classes matched by name."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor, nn

from adm.models.finetune import Started, match_classes, start_from
from adm.networks import NO_LABEL
from adm.recipes import Recipe, build
from adm.training.model_file import load_weights

STEP = torch.tensor([3.0, 700.0])
POOLS = ("attention", "adaptive", "spatial", "spatial_v2")
NEW = ("bag", "coat", "sneaker", "hat")  # two retained, two new


def images(channels: int = 1, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(1))


def load_network(path: Path, chosen: Recipe) -> nn.Module:
    """The original model, loaded without the code under test."""
    network = build.network(chosen)
    network.load_state_dict(load_weights(path))
    return network.eval()


def start(
    model: Path | str, chosen: Recipe, classes: Sequence[str], **options: dict[str, str]
) -> tuple[nn.Module, Started]:
    network = build.network(chosen)
    report = start_from(network, chosen, classes, model, **options)
    return network.eval(), report


def labels(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.model(tmp_path / "model.safetensors", tiny.diffusion())


def test_retained_classes_have_the_model_s_outputs_bit_for_bit(model: Path) -> None:
    old = load_network(model, tiny.diffusion())
    new, _ = start(model, tiny.diffusion("unet.classes=4"), NEW)
    for name in ("bag", "sneaker"):
        before, now = tiny.CLASSES.index(name), NEW.index(name)
        expected = old(images(), STEP, labels(before, before))
        assert torch.equal(new(images(), STEP, labels(now, now)), expected)
    none = labels(NO_LABEL, NO_LABEL)
    assert torch.equal(new(images(), STEP, none), old(images(), STEP, none))


def test_a_new_class_starts_at_the_mean_of_the_old(model: Path) -> None:
    old = load_network(model, tiny.diffusion())
    new, _ = start(model, tiny.diffusion("unet.classes=4"), NEW)
    mean = old.label_embedding.weight.mean(dim=0)
    torch.testing.assert_close(new.label_embedding.weight[NEW.index("coat")], mean)
    torch.testing.assert_close(new.label_embedding.weight[NEW.index("hat")], mean)


def test_the_same_classes_in_another_order_are_the_same_model(model: Path) -> None:
    order = (2, 0, 1)
    old = load_network(model, tiny.diffusion())
    new, report = start(model, tiny.diffusion(), [tiny.CLASSES[i] for i in order])
    for now, before in enumerate(order):
        expected = old(images(), STEP, labels(before, before))
        assert torch.equal(new(images(), STEP, labels(now, now)), expected)
    assert not any(word in line for line in report.lines for word in ("classes new", "dropped"))


def test_a_renamed_class_keeps_its_row(model: Path) -> None:
    old = load_network(model, tiny.diffusion())
    classes = ("boot", "bag", "sneaker")
    new, report = start(model, tiny.diffusion(), classes, renamed={"ankle boot": "boot"})
    rows = old.label_embedding.weight[[2, 1, 0]]
    assert torch.equal(new.label_embedding.weight, rows)
    assert "classes renamed: ankle boot -> boot" in report.lines
    assert report.origin["renamed"] == {"ankle boot": "boot"}


def test_two_classes_can_exchange_their_names() -> None:
    plan = match_classes(("a", "b", "c"), ("a", "b"), {"a": "b", "b": "a"})
    assert plan.rows == (1, 0)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_every_class_of_a_model_without_any_starts_as_the_model(
    tmp_path: Path, number: int
) -> None:
    plain = tiny.diffusion("unet.classes=null")
    path = tiny.model(tmp_path / "plain.safetensors", plain)
    expected = load_network(path, plain)(images(), STEP)
    new, report = start(path, tiny.diffusion("unet.classes=4"), NEW)
    assert torch.equal(new(images(), STEP, labels(number, number)), expected)
    assert torch.equal(new(images(), STEP), expected)
    assert "the model has no classes: each of 4 starts as the model itself" in report.lines


def test_a_model_with_classes_can_lose_them(model: Path) -> None:
    expected = load_network(model, tiny.diffusion())(images(), STEP, labels(NO_LABEL, NO_LABEL))
    new, _ = start(model, tiny.diffusion("unet.classes=null"), tiny.CLASSES)
    assert torch.equal(new(images(), STEP), expected)


@pytest.mark.parametrize("pool", POOLS)
def test_a_classifier_keeps_its_logits_by_name(tmp_path: Path, pool: str) -> None:
    chosen = tiny.classifier(f"classifier.pool={pool}")
    path = tiny.model(tmp_path / "classifier.safetensors", chosen)
    old = load_network(path, chosen)(images(), STEP)
    changed = tiny.classifier(f"classifier.pool={pool}", "classifier.classes=4")
    new = start(path, changed, NEW)[0](images(), STEP)
    assert old.abs().max() > 1e-3  # or the comparison would be of zeros
    # A product with another number of rows may be summed in another order.
    retained = [NEW.index(name) for name in ("bag", "sneaker")]
    torch.testing.assert_close(new[:, retained], old[:, [1, 0]], rtol=1e-4, atol=1e-4)
    added = new[:, [NEW.index("coat"), NEW.index("hat")]]
    torch.testing.assert_close(added, old.mean(1, keepdim=True).expand(-1, 2), rtol=1e-4, atol=1e-4)


def test_a_run_s_folder_is_a_start(tmp_path: Path) -> None:
    tiny.steps(tiny.diffusion(), tiny.stripes(), tmp_path / "run", count=4)
    network, report = start(tmp_path / "run", tiny.diffusion(), tiny.CLASSES)
    assert report.origin["step"] == 4
    file = tmp_path / "run" / "checkpoints" / "step-0000004" / "model.safetensors"
    expected = load_network(file, tiny.diffusion()).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("unet.channels=16",), r"unet\.channels is 8 in the checkpoint and 16 here"),
        (("unet.multipliers=1,3",), r"unet\.multipliers is 1.*,2.* in .* and 1.*,3.* here"),
        # The shapes are the same, and the network would be another.
        (("unet.heads.heads=2",), r"unet\.heads is channels_per_head=8 in .* and heads=2 here"),
        (
            ("unet.channels=16", "unet.depth=2"),
            r"unet\.channels is 8 .* and 16 here; unet\.depth is 1",
        ),
    ],
)
def test_another_network_is_refused_by_its_settings(
    model: Path, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        start(model, tiny.diffusion(*settings), tiny.CLASSES)


def test_an_upsampler_may_gain_the_level_of_its_input(tmp_path: Path) -> None:
    plain = tiny.upsampler()
    noisy = tiny.upsampler("data.low_res_noise=10", "unet.conditions=low_res")
    small, label, level = images(size=(4, 4)), labels(0, 2), torch.tensor([[0.0], [9.0]])
    source = tiny.model(tmp_path / "plain.safetensors", plain)
    new, _ = start(source, noisy, tiny.CLASSES)
    expected = load_network(source, plain)(images(), STEP, label, small)
    assert torch.equal(new(images(), STEP, label, small, level), expected)
    with pytest.raises(ValueError, match=r"unet\.conditions is low_res .* and none here"):
        start(tiny.model(tmp_path / "noisy.safetensors", noisy), plain, tiny.CLASSES)


def test_positions_of_the_attention_pool_belong_to_a_size(tmp_path: Path) -> None:
    larger = ("data.size=16,16", "classifier.size=16,16")
    for pool, match in (
        ("attention", r"classifier\.size is 8,8 in .* and 16,16"),
        ("adaptive", ""),
    ):
        chosen = f"classifier.pool={pool}"
        path = tiny.model(tmp_path / f"{pool}.safetensors", tiny.classifier(chosen))
        if match:
            with pytest.raises(ValueError, match=match):
                start(path, tiny.classifier(chosen, *larger), tiny.CLASSES)
        else:
            start(path, tiny.classifier(chosen, *larger), tiny.CLASSES)


def test_another_process_is_reported(model: Path) -> None:
    _, report = start(model, tiny.diffusion("process.steps=30"), tiny.CLASSES)
    assert any("process.steps is 20 in the checkpoint and 30 here" in x for x in report.lines)


def test_a_classifier_is_no_start_for_a_diffusion_model(tmp_path: Path) -> None:
    path = tiny.model(tmp_path / "classifier.safetensors", tiny.classifier())
    with pytest.raises(ValueError, match="and the recipe trains a diffusion model"):
        start(path, tiny.diffusion(), tiny.CLASSES)


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        (
            {"sneeker": "bag"},
            r"renamed names 'sneeker', which is no class of the model; did you mean 'sneaker'\?",
        ),
        (
            {"sneaker": "bug"},
            r"renamed names 'bug', which is no class of the data; did you mean 'bag'\?",
        ),
        ({"sneaker": "bag", "ankle boot": "bag"}, r"would both be 'bag'"),
        ({"sneaker": "bag"}, r"'sneaker' and 'bag' would both be 'bag'"),
    ],
)
def test_what_cannot_be_renamed_is_refused(
    model: Path, renamed: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        start(model, tiny.diffusion(), tiny.CLASSES, renamed=renamed)


def test_a_refusal_leaves_the_network_as_it_was(model: Path) -> None:
    network = build.network(tiny.diffusion("unet.depth=2"))
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(ValueError, match=r"unet\.depth"):
        start_from(network, tiny.diffusion("unet.depth=2"), tiny.CLASSES, model)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
