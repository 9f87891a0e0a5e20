"""Recipe -> Memory: the bytes that a training step needs.

The loop's own step runs on PyTorch's fake tensors, which have shapes and no values, in a second or
two for a network of any size. A ledger counts the bytes of every storage while it is alive.
"""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from adm.distillation import Teach
from adm.networks import key_dropout, parameters_of, recompute
from adm.recipes import build, stages
from adm.recipes.schema import GANRecipe, Recipe
from adm.training.batches import Batch
from adm.training.draws import draw
from adm.training.objective import Objective

SMALL = 32 * 32  # pixels of an image up to which larger batches are traced
COPIES = 4  # of every weight: itself, its gradient and AdamW's two moments; averages are extra
BYTES = 4  # bytes of a float32
LIBRARIES = 64 * 2**20  # bytes of the CPU kernels that the first step of a process loads
# Operators whose CPU kernels copy inputs and outputs into a layout of their own.
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


class Memory(NamedTuple):
    """The peak memory of a training step: fixed + micro-batch x per_image.

    Attributes:
        fixed: bytes of weights, gradients, moments and averages, and of what a step derives from
            weights alone, such as their copies in 16 bits.
        per_image: bytes of features and their gradients, for each image of a micro-batch.
    """

    fixed: int
    per_image: int

    def of(self, images: int) -> int:
        """Return the bytes for a micro-batch of `images`."""
        return self.fixed + images * self.per_image


def estimate(recipe: Recipe, device_type: str = "cpu", teach: Teach | None = None) -> Memory:
    """Trace steps with three batch sizes, and fit their peak memory by a line.

    The peak is convex in the number of images: it is at the largest weights for few images, and at
    the largest features for many. The line passes through the peak of one image and has the slope
    between the two larger batches, so that it overestimates. The overhead of the allocator is not
    included; docs/recipes.md has measurements of it.

    Args:
        device_type: `cpu` includes the copies of its kernels and the size of its libraries. For
            other devices, neither these nor the memory of their drivers is included.
        teach: the teacher of a student, whose features are included, and not its weights.
    """
    if isinstance(recipe, GANRecipe):
        raise ValueError(
            "the memory of a GAN's training is not estimated; try a step, with --steps 1"
        )
    weights = parameters_of(recipe.config)
    averages = 1 + len(recipe.train.ema_others) + len(recipe.train.ema_widths)
    copying = device_type == "cpu"
    sizes = batch_sizes(recipe)
    one, some, many = _peaks(recipe, sizes, copying, teach)
    per_image = (many - some) // (sizes[2] - sizes[1])
    held = BYTES * weights * (COPIES + averages) + (LIBRARIES if copying else 0)
    return Memory(held + one - per_image, per_image)


def batch_sizes(recipe: Recipe) -> tuple[int, int, int]:
    """Return the sizes of the three batches that are traced; the estimate holds up to the last."""
    height, width = recipe.data.size
    return (1, 32, 64) if height * width <= SMALL else (1, 4, 8)


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storages that are allocated while it is active.

    Attributes:
        copying: whether convolutions hold a second copy of their inputs and outputs.
        alive: bytes of the storages that are alive.
        peak: the maximum of `alive`, copies included.
    """

    def __init__(self, copying: bool = False) -> None:
        super().__init__()
        self.copying, self.alive, self.peak = copying, 0, 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [t for t in tree_iter(result) if isinstance(t, Tensor)]
        for tensor in made:
            self._enter(tensor.untyped_storage())
        if self.copying and func.overloadpacket in CONVOLUTIONS:
            given = [t for t in tree_iter(args) if isinstance(t, Tensor)]
            self.peak = max(self.peak, self.alive + sum(t.nbytes for t in (*given, *made)))
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known.add(storage)
        weakref.finalize(storage, self._leave, storage.nbytes())
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)

    def _leave(self, size: int) -> None:
        self.alive -= size


def walk(network: nn.Module, objective: Objective, batch: Batch, copying: bool = False) -> int:
    """Return the peak bytes that a forward and a backward pass allocate."""
    key_dropout(network, batch.draws.key)
    with Ledger(copying) as ledger:
        objective(network, batch).loss.sum().backward()
    return ledger.peak


def _peaks(
    recipe: Recipe, sizes: Sequence[int], copying: bool, teach: Teach | None = None
) -> list[int]:
    """Return the peak of each size, for a later micro-batch of a step: gradients exist already."""
    objective = stages.objectives(recipe, torch.device("cpu"), teach=teach)[-1]
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = build.network(recipe).train()
        recompute(network, recipe.train.checkpoint_activations)
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)
        return [walk(network, objective, _batch(recipe, size), copying) for size in sizes]


def _batch(recipe: Recipe, images: int) -> Batch:
    """Return a batch of fake images with real noise levels."""
    shape = (recipe.data.channels, *recipe.data.size)
    draws = draw(0, 0, images, (1, 1, 1))  # only its uniforms are used
    keys = torch.empty(images, dtype=torch.int64)
    pixels = torch.empty(images, *shape, dtype=torch.uint8)
    draws = draws._replace(noise=torch.empty(images, *shape), key=keys)
    return Batch(pixels, torch.empty(images, dtype=torch.int64), draws)
