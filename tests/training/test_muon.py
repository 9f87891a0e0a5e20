"""gradients of matrices -> orthogonal steps, and those of AdamW for all other parameters."""

from pathlib import Path

import pytest
import tiny
import torch
from oracle import seeded
from torch import Tensor, nn

from adm.recipes import build
from adm.training import checkpoint
from adm.training.muon import Muon, hidden_matrices, orthogonal

SHAPES = [(16, 16), (16, 144), (144, 16), (5, 16), (3, 1)]


def matrix(rows: int, columns: int, seed: int = 0, smallest: float = 0.02) -> Tensor:
    """Singular values from 1 down to the smallest, of random directions."""
    u, _, v = torch.linalg.svd(
        torch.randn(rows, columns, generator=seeded(seed)), full_matrices=False
    )
    return u @ torch.logspace(0, 1, len(v), base=smallest).diag() @ v


def stepped(parameters: list[nn.Parameter], gradients: list[Tensor], steps: int = 1) -> None:
    optimizer = Muon(parameters, [], lr=0.1, weight_decay=0.0)
    for _ in range(steps):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


def test_the_singular_values_of_a_direction_become_near_1_and_its_vectors_stay() -> None:
    matrices = [matrix(*shape, seed=seed) for seed, shape in enumerate(SHAPES)]
    for before, after in zip(matrices, orthogonal(matrices), strict=True):
        values = torch.linalg.svdvals(after)
        assert values.min() > 0.67
        assert values.max() < 1.15
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        within = u.T @ after @ v.T
        off = within - within.diagonal().diag()
        assert off.abs().max() < 1e-3


def test_matrices_are_stepped_as_if_each_were_alone() -> None:
    matrices = [matrix(*shape, seed=seed) for seed, shape in enumerate([*SHAPES, *SHAPES])]
    for one, actual in zip(matrices, orthogonal(matrices), strict=True):
        torch.testing.assert_close(actual, orthogonal([one])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**20])
def test_a_step_does_not_depend_on_the_scale_of_the_gradient(scale: float) -> None:
    gradient, weights = matrix(6, 20), []
    for factor in (1.0, scale):
        weight = nn.Parameter(torch.ones(6, 20))
        stepped([weight], [gradient * factor], steps=3)
        weights.append(weight.detach())
    assert torch.equal(*weights)


def test_a_zero_gradient_makes_no_step() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    stepped([weight], [torch.zeros(4, 6)])
    assert torch.equal(weight, torch.ones(4, 6))


@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (64, 8), (8, 64)])
def test_a_step_is_as_large_as_one_of_adamw_usually_is(shape: tuple[int, ...]) -> None:
    """0.2 of the learning rate (Liu et al. 2025, equation 4), downhill; a kernel is a matrix."""
    weight = nn.Parameter(torch.zeros(shape))
    rows = shape[0]
    gradient = matrix(rows, weight.numel() // rows, smallest=0.2).reshape(shape)
    stepped([weight], [gradient])
    assert weight.square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.2)
    assert (weight * gradient).sum() < 0


def test_momentum_looks_ahead_and_weights_decay_apart_from_it() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = Muon([weight], [], momentum=0.5, lr=0.1, weight_decay=0.3)
    first, second = matrix(4, 4), matrix(4, 4, seed=1)
    expected = torch.ones(4, 4)
    for gradient, ahead in ((first, 0.75 * first), (second, 0.75 * second + 0.125 * first)):
        weight.grad = gradient.clone()
        optimizer.step()
        expected = expected * (1 - 0.1 * 0.3) - 0.1 * 0.2 * 2 * orthogonal([ahead])[0]
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-5)


def test_all_other_parameters_take_the_steps_of_adamw() -> None:
    settings = {"lr": 0.1, "weight_decay": 0.1, "betas": (0.8, 0.99)}
    ours, theirs = (nn.Parameter(torch.ones(3)) for _ in range(2))
    both = Muon([nn.Parameter(torch.ones(2, 2))], [ours], **settings)
    plain = torch.optim.AdamW([theirs], **settings)
    for seed in range(3):
        for parameter, optimizer in ((ours, both), (theirs, plain)):
            parameter.grad = torch.randn(3, generator=seeded(seed))
            optimizer.step()
    assert torch.equal(ours, theirs)


def test_embeddings_the_first_convolution_and_the_last_layer_are_no_hidden_matrices() -> None:
    for chosen, last in (
        (tiny.diffusion(), "head.2.weight"),
        (tiny.upsampler(), "head.2.weight"),
        (tiny.classifier(), "head.pool.out.weight"),
    ):
        network = build.network(chosen)
        hidden, named = set(hidden_matrices(network)), dict(network.named_parameters())
        others = {name for name, p in named.items() if p not in hidden and p.dim() > 1}
        inputs = ("step_embedding.", "label_embedding.", "head.pool.positions")
        embeddings = {name for name in named if name.startswith(inputs)}
        assert others - embeddings == {"encoder.stages.0.block.weight", last}
        assert not embeddings & {name for name, p in named.items() if p in hidden}
        assert {p.dim() for p in hidden} <= {2, 3, 4}
        assert sum(p.numel() for p in hidden) > sum(p.numel() for p in network.parameters()) / 2


def test_a_checkpoint_has_every_moment_and_that_of_another_optimizer_is_refused(
    tmp_path: Path,
) -> None:
    chosen, other = tiny.diffusion("train.optimizer=muon"), tiny.diffusion()
    tiny.steps(chosen, tiny.stripes(), tmp_path, count=4)
    folder = checkpoint.latest(tmp_path)
    assert folder is not None
    moments = checkpoint._read(folder / checkpoint.MOMENTS)
    network = build.network(chosen)
    hidden = set(hidden_matrices(network))
    named = dict(network.named_parameters())
    ours = {name for name, p in named.items() if p in hidden}
    assert {key for key in moments if key.startswith("momentum/")} == {
        f"momentum/{n}" for n in ours
    }
    kinds = ("exp_avg", "exp_avg_sq", "step")
    expected = {f"{kind}/{name}" for kind in kinds for name in named.keys() - ours}
    assert moments.keys() - {f"momentum/{n}" for n in ours} == expected
    with pytest.raises(ValueError, match=r"train\.optimizer is 'muon' there and 'adamw' here"):
        tiny.steps(other, tiny.stripes(), tmp_path)
