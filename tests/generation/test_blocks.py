"""indices, size -> blocks: an image has its own place in a batch of a fixed size, to the bit."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from adm.generation import blocks as module
from adm.generation.blocks import blocks
from adm.generation.diffusion import DiffusionGenerator
from adm.models.load import load_classifier, load_diffusion
from adm.samplers import Sampling

COUNT = 20
LABELS = torch.arange(COUNT) % 3
ORDERS = ([17, 3, 19, 3, 0], [5], list(range(19, 4, -2)))
BASE = Sampling().change(sampler="ddim:eta=0.5", steps=3, seed=2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_blocks_hold_every_image_once_at_the_place_of_its_index() -> None:
    indices = [9, 2, 11, 2, 8, 100]
    positions: list[int] = []
    for block in blocks(indices, 4):
        assert len(block.filled) == 4
        assert len({indices[position] // 4 for position in block.positions}) == 1
        for position, place in zip(block.positions, block.places, strict=True):
            assert place == indices[position] % 4
            assert block.filled[place] == position
        assert set(block.filled) == set(block.positions)
        positions += block.positions
    assert sorted(positions) == list(range(len(indices)))


def assert_same_images(
    generator: DiffusionGenerator, labels: Tensor | None, inputs: Tensor | None = None
) -> None:
    """Whatever the batch size, the number of images and their order."""

    def select(tensor: Tensor | None, chosen: Sequence[int]) -> Tensor | None:
        return None if tensor is None else tensor[list(chosen)]

    def images(chosen: Sequence[int]) -> Tensor:
        return generator.images(select(labels, chosen), chosen, select(inputs, chosen))

    whole = images(range(COUNT))
    assert torch.equal(images(range(5)), whole[:5])
    for order in ORDERS:
        assert torch.equal(images(order), whole[order])


def test_an_upsampled_image_is_the_same_to_the_bit_in_whatever_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CPU_PIXELS", 8 * 64)
    model = load_diffusion(tiny.model(tmp_path / "u.safetensors", tiny.upsampler()))
    low = torch.randint(0, 256, (COUNT, 1, 4, 4), dtype=torch.uint8)
    assert_same_images(DiffusionGenerator(model, BASE), LABELS, low)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_an_image_of_the_shipped_model_is_the_same_to_the_bit(scale: float) -> None:
    """Without blocks, it differs by a level in some pixels."""
    model, guide = load_diffusion("fashion"), load_classifier("fashion-classifier")
    sampling = model.recipe.sample.change(steps=2, scale=scale)
    assert_same_images(DiffusionGenerator(model, sampling, [guide]), torch.arange(COUNT) % 10)


def test_an_index_may_have_several_labels(model) -> None:
    generator = DiffusionGenerator(model, BASE)
    images = generator.images(torch.tensor([0, 1, 2]), [4, 4, 4])
    for label in range(3):
        assert torch.equal(images[label : label + 1], generator.images(torch.tensor([label]), [4]))
    assert not torch.equal(images[0], images[1])
