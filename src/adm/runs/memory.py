"""Recipe -> Memory: the bytes that a training step needs.

PyTorch's fake tensors have shapes and no values: the loop's own step runs on them in a second or
two, however large the network, and every storage that it makes is counted while it lives.
"""

import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from adm.networks import key_dropout, on_meta, recompute
from adm.recipes import build
from adm.recipes.schema import Recipe
from adm.training.batches import Batch
from adm.training.draws import draw
from adm.training.objective import Objective

SMALL = 32 * 32  # pixels of an image, up to which larger batches are walked through
COPIES = 4  # of every weight: itself, its gradient, and AdamW's two moments; averages come on top
BYTES = 4  # of a float32
LIBRARIES = 64 * 2**20  # by which a process grows when its first step loads the CPU's kernels
# The CPU's kernels copy what these take and give into an order of their own.
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


class Memory(NamedTuple):
    """What a training step holds at its peak: fixed + images at once x per_image.

    Attributes:
        fixed: bytes of weights, gradients, the optimizer's moments, averages, and of what a step
            makes of weights alone, such as their copies in 16 bits.
        per_image: bytes of features, and of their gradients, for each image at once.
    """

    fixed: int
    per_image: int

    def of(self, images: int) -> int:
        """Bytes for so many images at once."""
        return self.fixed + images * self.per_image


def estimate(recipe: Recipe, device_type: str = "cpu") -> Memory:
    """Walk through steps with one image and with more, and count what is alive.

    The peak is convex in the number of images: with few, it lies where weights are large, and
    with many, where features are. The line told goes through that of one image and rises as
    between the two largest batches, so that it errs upwards. Not counted is what the allocator
    wastes, which docs/recipes.md has measured.

    Args:
        device_type: `cpu` adds what its kernels and libraries take. Other devices are told by the
            same kernels without it, and without what their drivers take.
    """
    config = recipe.config
    weights = sum(p.numel() for p in on_meta(config).parameters())
    averages = 1 + len(recipe.train.ema_others) + len(recipe.train.ema_widths)
    copying = device_type == "cpu"
    sizes = batch_sizes(recipe)
    one, some, many = _peaks(recipe, sizes, copying)
    per_image = (many - some) // (sizes[2] - sizes[1])
    held = BYTES * weights * (COPIES + averages) + (LIBRARIES if copying else 0)
    return Memory(held + one - per_image, per_image)


def batch_sizes(recipe: Recipe) -> tuple[int, int, int]:
    """Images of the three batches that are walked through; the line told holds up to the last."""
    height, width = recipe.data.size
    return (1, 32, 64) if height * width <= SMALL else (1, 4, 8)


class Ledger(TorchDispatchMode):
    """Counts the bytes of all storage that is made while it is on, for as long as it lives.

    Attributes:
        copying: convolutions hold a second copy of what they take and give.
        alive: bytes now.
        peak: bytes at most.
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
    """Bytes that a forward and a backward pass hold at most besides what they were given."""
    key_dropout(network, batch.draws.key)
    with Ledger(copying) as ledger:
        objective(network, batch).loss.sum().backward()
    return ledger.peak


def _peaks(recipe: Recipe, sizes: Sequence[int], copying: bool) -> list[int]:
    """What a micro-batch takes that is not a step's first: gradients are there to be added to."""
    objective = build.objective(recipe, torch.device("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = build.network(recipe).train()
        recompute(network, recipe.train.checkpoint_activations)
        for parameter in network.parameters():
            parameter.grad = torch.empty_like(parameter)
        return [walk(network, objective, _batch(recipe, size), copying) for size in sizes]


def _batch(recipe: Recipe, images: int) -> Batch:
    """Images that nobody will look at."""
    shape = (recipe.data.channels, *recipe.data.size)
    draws = draw(0, 0, images, (1, 1, 1))  # real levels; the noise and the keys have shapes alone
    keys = torch.empty(images, dtype=torch.int64)
    pixels = torch.empty(images, *shape, dtype=torch.uint8)
    draws = draws._replace(noise=torch.empty(images, *shape), key=keys)
    return Batch(pixels, torch.empty(images, dtype=torch.int64), draws)
